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
#: Before 4.0, -1 is no way to say "none": it would drop each message that is requeued.
_NO_DELIVERY_LIMIT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange.

    Attributes:
        keys: which key of the queue file sets which property: ``durable``, ``type``. A property without one is ours.
    """

    name: str
    type: str
    durable: bool = True
    keys: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        return f"exchange {self.name!r}"


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue with the arguments of its declaration.

    Attributes:
        keys: which key of the queue file sets which property: ``durable``, or an argument; ``*`` is any other argument.
            A property without one is ours.
        may_lack: an argument that a queue that exists need not have.
    """

    name: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    durable: bool = True
    keys: Mapping[str, str] = field(default_factory=dict, compare=False)
    may_lack: str | None = None

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


Declared = Exchange | Queue | Binding

#: Without it, a virtual host's ``default_queue_type`` would decide, and a quorum queue needs other arguments than ours.
_CLASSIC: dict[str, object] = {"x-queue-type": "classic"}
#: A queue whose messages are never dropped because of their number of redeliveries.
_QUORUM: dict[str, object] = {"x-queue-type": "quorum", "x-delivery-limit": _NO_DELIVERY_LIMIT}


def objects_of(entry: QueueEntry) -> Iterator[Declared]:
    """The objects of one entry."""
    if entry.exchange:
        keys = {"durable": "exchangeDurable", "type": "exchangeType"}
        yield Exchange(entry.exchange, entry.exchange_type, entry.exchange_durable, keys)
    # Targets of dead-lettering first: the broker drops a message whose dead-letter target is missing.
    yield parking_queue(entry)
    keys = {"durable": "durable", "x-queue-type": "queueType", "*": "argQueue"}
    yield Queue(entry.queue_name, queue_arguments(entry), entry.durable, keys)
    yield Exchange(entry.return_exchange, "fanout")
    yield Binding(entry.queue_name, entry.return_exchange)
    if entry.dle_params is not None:
        yield from _seed_route(entry, entry.dle_params)
    elif entry.dle:
        keys = {"x-queue-type": "queueType", "x-message-ttl": "retryDelay"}
        yield Queue(entry.retry_queue, _retry_arguments(entry), keys=keys)
    if entry.exchange:
        for key in entry.binding_key or ("",):
            yield Binding(entry.queue_name, entry.exchange, key)
    if entry.reply_to is not None:
        keys = {"durable": "durable", "x-queue-type": "queueType"}
        # Other programs declare this queue, too, and earlier versions of ours did so without the limit.
        may_lack = "x-delivery-limit" if entry.queue_type == "quorum" else None
        yield Queue(entry.reply_to, reply_queue_arguments([entry]), entry.durable, keys, may_lack)


def reply_queue_arguments(entries: Sequence[QueueEntry]) -> dict[str, object]:
    """The arguments of a queue for replies to messages of these entries.

    A classic queue is unavailable while its node is down. If a request queue survives the loss of a node (quorum), so
    must the reply queue. A reply must not be dropped because its reader has lost its connection 20 times.
    """
    return dict(_QUORUM if any(entry.queue_type == "quorum" for entry in entries) else _CLASSIC)


def queue_arguments(entry: QueueEntry) -> dict[str, object]:
    """The arguments of an entry's work queue; ``argQueue`` overrides ours.

    A classic queue gets ``argQueue`` and its type alone: with any more, an existing queue of the seed would not match
    (AMQP 406). RabbitMQ takes a queue that was declared without a type for a classic one.
    """
    given = dict(entry.arg_queue)
    if entry.queue_type != "quorum":
        return _CLASSIC | given
    ours: dict[str, object] = {"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT}
    if "x-dead-letter-exchange" not in given:
        ours |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": entry.parking}
    if given.get("x-overflow", "reject-publish") == "reject-publish":
        ours |= QUORUM_SAFETY
    return ours | given


#: A dead-lettered message leaves the queue only when its target has it (RabbitMQ guide, "Quorum Queues",
#: "At-Least-Once Dead Lettering").
QUORUM_SAFETY = {"x-overflow": "reject-publish", "x-dead-letter-strategy": "at-least-once"}


def _retry_arguments(entry: QueueEntry) -> dict[str, object]:
    arguments: dict[str, object] = {
        "x-message-ttl": entry.retry_delay,
        "x-dead-letter-exchange": entry.return_exchange,
    }
    if entry.queue_type == "quorum":
        return {"x-queue-type": "quorum", **arguments, **QUORUM_SAFETY}
    return _CLASSIC | arguments


def parking_queue(entry: QueueEntry) -> Queue:
    """The parking queue of an entry. Whoever looks into it makes its messages come back any number of times."""
    arguments = dict(_QUORUM if entry.queue_type == "quorum" else _CLASSIC)
    return Queue(entry.parking, arguments, keys={"x-queue-type": "queueType"})


def _seed_route(entry: QueueEntry, dle: DleParams) -> Iterator[Declared]:
    """The objects of ``dleParams``, as written."""
    yield Exchange(dle.dle_exchange, dle.dle_exchange_type, keys={"type": "dleParams.dleExchangeType"})
    keys = {"durable": "durable", "*": "dleParams.dleArgs"}
    yield Queue(dle.dle_queue, _CLASSIC | dle.dle_args, entry.durable, keys)
    # A copy is published with the routing key that it comes back with, so the waiting queue must take them all.
    direct = (*entry.binding_key, entry.queue_name)
    patterns = {"fanout": ("",), "topic": ("#",), "direct": direct}[dle.dle_exchange_type]
    for key in patterns:
        yield Binding(dle.dle_queue, dle.dle_exchange, key)
