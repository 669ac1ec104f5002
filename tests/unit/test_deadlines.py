"""Time limits that share one timer."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, TimeoutError as DeferredTimeoutError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.deadlines import Deadlines, TimeLimit


class DeadlinesTests(SynchronousTestCase):
    """Three seconds each."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[str] = []
        self.deadlines: Deadlines[str] = Deadlines(self.clock, 3.0, self.told.append)

    def test_order(self) -> None:
        """Each thing expires once, when its own time is over."""
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
        """A stopped thing does not expire; the next one does, in its own time."""
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
        """A second start begins the time limit anew."""
        self.deadlines.start("a")
        self.clock.advance(2)
        self.deadlines.start("a")
        self.clock.advance(2)
        self.assertEqual(self.told, [])
        self.clock.advance(1)
        self.assertEqual(self.told, ["a"])

    def test_one_timer(self) -> None:
        """There is one timer for any number of things, and none without any."""
        for each in "abcdef":
            self.deadlines.start(each)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for each in "abcdef":
            self.assertTrue(self.deadlines.stop(each))
            self.assertFalse(self.deadlines.stop(each))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.deadlines.start("a")
        self.clock.advance(3)
        self.assertEqual(self.told, ["a"])
        self.assertFalse(self.deadlines.stop("a"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_by_the_one_that_is_told(self) -> None:
        """A thing that is stopped in the callback of another does not expire, and may be started again."""
        deadlines: Deadlines[str] = Deadlines(
            self.clock, 3.0, lambda told: self.told.append(told) or deadlines.stop("b")
        )
        for each in "abc":
            deadlines.start(each)
        self.clock.advance(3)
        self.assertEqual((self.told, self.clock.getDelayedCalls()), (["a", "c"], []))
        deadlines.start("b")
        self.clock.advance(3)
        self.assertEqual((self.told, self.clock.getDelayedCalls()), (["a", "c", "b"], []))

    def test_started_by_the_one_that_is_told(self) -> None:
        """A thing that is started in the callback of another has its full time."""

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
        """After ``close`` nothing expires, and no timer is left."""
        self.deadlines.start("a")
        self.deadlines.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(5)
        self.assertEqual(self.told, [])


class SharedTimerTests(SynchronousTestCase):
    """Several kinds of time limits by one clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[str] = []
        self.long: Deadlines[str] = Deadlines(self.clock, 5.0, self.told.append)
        self.short: Deadlines[str] = Deadlines(self.clock, 2.0, self.told.append)

    def test_each_in_its_time(self) -> None:
        """There is one timer for all, and each thing expires when its own time is over."""
        self.long.start("long")
        self.clock.advance(1)
        self.short.start("short")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1.9)
        self.assertEqual(self.told, [])
        self.clock.advance(0.1)
        self.assertEqual(self.told, ["short"])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1.9)
        self.assertEqual(self.told, ["short"])
        self.clock.advance(0.1)
        self.assertEqual(self.told, ["short", "long"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_set_anew(self) -> None:
        """While anything has a time limit, further things set no timer, and none is left after the last one."""
        self.long.start("long")
        for each in "abc":
            self.short.start(each)
            (timer,) = self.clock.getDelayedCalls()
            self.short.stop(each)
            self.assertEqual(self.clock.getDelayedCalls(), [timer])
        self.clock.advance(4.9)
        self.assertEqual(self.told, [])
        self.long.stop("long")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_by_another(self) -> None:
        """A thing that is stopped in the callback of another kind does not expire, though its time is over, too."""
        ends: Deadlines[str] = Deadlines(self.clock, 2.0, lambda told: self.told.append(told) or self.short.close())
        ends.start("first")
        self.short.start("second")
        self.long.start("long")
        # Which of the two is told first is not promised; one of them is enough to see.
        self.clock.advance(2)
        self.assertIn(self.told, (["first"], ["second", "first"]))
        self.clock.advance(3)
        self.assertEqual(self.told[-1], "long")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_started_by_another(self) -> None:
        """A thing that is started in a callback has its full time, on the same timer."""
        starts: Deadlines[str] = Deadlines(
            self.clock, 1.0, lambda told: self.told.append(told) or self.short.start("b")
        )
        starts.start("a")
        self.clock.advance(1)
        self.assertEqual(self.told, ["a"])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1.9)
        self.assertEqual(self.told, ["a"])
        self.clock.advance(0.1)
        self.assertEqual(self.told, ["a", "b"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_error(self) -> None:
        """An error in a callback is logged, and ends no other time limit, of its kind or another."""

        def expired(thing: str) -> None:
            self.told.append(thing)
            if thing == "broken":
                raise ValueError(thing)

        breaks: Deadlines[str] = Deadlines(self.clock, 2.0, expired)
        for each in ("broken", "other"):
            breaks.start(each)
        self.long.start("long")
        self.clock.advance(2)
        self.clock.advance(0)
        self.assertEqual(self.told, ["broken", "other"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.clock.advance(3)
        self.assertEqual(self.told, ["broken", "other", "long"])

    def test_other_clock(self) -> None:
        """Another clock has a timer of its own."""
        other = Clock()
        self.short.start("a")
        elsewhere: Deadlines[str] = Deadlines(other, 1.0, self.told.append)
        elsewhere.start("b")
        self.assertEqual((len(self.clock.getDelayedCalls()), len(other.getDelayedCalls())), (1, 1))
        other.advance(1)
        self.assertEqual(self.told, ["b"])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)


class TimeLimitTests(SynchronousTestCase):
    """Three seconds for each Deferred."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.limit = TimeLimit(self.clock, 3.0)
        self.source: Deferred[int] = Deferred()
        self.waiting = Deferred.fromCoroutine(self.limit.on(self.source))

    def assert_idle(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_in_time(self) -> None:
        """Results and errors pass through."""
        other: Deferred[int] = Deferred()
        failing = Deferred.fromCoroutine(self.limit.on(other))
        self.clock.advance(2.9)
        self.source.callback(7)
        other.errback(ValueError("no"))
        self.assertEqual(self.successResultOf(self.waiting), 7)
        self.failureResultOf(failing, ValueError)
        self.assert_idle()

    def test_too_late(self) -> None:
        """After the limit the Deferred is cancelled and fails with a timeout; a later result is dropped."""
        self.clock.advance(3)
        self.failureResultOf(self.waiting, DeferredTimeoutError)
        self.source.callback(7)
        self.assert_idle()

    def test_cancelled(self) -> None:
        """A cancellation by others is no timeout."""
        self.waiting.cancel()
        self.failureResultOf(self.waiting, CancelledError)
        self.assert_idle()
