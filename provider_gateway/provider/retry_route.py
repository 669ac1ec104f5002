"""The way of a failed message: where its copy goes to wait, and by what a copy is recognised that came back.

What a client writes into its headers counts for nothing: on the safe route a copy is known by the exchange that it came
through, which is bound to one queue only; on the seed's route by the broker's own record of where it waited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from provider_gateway.message.copies import PG_QUEUE, History
from provider_gateway.topology.routing import matches, matching_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.message.message import Message

_NO_HISTORY = History()


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
        self._dle = entry.seed_route
        self._gets_copies = any(each.seed_route is not None for each in entries)

    def target(self, delivery: Arrived) -> tuple[str, str]:
        """Exchange and routing key for a copy that is to come back after the retry delay."""
        if self._dle is None:
            return "", self._entry.retry_queue
        key, back = delivery.routing_key, self._dle.way_back
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


def _waited_in(message: Message) -> str | None:
    """The queue that a message has just expired in, as the broker noted (RabbitMQ guide, "Dead Letter Exchanges")."""
    deaths = message.headers.get("x-death")
    if not isinstance(deaths, list) or not deaths or not isinstance(deaths[0], dict):
        return None
    newest = deaths[0]
    return str(newest.get("queue")) if newest.get("reason") == "expired" else None
