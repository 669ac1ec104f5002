"""Tries what the roles do with queues and exchanges, with arguments that the broker refuses after permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pika

from provider_gateway.topology.declarations import Queue
from provider_gateway.topology.refusals import Use
from provider_gateway.topology.reply_addresses import results_name
from provider_gateway.topology.result_objects import canceled_exchange, done_exchange
from provider_gateway.topology.routing import matching_key
from provider_gateway.topology.webhook_queues import WebhookQueues

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pika.adapters.twisted_connection import TwistedChannel
    from twisted.internet.defer import Deferred

    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Role

    #: Calls a method of a channel.
    Method = Callable[[TwistedChannel], Deferred[Any]]

#: A user's name that is not ours: RabbitMQ refuses messages of somebody else.
_NOBODY = "provider-gateway-check"


def consuming(queue: str) -> tuple[Use, Method]:
    """Consuming a queue."""
    return Use(f"consuming queue {queue!r}", "read"), lambda channel: channel.basic_consume(
        queue, arguments={"x-priority": "none"}
    )


class TryPublish:
    """Publishes a message that the broker refuses after it has looked at permissions."""

    def __init__(self, exchange: str, key: str) -> None:
        self._exchange = exchange
        self._key = key

    def __call__(self, channel: TwistedChannel) -> Deferred[Any]:
        """Publish a message that is wrong in two ways, of which each version looks at another one first."""
        return self._publish(channel, {"expiration": "none", "user_id": _NOBODY})

    def in_transaction(self, channel: TwistedChannel) -> Deferred[Any]:
        """Publish a message that is only from somebody else: in a transaction, which the channel's close rolls back."""
        # A user with the tag "impersonator" may publish it.
        channel.tx_select().addErrback(lambda _: None)  # whatever goes wrong, the next method fails likewise
        return self._publish(channel, {"user_id": _NOBODY})

    def _publish(self, channel: TwistedChannel, wrong: dict[str, str]) -> Deferred[Any]:
        sent = channel.basic_publish(self._exchange, self._key, b"", pika.BasicProperties(**wrong))
        sent.addErrback(lambda _: None)  # the next method fails likewise
        return channel.basic_qos(prefetch_count=0)


def _publish(exchange: str, key: str) -> tuple[Use, Method]:
    where = f"exchange {exchange!r}" if exchange else "the default exchange"
    return Use(f"publishing to {where} with routing key {key!r}", "write"), TryPublish(exchange, key)


def uses(entries: Sequence[QueueEntry], roles: Sequence[Role], replies: str) -> Iterator[tuple[Use, Method]]:
    """What the roles do with the objects."""
    if "gateway" in roles:
        yield consuming(replies)
        for entry in entries:
            yield _publish(entry.exchange, matching_key(entry))
    if "provider" in roles:
        for entry in entries:
            yield consuming(entry.queue_name)
            yield _publish(entry.return_exchange, matching_key(entry))  # a message is given back through it
            if (dle := entry.seed_route) is not None:
                yield _publish(dle.dle_exchange, matching_key(entry))
        yield _publish("", replies)


def result_uses(entries: Sequence[QueueEntry]) -> Iterator[tuple[Use, Method]]:
    """What a gateway with a result store does with the objects that all such gateways share."""
    results = results_name(entries)
    yield consuming(results)
    yield _publish("", results)
    for exchange in (done_exchange(entries), canceled_exchange(entries)):
        yield _publish(exchange.name, "id")


def parking_uses(
    entries: Sequence[QueueEntry], *, webhooks: bool
) -> Iterator[tuple[str, list[tuple[Use, Method]], Queue]]:
    """What somebody does who looks at parked messages and sends them again.

    Args:
        webhooks: True to have the parking queue of webhooks, too.

    Returns:
        An iterator of: a work queue, what is done, and the queue that tells others who is at it. It can be done without
        that queue.
    """
    for entry in entries:
        replay = _publish(entry.return_exchange, matching_key(entry))
        yield entry.queue_name, [consuming(entry.parking), replay], _note_queue(entry.parking)
    if webhooks:
        queues = WebhookQueues.of(entries)
        work, parking = queues.work.name, queues.parking.name
        yield work, [consuming(parking), _publish("", work)], _note_queue(parking)


def _note_queue(parking: str) -> Queue:
    return Queue(f"{parking}.operator", {"x-queue-type": "classic"})


def notice_queue_use(name: str) -> tuple[Use, Method]:
    """Declaring a queue for notices."""
    return Use(f"declaring the exclusive queue {name!r}", "configure"), lambda channel: channel.queue_declare(
        name, exclusive=True, arguments={"x-queue-type": "classic", "x-expires": 0}
    )
