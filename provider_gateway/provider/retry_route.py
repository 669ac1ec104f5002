"""The way of a failed message: where its copy goes to wait, and by what a copy is recognised that came back.

What a client writes into its headers counts for nothing: on the safe route a copy is known by the exchange that it came
through, which is bound to one queue only; on the seed's route by the broker's own record of where it waited.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Protocol

from provider_gateway.errors import SettingsError
from provider_gateway.message.copies import PG_QUEUE, History
from provider_gateway.topology.routing import matches, matching_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from provider_gateway.config.queue_file import DleParams, QueueEntry
    from provider_gateway.message.message import Message

_NO_HISTORY = History()
_ADVICE = "Without dleParams each queue has a retry route of its own"


class Arrived(Protocol):
    """A delivery, as far as its way is concerned."""

    @property
    def message(self) -> Message:
        """The message."""

    @property
    def exchange(self) -> str:
        """The exchange that it was routed by."""

    @property
    def routing_key(self) -> str:
        """The key that it was routed by."""


class RetryRoute:
    """The retry route of one entry.

    Args:
        entries: all of the queue file; if one has the seed's retry route, copies of its messages may come to any.
    """

    def __init__(self, entry: QueueEntry, entries: Sequence[QueueEntry]) -> None:
        self._entry = entry
        self._dle = entry.dle_params if entry.dle else None
        self._gets_copies = bool(_seed_routes(entries))

    def target(self, delivery: Arrived) -> tuple[str, str]:
        """Exchange and routing key for a copy that is to come back after the retry delay."""
        if self._dle is None:
            return "", self._entry.retry_queue
        key, back = delivery.routing_key, _back(self._dle)
        if back == "":
            key = self._entry.queue_name
        elif back == self._entry.exchange and not matches(self._entry, key):
            # It came past the exchange, so this key would not lead back.
            key = matching_key(self._entry)
        return self._dle.dle_exchange, key

    def history(self, delivery: Arrived) -> History:
        """What happened to a message before; nothing, for one that did not come back to us."""
        headers = delivery.message.headers
        if delivery.exchange == self._entry.return_exchange:
            return History.told_by(headers)
        if self._dle is not None and _waited_in(delivery.message) == self._dle.dle_queue:
            return History.told_by(headers)
        return _NO_HISTORY

    def is_foreign(self, delivery: Arrived) -> bool:
        """True for a copy of another queue's message, which the seed's route scatters."""
        waited_in = _waited_in(delivery.message)
        if not self._gets_copies or waited_in is None or delivery.exchange == self._entry.return_exchange:
            return False
        queue = delivery.message.headers.get(PG_QUEUE)
        if queue is None:
            return False  # not a copy of ours
        return bool(queue != self._entry.queue_name or self._dle is None or waited_in != self._dle.dle_queue)


def _seed(entry: QueueEntry) -> DleParams | None:
    return entry.dle_params if entry.dle else None


def _back(dle: DleParams) -> object:
    return dle.dle_args.get("x-dead-letter-exchange")


def _waited_in(message: Message) -> str | None:
    """The queue that a message has just expired in, as the broker noted (RabbitMQ guide, "Dead Letter Exchanges")."""
    deaths = message.headers.get("x-death")
    if not isinstance(deaths, list) or not deaths or not isinstance(deaths[0], dict):
        return None
    newest = deaths[0]
    return str(newest.get("queue")) if newest.get("reason") == "expired" else None


def check_ways_back(entries: Sequence[QueueEntry]) -> None:
    """Check that messages which wait on the seed's route come back, as far as this can be known.

    Raises:
        SettingsError: the dead-letter routing key of ``dleArgs`` does not lead to the queue.
    """
    for entry, dle in _seed_routes(entries):
        key, back = dle.dle_args.get("x-dead-letter-routing-key"), _back(dle)
        leads_back = key == entry.queue_name if back == "" else back != entry.exchange or matches(entry, str(key))
        if key is not None and not leads_back:
            msg = (
                f"dleParams.dleArgs.x-dead-letter-routing-key of {entry.queue_name!r}: {key!r} does not lead from the "
                f"exchange {back!r} to the queue: its messages would be dropped after their wait"
            )
            raise SettingsError(msg)


def _gaps(entry: QueueEntry) -> Iterator[str]:
    """What of an entry's arguments makes the broker drop messages that it has confirmed."""
    arguments = entry.arg_queue
    if not entry.durable:
        yield f"durable: false: the messages of {entry.queue_name!r} are lost when the broker stops"
    lengths = {"x-max-length", "x-max-length-bytes"} & arguments.keys()
    if lengths and arguments.get("x-overflow", "drop-head") == "drop-head" and entry.queue_type == "classic":
        yield f"argQueue of {entry.queue_name!r}: a full queue drops its oldest message; add x-overflow: reject-publish"
    if "x-message-ttl" in arguments and "x-dead-letter-exchange" not in arguments and entry.queue_type == "classic":
        yield f"argQueue of {entry.queue_name!r}: x-message-ttl drops what waits for longer"


def _seed_routes(entries: Sequence[QueueEntry]) -> list[tuple[QueueEntry, DleParams]]:
    return [(entry, dle) for entry in entries if (dle := _seed(entry)) is not None]


def warnings(entries: Sequence[QueueEntry]) -> Iterator[str]:
    """What is risky about the retry routes of the queue file, one line each."""
    for entry in entries:
        yield from _gaps(entry)
    routes = _seed_routes(entries)
    for (one, dle), (other, other_dle) in combinations(routes, 2):
        if dle.dle_exchange == other_dle.dle_exchange and dle.dle_queue != other_dle.dle_queue:
            yield (
                f"dleParams of {one.queue_name!r} and {other.queue_name!r} share the exchange {dle.dle_exchange!r}: "
                f"each failed message of one is copied into {dle.dle_queue!r} and {other_dle.dle_queue!r}, and comes "
                f"back twice; the surplus copy is dropped. {_ADVICE}"
            )
    for entry, dle in routes:
        if _back(dle) not in ("", entry.exchange):
            yield (
                f"dleParams of {entry.queue_name!r}: its messages come back through the exchange {_back(dle)!r}, to "
                "which this program does not bind the queue: without such a binding, the broker drops them after "
                f"their wait. {_ADVICE}"
            )
        others = [e.queue_name for e in entries if e is not entry and e.exchange == _back(dle)]
        if others:
            yield (
                f"dleParams of {entry.queue_name!r}: its messages come back through the exchange {_back(dle)!r}, to "
                f"which {', '.join(map(repr, others))} is bound as well: a queue whose binding takes the same routing "
                f"key gets a copy, which is dropped there. {_ADVICE}"
            )
