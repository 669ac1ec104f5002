"""The retry route: where the copy of a failed message waits, and how a copy that came back is recognised.

Headers prove nothing, since an initiator can write any. On our own route, a copy is recognised by the return exchange
that it came through, which is bound to one queue only. On the seed's route, copies come back through an exchange that
clients publish to. There they are recognised by the broker's record of the queue that they waited in, which is weaker:
:mod:`provider_gateway.provider.waiting_record`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from provider_gateway.message.copies import PG_QUEUE, History
from provider_gateway.provider.waiting_record import WaitingRecord
from provider_gateway.topology.routing import matches, matching_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.message.message import Message

_NO_HISTORY = History()


class Arrived(Protocol):
    """What is read of a delivery: the message, and how it was routed."""

    @property
    def message(self) -> Message:
        """The message."""

    @property
    def exchange(self) -> str:
        """The exchange that routed it."""

    @property
    def routing_key(self) -> str:
        """The routing key that it was routed with."""


class RetryRoute:
    """The retry route of one entry.

    Args:
        entry: the entry whose messages are retried.
        entries: all entries. If one of them has the seed's route, copies of its messages may come to every queue.
    """

    def __init__(self, entry: QueueEntry, entries: Sequence[QueueEntry]) -> None:
        self._entry = entry
        self._dle = entry.seed_route
        routes = [each.seed_route for each in entries if each.seed_route is not None]
        #: None if no entry has the seed's route: then no copy comes on it.
        self._record = WaitingRecord(routes) if routes else None

    def target(self, delivery: Arrived) -> tuple[str, str]:
        """Exchange and routing key to publish a copy with, so that it comes back after the retry delay."""
        if self._dle is None:
            return "", self._entry.retry_queue
        key, back = delivery.routing_key, self._dle.way_back
        if back == "":
            key = self._entry.queue_name
        elif back == self._entry.exchange and not matches(self._entry, key):
            # The message did not come through the entry's exchange: with its key, the copy would not come back.
            key = matching_key(self._entry)
        return self._dle.dle_exchange, key

    @property
    def delay(self) -> float:
        """Seconds that a copy waits at least."""
        waits = self._entry.retry_delay if self._dle is None else self._dle.dle_args.get("x-message-ttl")
        return waits / 1000 if isinstance(waits, (int, float)) else 0.0

    def history(self, delivery: Arrived) -> History:
        """The history of a message that came back on the retry route. For any other message, an empty one."""
        headers = delivery.message.headers
        if delivery.exchange == self._entry.return_exchange:
            return History.told_by(headers)
        if self._dle is not None and self._waited_in(delivery) == self._dle.dle_queue:
            return History.told_by(headers)
        return _NO_HISTORY

    def is_foreign(self, delivery: Arrived) -> bool:
        """True for a copy of another queue's message: on the seed's route, copies come to every bound queue."""
        queue = delivery.message.headers.get(PG_QUEUE)
        if self._record is None or queue is None or delivery.exchange == self._entry.return_exchange:
            return False  # without PG_QUEUE it is no copy that we made
        waited_in = self._waited_in(delivery)
        if waited_in is None:
            return False
        return bool(queue != self._entry.queue_name or self._dle is None or waited_in != self._dle.dle_queue)

    def _waited_in(self, delivery: Arrived) -> str | None:
        """The queue of the seed's route in which a copy has just waited."""
        assert self._record is not None
        return self._record.queue(delivery.message.headers, delivery.exchange, delivery.routing_key)
