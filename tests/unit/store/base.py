"""Groups of operations on a database whose transactions the test ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import StoreUnavailable
from provider_gateway.observability.metrics import Metrics
from provider_gateway.store.engine import Verdict
from provider_gateway.store.group_commit import GroupCommit
from provider_gateway.store.operations import Accept, Finish
from tests.support.stores import outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.store.operations import Operation


class DatabaseError(Exception):
    """An error of the database, with what it means."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.value)
        self.verdict = verdict


AWAY, DATA, REPEAT = (DatabaseError(verdict) for verdict in (Verdict.AWAY, Verdict.DATA, Verdict.REPEAT))


class GroupCommitTestCase(SynchronousTestCase):
    """Groups, with a database whose transactions the test ends.

    Attributes:
        transactions: the operations of each transaction so far, by name.
        changes: what was told of the store: "up", or an error.
        interrupts: when a transaction was interrupted.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.transactions: list[list[str]] = []
        self.changes: list[object] = []
        self.interrupts: list[float] = []
        self.running: Deferred[Sequence[Any]] | None = None
        self.operations: Sequence[Operation] = ()
        self.group = GroupCommit(
            self.clock,
            run=self.run_transaction,
            interrupt=lambda: self.interrupts.append(self.clock.seconds()),
            judge=lambda error: error.verdict,  # type: ignore[attr-defined] # all errors here are ours
            changed=self.changed,
            metrics=Metrics(),
        )

    def begin(self) -> None:
        """Let the store be there."""
        self.group.probe()
        self.clock.advance(0)
        self.commit()
        self.transactions.clear()

    def changed(self, error: Exception | None) -> None:
        self.changes.append(error or "up")

    def run_transaction(self, operations: Sequence[Operation]) -> Deferred[Sequence[Any]]:
        self.assertIsNone(self.running, "one transaction at a time")
        self.transactions.append([str(each.id) for each in operations])
        self.operations, self.running = operations, Deferred()
        return self.running

    def commit(self) -> None:
        """End the transaction that runs: each operation gets its id as its answer."""
        running, self.running = self.running, None
        assert running is not None
        running.callback([each.id for each in self.operations])

    def fail_with(self, error: DatabaseError) -> None:
        """End the transaction that runs, with an error."""
        running, self.running = self.running, None
        assert running is not None
        running.errback(error)

    def submit(self, *names: str, turn: bool = True) -> list[Deferred[Any]]:
        """Submit operations: in capitals one that must succeed, else one that may fail."""
        made = [self.group.submit(Finish(outcome(name)) if name.isupper() else Accept(name)) for name in names]
        if turn:
            self.clock.advance(0)
        return made

    def assert_unavailable(self, *done: Deferred[Any], detail: str) -> None:
        for each in done:
            self.assertIn(detail, self.failureResultOf(each, StoreUnavailable).value.detail)

    def assert_nothing_left(self) -> None:
        """Check that no timer runs and no transaction is asked for."""
        self.clock.advance(100)
        self.assertEqual((self.clock.getDelayedCalls(), self.running), ([], None))
