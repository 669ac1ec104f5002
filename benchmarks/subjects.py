"""The subjects: our process and the peer. Each has its own queue; both share one broker and one model."""

from __future__ import annotations

import hashlib
import http.client
import os
import ssl
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.initiator import EXCHANGE
from devtools.ports import free_ports
from devtools.processes import CERTS, FOLDER, ROOT, ProcessError, start, start_gateway
from devtools.rabbitmq import PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from devtools.rabbitmq import RabbitMQ

PEERS = ROOT / "benchmarks/peers"
#: Messages and model calls in work at a time, for each subject; the peer's default.
PREFETCH = 200
#: Further options of uvicorn.
PEER_OPTIONS = os.environ.get("PEER_OPTIONS", "")
#: Seconds that an idle connection of the peer stays open, as long as ours do: uvicorn would close it after 5.
_KEEP_ALIVE = "60"
#: Seconds that the peer may take to start.
_START = 60


@dataclass(frozen=True)
class Kind:
    """A subject before it runs: its name, and its queues, which are bound for different routing keys."""

    name: str
    routing_key: str
    queue: str
    reply_to: str


OURS = Kind("ours", "ours.now", "ours.in", "ours.out")
PEER = Kind("peer", "predict.now", "peer.in", "peer.out")
KINDS = (OURS, PEER)


@dataclass(frozen=True)
class Subject:
    """A measured process that is ready.

    Attributes:
        url: address for the requests.
        admin_url: address of health and metrics; empty for a peer.
    """

    kind: Kind
    pid: int
    url: str
    admin_url: str = ""


def start_subject(
    stack: ExitStack,
    kind: Kind,
    broker: RabbitMQ,
    model_url: str,
    prefetch: int = PREFETCH,
    accept: str = "application/json",
    **settings: str,
) -> Subject:
    """Start the peer, or ours for any other kind, and wait until it is ready; it ends with the stack.

    Args:
        accept: media types of request bodies that ours takes; the peer takes any.
        settings: environment variables of our process.
    """
    if kind is PEER:
        return _start_peer(stack, broker, model_url, prefetch)
    return start_ours(stack, kind, broker, model_url, prefetch, accept=accept, **settings)


def start_ours(
    stack: ExitStack,
    kind: Kind,
    broker: RabbitMQ,
    model_url: str,
    prefetch: int = PREFETCH,
    options: Sequence[str] = (),
    accept: str = "application/json",
    **settings: str,
) -> Subject:
    """Start ours, and wait until it is ready; it ends with the stack.

    Args:
        options: of its command line.
        accept: media types of request bodies.
        settings: environment variables.
    """
    name = "bench/" + kind.name.replace(" ", "-")
    queues = FOLDER / f"{name}.yaml"
    pattern = kind.routing_key.replace("now", "*")
    queues.write_text(
        f"- topic: {EXCHANGE}\n"
        f"  queueName: {kind.queue}\n"
        f'  bindingKey: "{pattern}"\n'
        f"  replyTo: {kind.reply_to}\n"
        f"  prefetch: {prefetch}\n"
        f"  accept: {accept}\n"
    )
    http_port, admin_port = free_ports(2)
    settings = {"HTTP_PORT": str(http_port), "ADMIN_PORT": str(admin_port), "QUEUES_CONF": str(queues), **settings}
    process = start_gateway(stack, broker, model_url, name, options, **settings)
    urls = f"https://127.0.0.1:{http_port}/v1/predict", f"http://127.0.0.1:{admin_port}"
    return Subject(kind, process.pid, *urls)


def _start_peer(stack: ExitStack, broker: RabbitMQ, model_url: str, prefetch: int) -> Subject:
    return start_peer(stack, PEER, "fastapi_peer", broker, {"MODEL_URL": model_url, "PREFETCH": str(prefetch)})


def start_peer(stack: ExitStack, kind: Kind, module: str, broker: RabbitMQ, variables: dict[str, str]) -> Subject:
    """Start a program of ``peers/`` on uvicorn, and wait until it is ready; it ends with the stack."""
    (port,) = free_ports(1)
    command = [str(environment() / "bin/uvicorn"), "--app-dir", str(PEERS), "--port", str(port)]
    command += ["--ssl-keyfile", str(CERTS / "server_key.pem"), "--ssl-certfile", str(CERTS / "server_cert.pem")]
    command += ["--ssl-ca-certs", str(CERTS / "cacert.pem"), "--ssl-cert-reqs", "2"]
    command += ["--timeout-keep-alive", _KEEP_ALIVE]
    command += [*PEER_OPTIONS.split(), f"{module}:app"]
    variables = {"RMQ_URL": broker.url.replace("://", f"://{USER}:{PASSWORD}@"), "CERTS": str(CERTS), **variables}
    process = start(stack, command, FOLDER / "bench/peer.log", {**os.environ, **variables}, all_to_log=True)
    _await_health(process, port)
    return Subject(kind, process.pid, f"https://127.0.0.1:{port}/v1/predict")


def _await_health(process: subprocess.Popen[str], port: int) -> None:
    context = ssl.create_default_context(cafile=CERTS / "cacert.pem")
    context.load_cert_chain(CERTS / "client_cert.pem", CERTS / "client_key.pem")
    end = time.monotonic() + _START
    while process.poll() is None and time.monotonic() < end:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                connection.close()
                return
        time.sleep(0.1)
    msg = "The peer did not start: see .demo/bench/peer.log"
    raise ProcessError(msg)


def environment() -> Path:
    """The peer's virtual environment; made if it is missing or if its requirements have changed."""
    requirements = PEERS / "requirements.txt"
    # The folder's name has a hash of the requirements. A folder without the mark is incomplete, and is made again.
    folder = FOLDER / f"peer-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]}"
    mark = folder / "complete"
    if not mark.exists():
        print(f"Making the peer's virtual environment {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--requirement", requirements], check=True)
        mark.touch()
    return folder
