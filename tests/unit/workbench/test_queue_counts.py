"""The counts of queues, by the broker's word."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from provider_gateway.workbench.queue_counts import QueueCounts
from tests.support.embedded_broker import BrokerTestCase


class QueueCountsTests(BrokerTestCase):
    """A broker with a queue of two messages and a consumer, and one without either."""

    def setUp(self) -> None:
        super().setUp()
        for name in ("a", "b"):
            self.make_queue(name)
        self.put("", "a")
        self.put("", "a")
        self.counts = QueueCounts(self.clock)

    def test_without_a_session(self) -> None:
        """Before the first connection nothing is known."""
        self.assertEqual({}, self.run_(self.counts.ask(["a"])))

    def test_counts(self) -> None:
        """Messages and consumers of queues; one that is not there is left out, and those behind it are not."""
        self.counts.open(self.connect())
        consumer = self.other().basic_consume("b")
        self.pump()
        self.successResultOf(consumer)
        for _ in range(3):
            self.assertEqual({"a": (2, 0), "b": (0, 1)}, self.run_(self.counts.ask(["gone", "a", "gone too", "b"])))

    def test_no_channel_is_left(self) -> None:
        """A question leaves no channel open."""
        session = self.connect()
        self.counts.open(session)
        for _ in range(5):
            self.run_(self.counts.ask(["a", "gone"]))
            self.run_(self.counts.ask(["gone", "a"]))
        (ours,) = [link.server for link in self.links if link.client is session]
        self.assertEqual({}, ours._channels)

    def test_connection_lost(self) -> None:
        """Without a connection nothing is known; with the next one it is."""
        session = self.connect()
        self.counts.open(session)
        self.lose(session)
        self.assertEqual({}, self.run_(self.counts.ask(["a"])))
        self.counts.open(self.connect())
        self.assertEqual({"a": (2, 0)}, self.run_(self.counts.ask(["a"])))

    def test_silent_broker(self) -> None:
        """A broker that does not answer is waited for for 5 s."""
        self.counts.open(self.connect())
        asked = Deferred.fromCoroutine(self.counts.ask(["a"]))
        self.clock.advance(4)
        self.assertNoResult(asked)
        self.clock.advance(1)
        self.assertEqual({}, self.successResultOf(asked))
