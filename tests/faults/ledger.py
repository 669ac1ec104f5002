"""The ledger of a fault test: what became of each request, and whether the promise of delivery was kept.

From the moment a request is confirmed it ends in a reply, a parked message or a counted deadline drop. The id of a
request is in its body (``{"id": …}``), in its RqUID header and, of AMQP initiators, in message and correlation id.
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

#: How many ids a failure names.
_SHOWN = 10


class Outcome(Enum):
    """What the initiator of a request knows of its acceptance."""

    OPEN = "nothing yet"
    CONFIRMED = "accepted"
    UNKNOWN = "may have been accepted"
    REFUSED = "certainly not accepted"


class Ledger:
    """Records by request id; any thread may write.

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
        """It is about to be sent."""
        self._note(request, Outcome.OPEN)

    def confirmed(self, request: str) -> None:
        """It was accepted: by the broker's confirm, or by an answer that implies one."""
        self._note(request, Outcome.CONFIRMED)

    def unknown(self, request: str) -> None:
        """Its initiator cannot know whether it was accepted."""
        self._note(request, Outcome.UNKNOWN)

    def refused(self, request: str) -> None:
        """It was certainly not accepted."""
        self._note(request, Outcome.REFUSED)

    def settled(self, request: str, outcome: Outcome) -> None:
        """Its initiator has learnt its outcome."""
        self._note(request, outcome)

    def replied(self, request: str, status: int, *, belongs: bool = True) -> None:
        """A reply to it arrived; it does not belong if its parts name different requests."""
        with self._lock:
            self._statuses[status] += 1
            if not belongs:
                self._foreign.append(request)
        self._count(self._replies, request)

    def parked(self, request: str) -> None:
        """A copy of it is in a parking queue."""
        self._count(self._parked, request)

    def expired(self, request: str) -> None:
        """It was dropped, and counted, because its deadline had passed."""
        self._count(self._expired, request)

    def called(self, request: str) -> None:
        """The model was called for it."""
        self._count(self._calls, request)

    def count(self, outcome: Outcome) -> int:
        """How many requests have this outcome."""
        with self._lock:
            return Counter(self._outcomes.values())[outcome]

    @property
    def statuses(self) -> Counter[int]:
        """Replies by status."""
        with self._lock:
            return Counter(self._statuses)

    def with_outcome(self, outcome: Outcome) -> set[str]:
        """The requests that have this outcome."""
        with self._lock:
            return {request for request, found in self._outcomes.items() if found is outcome}

    def lost(self) -> set[str]:
        """Confirmed requests that ended in nothing."""
        confirmed = self.with_outcome(Outcome.CONFIRMED)
        with self._lock:
            return confirmed - self._ended()

    def unexpected(self) -> list[str]:
        """What must not be: ends and calls of requests that were never sent or were refused, and mixed-up replies."""
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
        """Replies and parked copies beyond the first of each request."""
        with self._lock:
            return _surplus(self._replies) + _surplus(self._parked)

    def read(self, headers: Mapping[str, Any], correlation_id: str | None, body: bytes) -> tuple[str, bool]:
        """Whose a message is, and whether all its parts say the same.

        A correlation id that is no request's is the gateway's own; a body without an id says nothing.
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
        """Fail the test if the promise was broken, or nothing was confirmed that could have shown it.

        Args:
            duplicates_at_most: faults times messages in flight.
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
    """The id that a body names: of a request or its echo, or as ``rquid`` of a problem document."""
    try:
        content = json.loads(body)
    except ValueError:
        return None
    if not isinstance(content, dict):
        return None
    found = content.get("id", content.get("rquid"))
    return found if isinstance(found, str) else None
