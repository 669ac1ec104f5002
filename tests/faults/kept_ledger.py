"""The ledger of kept requests: each id that a caller was told ends in one of five states, and its answer is right.

A caller was told an id by 202, or by 504 with ``Location``. What the answer has to be follows from the request
(:mod:`tests.faults.kept_model`). A request with an ``Idempotency-Key`` has one id, however often it was sent.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from tests.faults.kept_model import answer_to, request_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from unittest import TestCase

#: The number of lines of each kind in a failure's text.
_SHOWN = 8
FINAL = frozenset({"succeeded", "failed", "parked", "expired", "canceled"})
PROBLEM = "application/problem+json"


class Reply(NamedTuple):
    """A response as it came; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        """The media type, with parameters."""
        return self.headers.get("content-type", "")


@dataclass
class Entry:
    """What is known of one request.

    Attributes:
        key: True if it has an Idempotency-Key.
        has_deadline: True if its message may expire unstarted.
        webhook: True if its end is to be told by webhook.
        may_be_accepted: False if each try was refused for certain.
        ids: that callers were told.
        states: by id, as they were read last.
        fetched: number of times that an answer was fetched, by id.
        said: the responses to it.
    """

    request: str
    body: bytes
    key: bool = False
    has_deadline: bool = False
    webhook: bool = False
    may_be_accepted: bool = False
    ids: set[str] = field(default_factory=set)
    states: dict[str, str] = field(default_factory=dict)
    fetched: Counter[str] = field(default_factory=Counter)
    direct: int = 0
    said: list[str] = field(default_factory=list)

    @property
    def state(self) -> str | None:
        """The state of a request with one id, as it was read last; that of the last one if there are several."""
        return next(reversed(self.states.values()), None)

    @property
    def only(self) -> str:
        """Its only id."""
        (id_,) = self.ids
        return id_

    @property
    def may_be_lost(self) -> bool:
        """True if its caller got 504 and has not tried again: broker and gateway may both have died since."""
        return not self.key and self.said[-1:] in (["504 outcome-unknown"], ["504 deadline-passed"])


