"""What the integration tests share: certificates, one RabbitMQ node, programs on its plain port. Made once per run."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika
from twisted.internet.threads import deferToThread

from devtools.rabbitmq import RabbitMQ
from provider_gateway.demo.certificates import make_certificates

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

ROOT = Path(__file__).resolve().parents[2]


@cache
def folder() -> Path:
    """A temporary folder that is removed when the tests end."""
    made = Path(tempfile.mkdtemp(prefix="provider-gateway-tests-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@cache
def certificates() -> Path:
    """The folder with the certificates of everybody."""
    made = folder() / "certs"
    make_certificates(made)
    return made


@cache
def shared_broker() -> RabbitMQ:
    """The node that most tests use; it runs when this returns. Tests use names of their own on it."""
    node = RabbitMQ(folder() / "shared-node", certificates())
    node.start()
    return node


def on_channel(node: RabbitMQ, use: Callable[[Any], Any]) -> Deferred[Any]:
    """Run a function in a thread with a channel of a plain, blocking pika connection; its result is the Deferred's."""

    def run() -> Any:
        connection = pika.BlockingConnection(pika.URLParameters(node.plain_url))
        try:
            channel = connection.channel()
            channel.confirm_delivery()
            return use(channel)
        finally:
            connection.close()

    return deferToThread(run)


def take(channel: Any, queue: str, count: int = 1, timeout: float = 20) -> list[tuple[Any, bytes]]:
    """Wait for messages of a queue; returns their properties and bodies."""
    taken = []
    for _method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=timeout):
        if properties is None:
            break
        taken.append((properties, body))
        if len(taken) == count:
            break
    channel.cancel()
    return taken
