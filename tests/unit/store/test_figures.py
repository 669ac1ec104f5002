"""The figures of a store as metrics: counted at the start and every few seconds, and kept while the store is away."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import StoreUnavailable
from provider_gateway.observability.metrics import Metrics
from provider_gateway.store.figures import ShownFigures
from provider_gateway.store.records import Figures
from tests.support.memory_store import MemoryStore

NOW = 1_800_000_000.0
PREFIX = "provider_gateway"


class CountedStore(MemoryStore):
    """A store whose figures the test gives.

    Attributes:
        counts: a Deferred for each count that was asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[Deferred[Figures]] = []

    def figures(self) -> Deferred[Figures]:
        self.counts.append(Deferred())
        return self.counts[-1]


class ShownFiguresTests(SynchronousTestCase):
    """What the metrics of a store named "s" say."""

    def setUp(self) -> None:
        self.clock, self.store, self.metrics = Clock(), CountedStore(), Metrics()
        self.figures = ShownFigures(
            self.store, "s", clock=self.clock, wall_clock=lambda: NOW + self.clock.seconds(), metrics=self.metrics
        )

    def shown(self) -> tuple[float | None, ...]:
        """Pending records, the age of the oldest one, and bytes."""
        names = ("results_pending", "results_oldest_pending_seconds", "result_store_bytes")
        sample = self.metrics.registry.get_sample_value
        return tuple(sample(f"{PREFIX}_{name}", {"store": "s"}) for name in names)

    def answer(self, pending: int, oldest: float | None, size: int) -> None:
        self.store.counts[-1].callback(Figures(pending=pending, oldest_pending=oldest, bytes=size))

    def test_before(self) -> None:
        """Before the first count, and before the start, there is nothing, of no age; no count is asked for."""
        self.clock.advance(60)
        self.assertEqual((self.shown(), self.store.counts), ((0, 0, 0), []))

    def test_counted(self) -> None:
        """They are counted at once, and then every 15 s."""
        self.figures.start()
        self.answer(3, NOW - 10, 4096)
        self.assertEqual(self.shown(), (3, 10, 4096))
        self.clock.advance(14)
        self.assertEqual(len(self.store.counts), 1)
        self.clock.advance(1)
        self.answer(0, None, 8192)
        self.assertEqual((self.shown(), len(self.store.counts)), ((0, 0, 8192), 2))

    def test_age(self) -> None:
        """The oldest record becomes older between two counts. A date in the future is of no age: a clock was set."""
        self.figures.start()
        self.answer(1, NOW - 10, 1)
        self.clock.advance(5)
        self.assertEqual(self.shown()[1], 15)
        self.figures.count()
        self.answer(1, NOW + 100, 1)
        self.assertEqual(self.shown()[1], 0)

    def test_slow(self) -> None:
        """While a count takes long, no other one begins; the next one is in time again."""
        self.figures.start()
        self.clock.advance(100)
        self.assertEqual(len(self.store.counts), 1)
        self.answer(1, NOW, 1)
        self.clock.advance(15)
        self.assertEqual(len(self.store.counts), 2)

    def test_away(self) -> None:
        """While the store is away, the figures stay, and the counts go on."""
        self.figures.start()
        self.answer(2, NOW, 7)
        self.clock.advance(15)
        self.store.counts[-1].errback(Failure(StoreUnavailable("away")))
        self.assertEqual(self.shown(), (2, 15, 7))
        self.clock.advance(15)
        self.answer(1, NOW + 30, 9)
        self.assertEqual(self.shown(), (1, 0, 9))

    def test_stopped(self) -> None:
        """After a stop nothing is counted, and no timer is left. One before the start, or a second one, is no error."""
        self.figures.stop()
        self.figures.start()
        self.answer(1, NOW, 1)
        self.figures.stop()
        self.figures.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_in_a_count(self) -> None:
        """A count that is under way at a stop does not begin another one."""
        self.figures.start()
        self.figures.stop()
        self.answer(1, NOW, 1)
        self.clock.advance(60)
        self.assertEqual((len(self.store.counts), self.clock.getDelayedCalls()), (1, []))
