"""Waits that share a timer."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.deadlines import Deadlines


class DeadlinesTests(SynchronousTestCase):
    """Three seconds each."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[str] = []
        self.deadlines: Deadlines[str] = Deadlines(self.clock, 3.0, self.told.append)

    def test_order(self) -> None:
        """Each is told once, when its own time is over."""
        self.deadlines.start("a")
        self.clock.advance(1)
        self.deadlines.start("b")
        self.clock.advance(1.9)
        self.assertEqual(self.told, [])
        self.clock.advance(0.1)
        self.assertEqual(self.told, ["a"])
        self.clock.advance(1)
        self.assertEqual(self.told, ["a", "b"])
        self.clock.advance(10)
        self.assertEqual(self.told, ["a", "b"])

    def test_stopped(self) -> None:
        """What was stopped is not told; the one behind it is, in its own time."""
        self.deadlines.start("a")
        self.clock.advance(1)
        self.deadlines.start("b")
        self.deadlines.stop("a")
        self.deadlines.stop("never started")
        self.clock.advance(2.5)
        self.assertEqual(self.told, [])
        self.clock.advance(0.5)
        self.assertEqual(self.told, ["b"])

    def test_started_again(self) -> None:
        """A new start begins the time anew."""
        self.deadlines.start("a")
        self.clock.advance(2)
        self.deadlines.start("a")
        self.clock.advance(2)
        self.assertEqual(self.told, [])
        self.clock.advance(1)
        self.assertEqual(self.told, ["a"])

    def test_one_timer(self) -> None:
        """However many wait, there is one timer; an idle one ends by itself."""
        for each in "abcdef":
            self.deadlines.start(each)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for each in "abcdef":
            self.deadlines.stop(each)
        self.clock.advance(3)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.deadlines.start("a")
        self.clock.advance(3)
        self.assertEqual(self.told, ["a"])

    def test_started_by_the_one_that_is_told(self) -> None:
        """What is started while another is told has its full time."""

        def expired(thing: str) -> None:
            self.told.append(thing)
            if thing == "a":
                deadlines.start("next")

        deadlines: Deadlines[str] = Deadlines(self.clock, 3.0, expired)
        deadlines.start("a")
        self.clock.advance(1)
        deadlines.start("b")
        self.clock.advance(2)
        self.assertEqual(self.told, ["a"])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1)
        self.assertEqual(self.told, ["a", "b"])
        self.clock.advance(1.9)
        self.assertEqual(self.told, ["a", "b"])
        self.clock.advance(0.1)
        self.assertEqual(self.told, ["a", "b", "next"])

    def test_closed(self) -> None:
        """After the end nothing is told, and no timer is left."""
        self.deadlines.start("a")
        self.deadlines.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(5)
        self.assertEqual(self.told, [])
