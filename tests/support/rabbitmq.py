"""One RabbitMQ node for a test run, and a blocking client of it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pika
from twisted.internet.threads import deferToThread

from devtools.rabbitmq import RabbitMQ
from provider_gateway.topology.declarations import Binding, Exchange, Queue, objects_of
from tests.support.certificates import certificates
from tests.support.folders import folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from provider_gateway.config.queue_file import QueueEntry


#: RabbitMQ's own values of the limits that tests lower.
LIMITS = {"frame_max": 131_072, "channel_max": 2047, "max_message_size": 134_217_728}


def limit(node: RabbitMQ, **limits: int) -> None:
    """Set limits of a running node, for new connections and channels; those that are not given are RabbitMQ's own."""
    wanted = LIMITS | limits
    calls = [f"application:set_env(rabbit, {name}, {value})" for name, value in wanted.items()]
    # RabbitMQ 4 keeps this one apart.
    calls.append(f"persistent_term:put(max_message_size, {wanted['max_message_size']})")
    node.control("eval", ", ".join(calls) + ".")


@cache
def shared_broker() -> RabbitMQ:
    """The running node that most tests share; each test uses queue and exchange names of its own."""
    node = RabbitMQ(folder() / "shared-node", certificates())
    node.start()
    return node


def on_channel(node: RabbitMQ, use: Callable[[Any], Any]) -> Deferred[Any]:
    """Run a function in a thread with a channel of a blocking pika connection without TLS; a Deferred of its result."""

    def run() -> Any:
        connection = pika.BlockingConnection(pika.URLParameters(node.plain_url))
        try:
            channel = connection.channel()
            channel.confirm_delivery()
            return use(channel)
        finally:
            connection.close()

    return deferToThread(run)


def declare_objects(channel: Any, entry: QueueEntry) -> None:
    """Declare exchanges, queues and bindings of an entry, as another program may do it."""
    for each in objects_of(entry):
        if isinstance(each, Exchange):
            channel.exchange_declare(each.name, each.type, durable=each.durable)
        elif isinstance(each, Queue):
            channel.queue_declare(each.name, durable=each.durable, arguments=dict(each.arguments))
        elif isinstance(each, Binding):
            channel.queue_bind(each.queue, each.exchange, each.key)


def take(channel: Any, queue: str, count: int = 1, timeout: float = 20) -> list[tuple[Any, bytes]]:
    """Consume this many messages of a queue; returns properties and body of each.

    Returns fewer if none comes within ``timeout`` seconds.
    """
    taken = []
    for _method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=timeout):
        if properties is None:
            break
        taken.append((properties, body))
        if len(taken) == count:
            break
    channel.cancel()
    return taken


def delete_result_objects(channel: Any, output: str) -> None:
    """Delete what gateways with a result store declare for the reply address ``output``."""
    for suffix in ("", ".retry.5s", ".retry.30s", ".retry.5m", ".retry.30m", ".retry.2h", ".parking"):
        channel.queue_delete(f"{output}.webhooks{suffix}")
    channel.queue_delete(f"{output}.results")
    for name in ("done", "canceled"):
        channel.exchange_delete(f"{output}.{name}")
