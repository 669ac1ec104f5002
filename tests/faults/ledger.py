"""The ledger of a fault test: the outcome of each request, and whether the promise of delivery was kept.

The promise: a confirmed request ends in a reply, a parked message or a counted expiry. A request's id is in its body
(``{"id": …}``), in its RqUID header and, for AMQP initiators, in message id and correlation id.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from unittest import TestCase

#: The number of ids in a failure's text.
_SHOWN = 10


class Outcome(Enum):
    """What the sender of a request knows of its acceptance."""

    OPEN = "nothing yet"
    CONFIRMED = "accepted"
    UNKNOWN = "may have been accepted"
    REFUSED = "certainly not accepted"


class Ledger:
    """Records by request id; may be used from any thread.

    Args:
        changed: called after each record, in the thread that made it.
    """

    def __init__(self, changed: Callable[[], object] = lambda: None) -> None:
        self._changed = changed
        self._lock = threading.Lock()
        self._outcomes: dict[str, Outcome] = {}
        self._replies: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._parked: Counter[str] = Counter()
        self._expired: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()
        self._foreign: list[str] = []

    def sent(self, request: str) -> None:
        """The request is about to be sent."""
        self._note(request, Outcome.OPEN)

    def confirmed(self, request: str) -> None:
        """The request was accepted: by the broker's confirm, or by a response that implies it."""
        self._note(request, Outcome.CONFIRMED)

    def unknown(self, request: str) -> None:
        """The sender cannot know whether the request was accepted."""
        self._note(request, Outcome.UNKNOWN)

    def refused(self, request: str) -> None:
        """The request was certainly not accepted."""
        self._note(request, Outcome.REFUSED)

    def settled(self, request: str, outcome: Outcome) -> None:
        """The sender has learnt the outcome of the request."""
        self._note(request, outcome)

    def replied(self, request: str, status: int, *, belongs: bool = True) -> None:
        """A reply arrived; ``belongs`` is False if its parts name different requests."""
        with self._lock:
            self._statuses[status] += 1
            if not belongs:
                self._foreign.append(request)
        self._count(self._replies, request)

    def parked(self, request: str) -> None:
        """A copy of the request is in a parking queue."""
        self._count(self._parked, request)

    def expired(self, request: str) -> None:
        """The request was dropped and counted because its deadline had passed."""
        self._count(self._expired, request)

    def called(self, request: str) -> None:
        """The model was called for the request."""
        self._count(self._calls, request)

    def count(self, outcome: Outcome) -> int:
        """The number of requests with this outcome."""
        with self._lock:
            return Counter(self._outcomes.values())[outcome]

    @property
    def statuses(self) -> Counter[int]:
        """Replies by status."""
        with self._lock:
            return Counter(self._statuses)

    def with_outcome(self, outcome: Outcome) -> set[str]:
        """The ids of requests with this outcome."""
        with self._lock:
            return {request for request, found in self._outcomes.items() if found is outcome}

    def lost(self) -> set[str]:
        """Confirmed requests without a reply, a parked copy or a counted expiry."""
        confirmed = self.with_outcome(Outcome.CONFIRMED)
        with self._lock:
            return confirmed - self._ended()

    def unexpected(self) -> list[str]:
        """What must not be: ends and calls of unsent or refused requests, replies that name several requests."""
        with self._lock:
            found = [f"{request}: a reply that belongs to another request" for request in self._foreign]
            records = (("replied", self._replies), ("parked", self._parked), ("expired", self._expired))
            for what, records_of in (*records, ("the model was called", self._calls)):
                for request in records_of:
                    outcome = self._outcomes.get(request)
                    if outcome in (None, Outcome.REFUSED):
                        found.append(f"{request}: {what}, but it was {'refused' if outcome else 'never sent'}")
        return found

    def duplicates(self) -> int:
        """The number of replies and parked copies beyond the first one of each request."""
        with self._lock:
            return _surplus(self._replies) + _surplus(self._parked)

    def repeated_calls(self) -> int:
        """The number of model calls beyond the first one of each request."""
        with self._lock:
            return _surplus(self._calls)

    def read(self, headers: Mapping[str, Any], correlation_id: str | None, body: bytes) -> tuple[str, bool]:
        """The request that a message belongs to, and whether all its parts name that request.

        A correlation id that is not a request's is one of the gateway's own. A body without an id is ignored.
        """
        lowered = {name.lower(): value for name, value in headers.items()}
        named = [lowered.get("rquid"), id_in(body)]
        with self._lock:
            if correlation_id in self._outcomes or not any(named):
                named.append(correlation_id)
        names = [str(name) for name in named if name]
        return (names[0] if names else ""), len(set(names)) <= 1

    def summary(self) -> str:
        """The ledger as a table."""
        outcomes = {outcome: self.count(outcome) for outcome in Outcome}
        lost, unexpected, duplicates = len(self.lost()), len(self.unexpected()), self.duplicates()
        with self._lock:
            by_status = ", ".join(f"{status}: {count}" for status, count in sorted(self._statuses.items()))
            rows: dict[str, object] = {
                "sent": len(self._outcomes),
                "confirmed": outcomes[Outcome.CONFIRMED],
                "unknown": outcomes[Outcome.UNKNOWN],
                "refused": outcomes[Outcome.REFUSED],
                "open": outcomes[Outcome.OPEN],
                "replied": f"{len(self._replies)}  ({by_status})" if by_status else 0,
                "parked": len(self._parked),
                "expired": len(self._expired),
                "duplicates": duplicates,
                "model calls beyond the first": _surplus(self._calls),
                "lost": lost,
                "unexpected": unexpected,
            }
        return "\n".join(f"{name:<30} {value}" for name, value in rows.items())

    def check(self, test: TestCase, *, duplicates_at_most: int = 0) -> None:
        """Fail the test if the promise was broken, or if no request was confirmed.

        Args:
            duplicates_at_most: number of faults times messages in flight.
        """
        wrong = []
        if lost := sorted(self.lost()):
            wrong.append(f"lost: {', '.join(lost[:_SHOWN])}")
        if unexpected := self.unexpected():
            wrong.append("unexpected: " + "; ".join(unexpected[:_SHOWN]))
        if still_open := sorted(self.with_outcome(Outcome.OPEN)):
            wrong.append(f"no outcome: {', '.join(still_open[:_SHOWN])}")
        if (duplicates := self.duplicates()) > duplicates_at_most:
            wrong.append(f"{duplicates} duplicates, at most {duplicates_at_most} are allowed")
        if not self.count(Outcome.CONFIRMED):
            wrong.append("nothing was confirmed")
        if wrong:
            test.fail("\n".join([*wrong, self.summary()]))

    def _ended(self) -> set[str]:
        return self._replies.keys() | self._parked.keys() | self._expired.keys()

    def _note(self, request: str, outcome: Outcome) -> None:
        with self._lock:
            self._outcomes[request] = outcome
        self._changed()

    def _count(self, records: Counter[str], request: str) -> None:
        with self._lock:
            records[request] += 1
        self._changed()


def _surplus(records: Counter[str]) -> int:
    return sum(records.values()) - len(records)


def fresh_id(prefix: str) -> str:
    """A new request id."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def id_in(body: bytes) -> str | None:
    """The id in the body of a request, of its echo, or of a problem document (``rquid``)."""
    try:
        content = json.loads(body)
    except ValueError:
        return None
    if not isinstance(content, dict):
        return None
    found = content.get("id", content.get("rquid"))
    return found if isinstance(found, str) else None