class KeptLedger:
    """Records by request.

    Attributes:
        entries: all requests, by their own id (``RqUID``).
        told: the request of each id of the gateway.
        wrong: what must not be, in words.
        events: the ids and types of webhooks, by the id of the request.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.told: dict[str, Entry] = {}
        self.wrong: list[str] = []
        self.events: dict[str, set[tuple[str, str]]] = {}
        self.answers: Counter[str] = Counter()

    def sent(self, request: str, *, key: bool = False, has_deadline: bool = False, webhook: bool = False) -> Entry:
        """A request is about to be sent."""
        entry = Entry(request, request_of(request), key, has_deadline, webhook)
        self.entries[request] = entry
        return entry

    def tell(self, entry: Entry, id_: str, *, promised: bool = True) -> None:
        """A caller was told this id; without a promise that its answer comes, if another request was to bring it."""
        entry.may_be_accepted = True
        if promised:
            entry.ids.add(id_)
            other = self.told.setdefault(id_, entry)
            if other is not entry:
                self._object(entry, f"has the id of {other.request}, {id_}")

    def answered(self, entry: Entry, reply: Reply) -> None:
        """A caller got the answer at once."""
        entry.may_be_accepted = True
        entry.direct += 1
        self._compare(entry, None, reply)

    def ended(self, entry: Entry, state: str, id_: str | None = None) -> None:
        """The status of a request was read, by one of its ids; None for the only one."""
        before = entry.states.pop(id_ or entry.only, None)
        if before in FINAL and state != before and (before, state) not in _CHANGES:
            self._object(entry, f"was {before}, and is {state}")
        entry.states[id_ or entry.only] = state

    def fetched(self, entry: Entry, state: str | None, reply: Reply, id_: str | None = None) -> None:
        """A kept answer was fetched."""
        entry.fetched[id_ or entry.only] += 1
        self._compare(entry, state, reply)

    def event(self, id_: str, webhook_id: str, kind: str) -> None:
        """A webhook said that a request ended. It may come before the caller's 202."""
        self.events.setdefault(id_, set()).add((webhook_id, kind))

    def called(self, calls: Mapping[str, int]) -> int:
        """The model was called; returns the number of calls that were not needed."""
        for request in calls:
            entry = self.entries.get(request)
            if entry is None or not entry.may_be_accepted:
                self.wrong.append(f"{request}: the model was called, but it was {'refused' if entry else 'never sent'}")
        return sum(count - 1 for request, count in calls.items() if request.partition("-")[0] not in _REPEATED)

    def lost(self) -> list[str]:
        """Ids without a final state, or without a fetched answer."""
        return [
            f"{entry.request} ({id_}): {entry.states.get(id_)}, fetched {entry.fetched[id_]} times, {entry.said}"
            for id_, entry in self.told.items()
            if entry.states.get(id_) not in FINAL or not entry.fetched[id_]
        ]

    def pending(self) -> list[Entry]:
        """Requests whose callers were told an id, and that are still pending."""
        return [entry for id_, entry in self.told.items() if entry.states.get(id_) == "pending"]

    def twice(self) -> list[str]:
        """Requests with several ids, though the first one's key was not free (docs/interface.md)."""
        return [
            f"{entry.request}: {entry.states}, {entry.said}"
            for entry in self.entries.values()
            if len(entry.ids) > 1 and sum(entry.states.get(id_) not in _FREE for id_ in entry.ids) > 1
        ]

    def untold(self) -> list[str]:
        """Requests whose webhooks did not come."""
        return [entry.request for id_, entry in self.told.items() if entry.webhook and id_ not in self.events]

    def summary(self) -> str:
        """The ledger as a table."""
        states = Counter(str(entry.states.get(id_)) for id_, entry in self.told.items())
        rows: dict[str, object] = {
            "requests": len(self.entries),
            "answered at once": sum(entry.direct > 0 for entry in self.entries.values()),
            "told an id": len(self.told),
            "of them with a key": sum(entry.key for entry in self.told.values()),
            "of them with a deadline": sum(entry.has_deadline for entry in self.told.values()),
            **{f"ended {state}": count for state, count in sorted(states.items())},
            "stuck pending": states["pending"],
            "parked or refused by faults": self.answers["by faults"],
            "lost": len(self.lost()),
            "wrong": len(self.wrong),
            "with several ids": len(self.twice()),
            "without their webhook": len(self.untold()),
        }
        return "\n".join(f"{name:<32} {value}" for name, value in rows.items())

    def check(self, test: TestCase, *, by_faults_at_most: int = 0) -> None:
        """Fail the test if the promise was broken, or if nobody was told an id.

        Args:
            by_faults_at_most: requests that may end as ``parked`` or ``failed`` though the model has an answer to them.
        """
        found = []
        for name, lines in (
            ("lost", self.lost()),
            ("wrong", self.wrong),
            ("several ids", self.twice()),
            ("no webhook", self.untold()),
        ):
            if lines:
                found.append(f"{name} {len(lines)}:\n  " + "\n  ".join(lines[:_SHOWN]))
        if self.answers["by faults"] > by_faults_at_most:
            found.append(f"{self.answers['by faults']} ended as errors, at most {by_faults_at_most} are allowed")
        if not self.told:
            found.append("nobody was told an id")
        if found:
            test.fail("\n".join([*found, self.summary()]))

    def _compare(self, entry: Entry, state: str | None, reply: Reply) -> None:
        """Compare an answer with what it has to be; state is None for an answer at once."""
        wanted = answer_to(entry.body)
        if reply.status == wanted.status and wanted.failures >= 0:
            right = reply.body == wanted.body and reply.content_type == wanted.content_type
            right &= reply.headers.get("x-model") == "test"
            right &= state in (None, "succeeded" if wanted.status < 400 else "failed")
            self.answers["model's"] += 1
        else:
            right = reply.content_type == PROBLEM and rquid_in(reply.body) == entry.request
            right &= reply.status == {"expired": 504, "parked": 502, "failed": 502}.get(str(state), 502)
            right &= state != "expired" or entry.has_deadline or entry.may_be_lost
            right &= state not in ("succeeded", "canceled", "pending")
            self.answers["by faults" if wanted.failures >= 0 and state != "expired" else "errors"] += 1
        if not right:
            found = f"{reply.status} {reply.content_type} {reply.body[:100]!r}"
            self._object(entry, f"{state}: {found}, not {wanted}"[:400])

    def _object(self, entry: Entry, what: str) -> None:
        self.wrong.append(f"{entry.request} ({', '.join(sorted(entry.ids))}): {what}")


#: Kinds that the model is called for more than once.
_REPEATED = frozenset({"parked", "flaky"})
#: After 502, and once a request has expired, its key is free. A caller that was away meanwhile is told another id.
_FREE = frozenset({"parked", "expired"})
#: What may become of a final state: a parked message is replayed, an answer comes after all.
_CHANGES = frozenset((old, new) for old in ("parked", "expired") for new in ("succeeded", "failed", "parked"))


def rquid_in(body: bytes) -> str | None:
    """The ``rquid`` of a problem document."""
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found.get("rquid") if isinstance(found, dict) else None
