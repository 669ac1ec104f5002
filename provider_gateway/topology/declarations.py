"""The exchanges, queues and bindings of an entry of the queue file, in the order of their declaration.

Pure. :mod:`provider_gateway.amqp.declare` declares them; ``--check --connect`` checks that they exist.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from provider_gateway.config.queue_file import DleParams, QueueEntry

#: Redeliveries of one message before it is parked: a message that kills the process comes back each time.
DELIVERY_LIMIT = 20
#: RabbitMQ 4 drops a message that was requeued to a quorum queue 20 times, unless its limit is raised.
_NO_DELIVERY_LIMIT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange."""

    name: str
    type: str
    durable: bool = True

    def __str__(self) -> str:
        return f"exchange {self.name!r}"


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue with the arguments of its declaration."""

    name: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    durable: bool = True

    def __str__(self) -> str:
        return f"queue {self.name!r}"


@dataclass(frozen=True, slots=True)
class Binding:
    """A binding of a queue to an exchange."""

    queue: str
    exchange: str
    key: str = ""

    def __str__(self) -> str:
        return f"binding of {self.queue!r}"


def objects_of(entry: QueueEntry) -> Iterator[Exchange | Queue | Binding]:
    """The objects of one entry."""
    if entry.exchange:
        yield Exchange(entry.exchange, entry.exchange_type, entry.durable)
    # Targets of dead-lettering first: the broker drops a message whose dead-letter target is missing.
    yield Queue(entry.parking, _parking_arguments(entry))
    yield Queue(entry.queue_name, queue_arguments(entry), entry.durable)
    yield Exchange(entry.return_exchange, "fanout")
    yield Binding(entry.queue_name, entry.return_exchange)
    if entry.dle_params is not None:
        yield from _seed_route(entry, entry.dle_params)
    elif entry.dle:
        yield Queue(entry.retry_queue, _retry_arguments(entry))
    if entry.exchange:
        for key in entry.binding_key or ("",):
            yield Binding(entry.queue_name, entry.exchange, key)
    if entry.reply_to is not None:
        yield Queue(entry.reply_to, reply_queue_arguments([entry]))


def reply_queue_arguments(entries: Sequence[QueueEntry]) -> dict[str, object]:
    """The arguments of a queue for replies to messages of these entries.

    A classic queue is unavailable while its node is down. If a request queue survives the loss of a node (quorum), so
    must the reply queue.
    """
    return {"x-queue-type": "quorum"} if any(entry.queue_type == "quorum" for entry in entries) else {}


def queue_arguments(entry: QueueEntry) -> dict[str, object]:
    """The arguments of an entry's work queue; ``argQueue`` overrides ours.

    A classic queue gets ``argQueue`` alone: with any more, an existing queue of the seed would not match (AMQP 406).
    """
    given = dict(entry.arg_queue)
    if entry.queue_type != "quorum":
        return given
    ours: dict[str, object] = {"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT}
    if "x-dead-letter-exchange" not in given:
        ours |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": entry.parking}
    if given.get("x-overflow", "reject-publish") == "reject-publish":
        ours |= _QUORUM_SAFETY
    return ours | given


#: A dead-lettered message leaves the queue only when its target has it (RabbitMQ guide, "Quorum Queues",
#: "At-Least-Once Dead Lettering").
_QUORUM_SAFETY = {"x-overflow": "reject-publish", "x-dead-letter-strategy": "at-least-once"}


def _retry_arguments(entry: QueueEntry) -> dict[str, object]:
    arguments: dict[str, object] = {
        "x-message-ttl": entry.retry_delay,
        "x-dead-letter-exchange": entry.return_exchange,
    }
    if entry.queue_type == "quorum":
        arguments |= {"x-queue-type": "quorum", **_QUORUM_SAFETY}
    return arguments


def _parking_arguments(entry: QueueEntry) -> dict[str, object]:
    if entry.queue_type == "quorum":
        return {"x-queue-type": "quorum", "x-delivery-limit": _NO_DELIVERY_LIMIT}
    return {}


def _seed_route(entry: QueueEntry, dle: DleParams) -> Iterator[Exchange | Queue | Binding]:
    """The objects of ``dleParams``, exactly as written."""
    yield Exchange(dle.dle_exchange, dle.dle_exchange_type)
    yield Queue(dle.dle_queue, dict(dle.dle_args))
    # A copy is published with the routing key that it comes back with, so the waiting queue must take them all.
    direct = (*entry.binding_key, entry.queue_name)
    keys = {"fanout": ("",), "topic": ("#",), "direct": direct}[dle.dle_exchange_type]
    for key in keys:
        yield Binding(dle.dle_queue, dle.dle_exchange, key)
