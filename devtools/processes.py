"""Processes of a benchmark: the gateway and others, which end with the benchmark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import ExitStack

    from devtools.rabbitmq import RabbitMQ

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".demo"
CERTS = FOLDER / "certs"
HTTP_PORT = os.environ.get("HTTP_PORT", "5050")
ADMIN_PORT = os.environ.get("ADMIN_PORT", "5080")
#: Seconds that a stopped process gets before it is killed.
STOP_TIMEOUT = 30


class ProcessError(Exception):
    """A process did not start; the text says why and what to do."""


def start(
    stack: ExitStack, command: list[str], log: Path, environment: dict[str, str], *, all_to_log: bool = False
) -> subprocess.Popen[str]:
    """Start a process that ends with the stack; its standard error goes to a file.

    Args:
        all_to_log: send standard output to the same file; else the caller reads it from the process.
    """
    file = stack.enter_context(log.open("w"))
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=file if all_to_log else subprocess.PIPE,
        stderr=file,
        text=True,
        start_new_session=True,  # Ctrl-C reaches this program only, which stops its processes in order
    )
    stack.callback(end, process)
    return process


def end(process: subprocess.Popen[str]) -> None:
    """Stop a process with SIGTERM; kill it if it does not end in time."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def lines(process: subprocess.Popen[str], copy: Path | None = None) -> Iterator[str]:
    """The lines that a process writes, copied to a file."""
    assert process.stdout is not None
    with open(copy or os.devnull, "w") as file:
        for line in process.stdout:
            file.write(line)
            file.flush()
            yield line


def start_gateway(
    stack: ExitStack,
    broker: RabbitMQ,
    model_url: str,
    name: str = "gateway",
    options: Sequence[str] = (),
    **settings: str,
) -> subprocess.Popen[str]:
    """Start provider-gateway and wait until it is ready.

    Args:
        name: of its log files.
        options: of its command line.
        settings: variables that replace those set here.
    """
    environment = {
        **os.environ,
        "RMQ_URL": broker.url,
        "MQ_CACERT": str(CERTS / "cacert.pem"),
        "MQ_CERT": str(CERTS / "client_cert_mq.pem"),
        "MQ_KEY": str(CERTS / "client_key_mq.pem"),
        "HTTP_ADDR": "127.0.0.1",
        "HTTP_PORT": HTTP_PORT,
        "HTTP_CERT": str(CERTS / "server_cert.pem"),
        "HTTP_KEY": str(CERTS / "server_key.pem"),
        "HTTP_CACERT": str(CERTS / "cacert.pem"),
        "ADMIN_ADDR": "127.0.0.1",
        "ADMIN_PORT": ADMIN_PORT,
        "MODEL_URL": model_url,
        "QUEUES_CONF": str(ROOT / "conf/queue_config.yaml"),
        **settings,
    }
    twistd = Path(sys.executable).with_name("twistd")
    process = start(
        stack, [str(twistd), "-n", "--pidfile=", "provider-gateway", *options], FOLDER / f"{name}.err", environment
    )
    output = lines(process, FOLDER / f"{name}.log")
    for line in output:
        said = json.loads(line) if line.startswith("{") else {}
        # A line with "worker" means that one worker is ready, not all of them.
        if said.get("message") == "ready" and "worker" not in said:
            # The rest of its log is copied to the file.
            threading.Thread(target=lambda: list(output), daemon=True).start()
            return process
    process.wait()
    reason = (FOLDER / f"{name}.err").read_text().strip() or f"see .demo/{name}.log"
    msg = f"The gateway ended: {reason}\nIf a port is taken:  HTTP_PORT=5051 ADMIN_PORT=5081 in the environment"
    raise ProcessError(msg)
