"""A result store in memory, for tests of what uses one. It keeps the same contract as the real ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail, succeed

from provider_gateway.errors import StoreUnavailable
from provider_gateway.store.records import Figures, Finished, Outcome, Record, Result, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class MemoryStore:
    """A store in memory.

    Args:
        ttl: seconds that a final record is kept, and as many as a tombstone.

    Attributes:
        is_up: False after :meth:`go_away`: operations fail, and those of :meth:`finish` wait until :meth:`come_back`.
        on_change: called after ``is_up`` has changed.
        calls: names of the operations in their order.
        slow: names of operations that are done at once, but whose Deferreds fire at :meth:`catch_up`.
    """

    def __init__(self, ttl: float = 86_400) -> None:
        self.is_up = True
        self.on_change: Callable[[], object] = lambda: None
        self.opened: Deferred[None] = succeed(None)
        self.calls: list[str] = []
        self.slow: set[str] = set()
        self._done: list[tuple[Deferred[Any], Any]] = []
        self.records: dict[str, Record] = {}
        self.results: dict[str, Result] = {}
        self._ttl = ttl
        self._waiting: list[tuple[Deferred[Finished], Outcome]] = []

    def open(self) -> Deferred[None]:
        """It is there from the start, unless a test says otherwise."""
        return self.opened

    def go_away(self) -> None:
        """Be away from now on."""
        self.is_up = False
        self.on_change()

    def come_back(self) -> None:
        """Be there again: commit what waits, unless it was taken back."""
        self.is_up = True
        waiting, self._waiting = self._waiting, []
        for deferred, outcome in waiting:
            if not deferred.called:
                deferred.callback(self._finish(outcome))
        self.on_change()

    def _run(self, name: str, work: Callable[[], Any]) -> Deferred[Any]:
        self.calls.append(name)
        if not self.is_up:
            return fail(StoreUnavailable("The result store is away."))
        return self._answer(name, work())

    def _answer(self, name: str, result: Any) -> Deferred[Any]:
        if name not in self.slow:
            return succeed(result)
        answer: Deferred[Any] = Deferred()
        self._done.append((answer, result))
        return answer

    def catch_up(self) -> None:
        """Fire the Deferreds of the slow operations."""
        done, self._done = self._done, []
        for answer, result in done:
            if not answer.called:
                answer.callback(result)

    def add(self, record: Record) -> Deferred[Record | None]:
        def add() -> Record | None:
            holder = next((each for each in self.records.values() if record.key and each.key == record.key), None)
            if holder is not None and holder.id != record.id:
                if (holder.key_expires or 0) > record.created:
                    return holder
                self.records[holder.id] = replace(holder, key=None)
            self.records.setdefault(record.id, record)
            return None

        return self._run("add", add)

    def accept(self, id_: str) -> Deferred[None]:
        def accept() -> None:
            if id_ in self.records:
                self.records[id_] = replace(self.records[id_], accept_by=None)

        return self._run("accept", accept)

    def expire_at(self, id_: str, expires: float) -> Deferred[None]:
        def expire_at() -> None:
            record = self.records.get(id_)
            if record is not None and record.status is Status.PENDING:
                self.records[id_] = replace(record, expires=expires)

        return self._run("expire_at", expire_at)

    def take_over(self, id_: str, seen: float, accept_by: float) -> Deferred[bool]:
        def take_over() -> bool:
            record = self.records.get(id_)
            if record is None or record.status is not Status.PENDING or record.accept_by != seen:
                return False
            self.records[id_] = replace(record, accept_by=accept_by)
            return True

        return self._run("take_over", take_over)

    def discard(self, id_: str) -> Deferred[None]:
        def discard() -> None:
            if id_ in self.records and self.records[id_].status is Status.PENDING:
                del self.records[id_]

        return self._run("discard", discard)

    def finish(self, outcome: Outcome) -> Deferred[Finished]:
        self.calls.append("finish")
        if not self.is_up:
            waiting: Deferred[Finished] = Deferred()
            self._waiting.append((waiting, outcome))
            return waiting
        return self._answer("finish", self._finish(outcome))

    def _finish(self, outcome: Outcome) -> Finished:
        record = self.records.get(outcome.id, outcome.restored)
        if record is None:
            return Finished(record=None, is_new=False)
        if record.status not in outcome.replaces:
            return Finished(record=record, is_new=False)
        kept = max(self._ttl, (record.key_expires or 0) - record.created if record.key and outcome.keeps_key else 0)
        record = replace(
            record,
            status=outcome.status,
            finished=outcome.finished,
            expires=outcome.finished + kept,
            attempts=outcome.attempts,
            model_status=outcome.model_status,
            key=record.key if outcome.keeps_key else None,
            accept_by=None,
        )
        self.records[outcome.id] = record
        self.results[outcome.id] = outcome.result
        return Finished(record=record, is_new=True)

    def erase(self, id_: str, owner: str | None, now: float) -> Deferred[Record | None]:
        def erase() -> Record | None:
            record = self.records.get(id_)
            if record is None or record.owner != owner or record.status is Status.ERASED:
                return None
            if record.status is Status.PENDING:
                self.records[id_] = replace(
                    record, status=Status.CANCELED, finished=now, expires=now + self._ttl, key=None, accept_by=None
                )
            else:
                self.records[id_] = Record(
                    id=id_,
                    owner=None,
                    routing_key="",
                    rquid="",
                    created=record.created,
                    expires=now,
                    status=Status.ERASED,
                    finished=now,
                )
                self.results.pop(id_, None)
            return record

        return self._run("erase", erase)

    def get(self, id_: str) -> Deferred[Record | None]:
        return self._run("get", lambda: self.records.get(id_))

    def result(self, id_: str) -> Deferred[Result | None]:
        return self._run("result", lambda: self.results.get(id_))

    def list(
        self, owner: str, *, now: float, status: Status | None, limit: int, after: Record | None
    ) -> Deferred[list[Record]]:
        def select() -> list[Record]:
            newest = sorted(self.records.values(), key=lambda record: (record.created, record.id), reverse=True)
            own = [each for each in newest if each.owner == owner]
            if after is not None:
                own = [each for each in own if (each.created, each.id) < (after.created, after.id)]
            shown = [each for each in own if each.expires > now and status in (None, each.status)]
            return shown[:limit]

        return self._run("list", select)

    def overdue(self, now: float, limit: int) -> Deferred[list[Record]]:
        def select() -> list[Record]:
            late = [r for r in self.records.values() if r.status is Status.PENDING and r.expires <= now]
            return sorted(late, key=lambda record: record.created)[:limit]

        return self._run("overdue", select)

    def purge(self, now: float, limit: int) -> Deferred[int]:
        def purge() -> int:
            final = [record for record in self.records.values() if record.status.is_final]
            bodies = [each.id for each in final if each.expires <= now and each.id in self.results][:limit]
            rows = [each.id for each in final if each.expires + self._ttl <= now][:limit]
            for each in bodies:
                del self.results[each]
            for each in rows:
                del self.records[each]
            return len(bodies) + len(rows)

        return self._run("purge", purge)

    def figures(self) -> Deferred[Figures]:
        def figures() -> Figures:
            pending = [each.created for each in self.records.values() if each.status is Status.PENDING]
            oldest = min(pending, default=None)
            return Figures(pending=len(pending), oldest_pending=oldest, bytes=0)

        return self._run("figures", figures)

    def close(self, seconds: float) -> Deferred[None]:
        return succeed(None)
