"""``--check`` in real processes: a misspelt variable stops the start, those of Kubernetes and of others do not."""

from __future__ import annotations

from pathlib import Path

import yaml
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from tests.support.certificates import certificates, http_variables
from tests.support.processes import TWISTD, Process

ENTRY = '[{topic: "", queueName: q, model: {url: "http://m/", headers: {Authorization: "Bearer ${MODEL_KEYS}"}}}]'


class VariablesTests(TestCase):
    """``twistd provider-gateway --check``, without a broker."""

    timeout = 90

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def check(self, *arguments: str, **variables: str) -> Process:
        """A check with fitting variables and these."""
        certs = certificates()
        environment = {
            "PATH": "/usr/bin:/bin",
            "RMQ_URL": "amqps://rabbitmq/",
            "MQ_CACERT": str(certs / "cacert.pem"),
            **http_variables(certs),
            **variables,
        }
        given = {name: value for name, value in environment.items() if value}
        command = [TWISTD, "-n", "--pidfile=", "provider-gateway", "--check", *arguments]
        process: Process = Process.start(self, command, given, self.folder)
        return process

    async def test_misspelt(self) -> None:
        """One line on standard error names the variable and the setting that is meant. The status is 1."""
        (self.folder / "x.env").write_text("# a comment\nexport HTTP_CLR=x\n", encoding="utf-8")
        checks = {
            "HTTP_ACESS: unknown variable, HTTP_ACCESS": self.check(HTTP_ACESS="x"),
            "HTTP_CLR: unknown variable, HTTP_CRL": self.check("--env-file", "x.env", WORKERS="2"),
            "RMQ_ULR: unknown variable, RMQ_URL": self.check(RMQ_URL="", RMQ_ULR="amqp://u:hunter2@rabbitmq/"),
        }
        await gatherResults([process.when_ended() for process in checks.values()])
        for part, process in checks.items():
            (line,) = process.errors.splitlines()
            self.assertEqual(line, f"provider-gateway: {part} is probably meant: correct or remove it")
            self.assertEqual((process.ended, process.lines), (1, []))

    async def test_pod(self) -> None:
        """A pod starts with the defaults, without a warning, if services are named as our settings begin."""
        (self.folder / "queues.yaml").write_text(ENTRY, encoding="utf-8")
        given = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "MODEL_KEYS": "hunter2", "HTTP_PROXY": "http://proxy:3128"}
        for name in ("MODEL", "HTTP", "ADMIN", "MQ", "RMQ", "RESULT", "GIN", "HTTP_ACCES"):
            url = "tcp://10.0.0.7:8080"
            given |= {f"{name}_SERVICE_HOST": "10.0.0.7", f"{name}_SERVICE_PORT": "8080", f"{name}_PORT": url}
            given |= {f"{name}_SERVICE_PORT_HTTP": "8080", f"{name}_PORT_8080_TCP": url}
            given |= {f"{name}_PORT_8080_TCP_PROTO": "tcp", f"{name}_PORT_8080_TCP_PORT": "8080"}
            given |= {f"{name}_PORT_8080_TCP_ADDR": "10.0.0.7"}
        process = self.check("--queues", "queues.yaml", **given)
        self.assertEqual((await process.when_ended(), process.errors), (0, ""))
        document = yaml.safe_load("\n".join(process.lines))
        self.assertNotIn("warnings", document)
        found = [document["settings"][name] for name in ("HTTP_PORT", "ADMIN_PORT", "MODEL_PORT")]
        self.assertEqual(found, [5050, 5080, 8080])
