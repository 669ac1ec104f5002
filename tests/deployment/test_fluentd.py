"""The sidecar's script starts FluentD, and truncates an access log that has grown too long."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.deployment.manifests import ROOT, documents

LOG = "/var/log/provider-gateway/access.log"


#: The expected configuration of FluentD; a section is a list of its lines.
CONF = {
    "source": {
        "@type": "tail",
        "path": LOG,
        "pos_file": "/var/log/provider-gateway/access.pos",
        "tag": "provider-gateway.access",
        "read_from_head": "true",
        "parse": {
            "@type": "json",
            "time_key": "time",
            "time_type": "string",
            "time_format": "%iso8601",
            "keep_time_key": "true",
        },
    },
    "match provider-gateway.**": {
        "@type": "forward",
        "server": {"host": "fluentd-aggregator", "port": "24224"},
        "buffer": {
            "@type": "memory",
            "total_limit_size": "32m",
            "flush_interval": "5s",
            "overflow_action": "drop_oldest_chunk",
        },
    },
}


def read_conf(text: str) -> dict[str, Any]:
    """A parsed configuration of FluentD: nested sections, and lines with a name and a value."""
    stack: list[tuple[str, dict[str, Any]]] = [("", {})]
    for line in map(str.strip, text.splitlines()):
        if line.startswith("</"):
            name, section = stack.pop()
            assert line == f"</{name.split()[0]}>", line
            stack[-1][1][name] = section
        elif line.startswith("<"):
            stack.append((line.strip("<>"), {}))
        else:
            name, value = line.split()
            stack[-1][1][name] = value
    assert len(stack) == 1, stack
    return stack[0][1]


class ConfigurationTests(SynchronousTestCase):
    """fluent.conf of the config map."""

    def test_conf(self) -> None:
        """FluentD reads the access log from its beginning, with the lines' own times, and buffers in bounded memory."""
        data = documents(ROOT / "kubernetes/components/fluentd/config-map.yaml")[0]["data"]
        self.assertEqual(read_conf(data["fluent.conf"]), CONF)
        self.assertEqual(data.keys(), {"fluent.conf", "run.sh"})


class ScriptTests(SynchronousTestCase):
    """run.sh of the config map, with a fake fluentd."""

    def run_script(self, size: int | None) -> tuple[int, str]:
        """Run it with an access log of this size, or none; return the log's size after it, and FluentD's arguments."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        log = folder / "access.log"
        if size is not None:
            log.write_bytes(b"x" * size)
        programs = {"fluentd": 'echo "$@" > arguments; /bin/sleep 0.5', "sleep": 'test "$1" = 60 && /bin/sleep 0.1'}
        for name, body in programs.items():
            (folder / name).write_text(f"#!/bin/sh\n{body}\n")
            (folder / name).chmod(0o755)
        script = documents(ROOT / "kubernetes/components/fluentd/config-map.yaml")[0]["data"]["run.sh"]
        script = script.replace(LOG, str(log)).replace("-gt 67108864 ]", "-gt 1000 ]")
        process = subprocess.Popen(
            ["/bin/sh", "-c", script],
            cwd=folder,
            env={"PATH": f"{folder}:/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        process.wait(20)
        os.killpg(process.pid, 9)  # the loop goes on until the container ends
        _, errors = process.communicate()
        self.assertEqual(errors, b"")
        return log.stat().st_size if log.exists() else 0, (folder / "arguments").read_text().strip()

    def test_long(self) -> None:
        """A log beyond the limit is truncated in place while FluentD runs with its configuration."""
        self.assertEqual(self.run_script(1001), (0, "-c /fluentd/etc/fluent.conf"))

    def test_none(self) -> None:
        """A missing log, as before the first request, is no error."""
        self.assertEqual(self.run_script(None)[0], 0)

    def test_short(self) -> None:
        """A log within the limit is not changed."""
        self.assertEqual(self.run_script(1000)[0], 1000)
