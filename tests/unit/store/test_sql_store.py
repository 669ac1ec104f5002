"""A store on a database: what it shows before it is open, and its end while the database is stuck."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, TimeoutError as DeferredTimeoutError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from provider_gateway.errors import StoreUnavailable
from provider_gateway.observability.metrics import Metrics
from provider_gateway.store.sql_store import SQLStore
from provider_gateway.store.sqlite import SQLite
from tests.support.stores import opened, record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provider_gateway.store.transaction import Transaction


class MetricsTests(SynchronousTestCase):
    """Metrics of a store."""

    def test_from_zero(self) -> None:
        """The counter of stored results begins at 0 for each status that a result can have."""
        metrics = Metrics()
        SQLStore(Clock(), SQLite(Path("/r.db")), ttl=1, wall_clock=lambda: 0, metrics=metrics)
        (family,) = metrics.results_stored.collect()
        found = {each.labels["status"]: each.value for each in family.samples if each.name.endswith("_total")}
        self.assertEqual(found, dict.fromkeys(("succeeded", "failed", "parked", "expired"), 0))


class FrozenDatabase(SQLite):
    """A database that answers nothing from :attr:`is_frozen` on, until the connection is interrupted.

    Attributes:
        stuck: fires when a thread waits for an answer.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.is_frozen = False
        self.stuck: Deferred[None] = Deferred()
        self._interrupted = Event()

    @contextmanager
    def writing(self, connection: Any) -> Iterator[Transaction]:
        self._answer()
        with super().writing(connection) as transaction:
            yield transaction

    def _answer(self) -> None:
        if self.is_frozen:
            reactor.callFromThread(self.stuck.callback, None)
            # No test waits for so long: only whoever joins the thread would.
            if not self._interrupted.wait(20):
                msg = "nobody has interrupted the thread"
                raise AssertionError(msg)
            msg = "interrupted"
            raise sqlite3.OperationalError(msg)

    def interrupt(self, connection: Any) -> None:
        self._interrupted.set()
        super().interrupt(connection)

    @property
    def is_interrupted(self) -> bool:
        return self._interrupted.is_set()


class CloseTests(TestCase):
    """The end."""

    timeout = 30

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()

    async def test_frozen(self) -> None:
        """Whoever waits no longer for the end leaves no thread behind that the process would wait for when it ends."""
        engine = FrozenDatabase(self.path)
        engine.check(changes=True)
        store = await opened(engine, self)
        engine.is_frozen = True
        added = store.add(record("a"))
        await engine.stuck
        with self.assertRaises(DeferredTimeoutError):
            await store.close(9).addTimeout(0.1, reactor)
        self.assertTrue(engine.is_interrupted)
        with self.assertRaises(StoreUnavailable):
            await added
