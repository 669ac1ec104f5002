"""How much one purge deletes: it holds requests up for a short time only, and yet keeps up with them."""

from __future__ import annotations

from unittest.mock import Mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.store.operations import Operation, Probe, Purge, execute
from provider_gateway.store.transaction import Transaction


class _Rows(Transaction):
    """Rows that are due, all of one kind, each of which takes some time to delete."""

    def __init__(self, due: int, seconds: float, clock: Clock) -> None:
        super().__init__(Mock())
        self.portions = 0
        self._due = due
        self._seconds = seconds
        self._clock = clock

    def database_bytes(self) -> int:
        """Not asked for."""
        return 0

    def purge(self, now: float, ttl: float, limit: int) -> int:
        """Delete some of them."""
        self.portions += 1
        deleted = min(limit, self._due)
        self._due -= deleted
        self._clock.advance(deleted * self._seconds)
        return deleted


class PurgeTests(SynchronousTestCase):
    """:func:`.execute` with a purge."""

    def setUp(self) -> None:
        self.clock = Clock()

    def purge(self, due: int, seconds: float, *, limit: int = 2000, beside: int = 0) -> int:
        """Purge in a transaction with other operations; returns how many rows were deleted."""
        purge: list[Operation] = [Purge(0.0, 60.0, limit, self.clock.seconds)]
        self.rows = _Rows(due, seconds, self.clock)
        return int(execute(self.rows, [*purge, *[Probe()] * beside], 60.0)[0])

    def test_time(self) -> None:
        """A purge ends soon: the requests of the next transaction wait for it."""
        self.assertEqual(self.purge(10_000, 0.0001), 25)
        self.assertEqual(self.purge(10_000, 0.00002), 100)

    def test_slow(self) -> None:
        """On a slow disk one portion is deleted, however long that takes: else it would never be."""
        self.assertEqual(self.purge(10_000, 1.0), 25)

    def test_keeps_up(self) -> None:
        """Beside many requests more rows are deleted than these add, though it takes longer."""
        self.assertGreaterEqual(self.purge(10_000, 0.001, beside=200), 800)

    def test_limit(self) -> None:
        """No more are deleted than was asked for."""
        self.assertEqual(self.purge(10_000, 0.0, limit=310), 310)

    def test_none_left(self) -> None:
        """It ends when no more rows are due."""
        self.assertEqual([self.purge(due, 0.0) for due in (0, 24, 25, 60)], [0, 24, 25, 60])
        self.assertEqual(self.rows.portions, 3)
