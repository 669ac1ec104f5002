"""Checks of the queue file as a whole: retry routes that lead nowhere, and settings by which messages are lost."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from provider_gateway.errors import SettingsError
from provider_gateway.topology.declarations import Binding, Exchange, objects_of
from provider_gateway.topology.overlaps import check_path_keys, overlaps
from provider_gateway.topology.routing import matches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from provider_gateway.config.queue_file import DleParams, QueueEntry
    from provider_gateway.topology.declarations import Queue

#: Seconds for which a delivery may be unacknowledged by RabbitMQ's default; then it closes the channel.
_CONSUMER_TIMEOUT = 1800.0
#: A message waits up to three times in one process, each for maxPause and 15 s: for its first call, while it is
#: refused, and for the last call. Then it is given back (:mod:`provider_gateway.provider.model_gate`).
_WAITS, _PATIENCE = 3, 15.0
#: Seconds that publishing a reply may add to the time of a message.
_RESERVE = 60.0
_ADVICE = "Without dleParams each queue has a retry route of its own"


def check_entries(entries: Sequence[QueueEntry]) -> None:
    """Check that what the entries say can work.

    Raises:
        SettingsError: an object is declared in two ways, messages would not come back from the seed's retry route, or
            requests without a routing key would not come to their queue.
    """
    check_conflicts(entries)
    check_ways_back(entries)
    check_path_keys(entries)


def check_ways_back(entries: Sequence[QueueEntry]) -> None:
    """Check that messages on the seed's retry route come back to their queue, as far as the queue file tells.

    Raises:
        SettingsError: the dead-letter routing key of ``dleArgs`` does not lead to the queue.
    """
    for entry, dle in _seed_routes(entries):
        key, back = dle.dle_args.get("x-dead-letter-routing-key"), dle.way_back
        leads_back = key == entry.queue_name if back == "" else back != entry.exchange or matches(entry, str(key))
        if key is not None and not leads_back:
            msg = (
                f"dleParams.dleArgs.x-dead-letter-routing-key of {entry.queue_name!r}: {key!r} does not lead from the "
                f"exchange {back!r} to the queue: its messages would be dropped after their wait"
            )
            raise SettingsError(msg)


def check_conflicts(entries: Sequence[QueueEntry]) -> None:
    """Check that no exchange or queue is declared twice in different ways: the broker would refuse the second.

    Raises:
        SettingsError: the text names the object, the two entries, and what differs.
    """
    seen: dict[tuple[type, str], tuple[Exchange | Queue, str]] = {}
    for entry in entries:
        for each in objects_of(entry):
            if isinstance(each, Binding):
                continue
            first, owner = seen.setdefault((type(each), each.name), (each, entry.queue_name))
            if first != each:
                others = f"{owner!r} and {entry.queue_name!r}" if owner != entry.queue_name else repr(owner)
                msg = (
                    f"{each} stands for two different things in the entries of {others}: {_described(first)}, and "
                    f"{_described(each)}; use another name, or the same settings"
                )
                raise SettingsError(msg)


def _described(what: Exchange | Queue) -> str:
    durable = "durable" if what.durable else "transient"
    if isinstance(what, Exchange):
        return f"{durable}, {what.type}"
    return ", ".join([durable, *(f"{name}: {value}" for name, value in what.arguments.items())])


def _gaps(entry: QueueEntry) -> Iterator[str]:
    """Settings of an entry with which the broker drops confirmed messages, one line each."""
    arguments = entry.arg_queue
    if not entry.durable:
        lost = f"the messages of {entry.queue_name!r}, replyTo and dleQueue"
        yield f"durable: false: {lost} are lost when the broker stops"
    if not entry.exchange_durable:
        yield (
            f"exchangeDurable: false: after a restart of the broker, {entry.queue_name!r} gets no messages through "
            f"{entry.exchange!r} until this process is connected again"
        )
    lengths = {"x-max-length", "x-max-length-bytes"} & arguments.keys()
    if lengths and arguments.get("x-overflow", "drop-head") == "drop-head" and entry.queue_type == "classic":
        yield f"argQueue of {entry.queue_name!r}: a full queue drops its oldest message; add x-overflow: reject-publish"
    if "x-message-ttl" in arguments and "x-dead-letter-exchange" not in arguments and entry.queue_type == "classic":
        yield f"argQueue of {entry.queue_name!r}: x-message-ttl drops what waits for longer"


def _seed_routes(entries: Sequence[QueueEntry]) -> list[tuple[QueueEntry, DleParams]]:
    return [(entry, dle) for entry in entries if (dle := entry.seed_route) is not None]


def _held_too_long(entry: QueueEntry, timeout: float) -> Iterator[str]:
    """A message that is held in one process for as long as it may be, and then served for as long, is too late."""
    longest = _WAITS * (entry.max_pause + _PATIENCE) + timeout + _RESERVE
    argument = entry.arg_queue.get("x-consumer-timeout")
    limit = argument / 1000 if isinstance(argument, int) else _CONSUMER_TIMEOUT
    if longest > limit:
        whose = "x-consumer-timeout" if isinstance(argument, int) else "consumer_timeout, by default"
        yield (
            f"maxPause and timeout of {entry.queue_name!r} allow a message to be unacknowledged for "
            f"{longest:g} s; after {limit:g} s ({whose}) RabbitMQ closes the channel, and delivers all messages in "
            "work again. Lower them, or raise RabbitMQ's limit"
        )


def warnings(entries: Sequence[QueueEntry], model_timeout: float) -> Iterator[str]:
    """Risks of the queue file, one line each: settings that lose messages, bindings and retry routes that double them.

    Args:
        model_timeout: ``MODEL_TIMEOUT`` in seconds, for entries without ``timeout``.
    """
    for entry in entries:
        yield from _gaps(entry)
        yield from _held_too_long(entry, model_timeout if entry.timeout is None else entry.timeout)
    yield from overlaps(entries)
    routes = _seed_routes(entries)
    for (one, dle), (other, other_dle) in combinations(routes, 2):
        if dle.dle_exchange == other_dle.dle_exchange and dle.dle_queue != other_dle.dle_queue:
            yield (
                f"dleParams of {one.queue_name!r} and {other.queue_name!r} share the exchange {dle.dle_exchange!r}: "
                f"each failed message of one is copied into {dle.dle_queue!r} and {other_dle.dle_queue!r}, and comes "
                f"back twice; the surplus copy is dropped. {_ADVICE}"
            )
    for entry, dle in routes:
        if dle.way_back not in ("", entry.exchange):
            yield (
                f"dleParams of {entry.queue_name!r}: its messages come back through the exchange {dle.way_back!r}, to "
                "which this program does not bind the queue: without such a binding, the broker drops them after "
                f"their wait. {_ADVICE}"
            )
        others = [e.queue_name for e in entries if e is not entry and e.exchange == dle.way_back]
        if others:
            yield (
                f"dleParams of {entry.queue_name!r}: its messages come back through the exchange {dle.way_back!r}, to "
                f"which {', '.join(map(repr, others))} is bound as well: a queue whose binding takes the same routing "
                f"key gets a copy, which is dropped there. {_ADVICE}"
            )
