"""Shielded Deferreds, timers, waiters, and coroutines that nobody awaits."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.deferreds import InFlight, Running, Waiters, shield, sleep

if TYPE_CHECKING:
    from collections.abc import Coroutine


class ShieldTests(SynchronousTestCase):
    """``shield``."""

    def test_result(self) -> None:
        """The source's result is the shield's, whether the source fires before or after the call."""
        source: Deferred[int] = Deferred()
        shielded = shield(source)
        self.assertNoResult(shielded)
        source.callback(5)
        self.assertEqual(5, self.successResultOf(shielded))
        done: Deferred[int] = Deferred()
        done.callback(6)
        self.assertEqual(6, self.successResultOf(shield(done)))

    def test_failure(self) -> None:
        """A failure of the source goes to the shield, and nowhere else."""
        source: Deferred[int] = Deferred()
        shielded = shield(source)
        source.errback(ZeroDivisionError())
        self.failureResultOf(shielded, ZeroDivisionError)
        self.assertIsNone(self.successResultOf(source))

    def test_cancel_does_not_reach_the_source(self) -> None:
        """Cancelling the shield ends it at once. The source is not cancelled, and may still fire."""
        cancelled: list[object] = []
        source: Deferred[int] = Deferred(cancelled.append)
        shielded = shield(source)
        shielded.cancel()
        self.failureResultOf(shielded, CancelledError)
        self.assertEqual([], cancelled)
        self.assertFalse(source.called)

    def test_late_outcome_is_swallowed(self) -> None:
        """After a cancel, a later result or failure of the source is swallowed."""
        for fire in (lambda d: d.callback(5), lambda d: d.errback(ZeroDivisionError())):
            source: Deferred[int] = Deferred()
            shielded = shield(source)
            shielded.cancel()
            self.failureResultOf(shielded, CancelledError)
            fire(source)
            self.assertIsNone(self.successResultOf(source))
        self.assertEqual([], self.flushLoggedErrors())


class SleepTests(SynchronousTestCase):
    """``sleep``."""

    def test_time(self) -> None:
        """The Deferred fires after that time, not before."""
        clock = Clock()
        slept = sleep(clock, 2.5)
        clock.advance(2.4)
        self.assertNoResult(slept)
        clock.advance(0.1)
        self.assertIsNone(self.successResultOf(slept))

    def test_cancel(self) -> None:
        """Cancelling it leaves no timer behind."""
        clock = Clock()
        slept = sleep(clock, 2.5)
        slept.cancel()
        self.failureResultOf(slept, CancelledError)
        self.assertEqual([], clock.getDelayedCalls())


class WaitersTests(SynchronousTestCase):
    """``Waiters``."""

    def setUp(self) -> None:
        self.waiters: Waiters[int] = Waiters()

    def test_all_are_fired(self) -> None:
        """Each Deferred that waits gets the result of the next event, and not that of a later one."""
        first = [self.waiters.wait(), self.waiters.wait()]
        for each in first:
            self.assertNoResult(each)
        self.waiters.fire(1)
        later = self.waiters.wait()
        self.assertEqual([1, 1], [self.successResultOf(each) for each in first])
        self.assertNoResult(later)
        self.waiters.fire(2)
        self.assertEqual(2, self.successResultOf(later))

    def test_nobody_waits(self) -> None:
        """An event is not kept for Deferreds that are made later."""
        self.waiters.fire(1)
        self.assertNoResult(self.waiters.wait())

    def test_cancel(self) -> None:
        """A cancelled Deferred ends with CancelledError. The others wait on, and fire."""
        cancelled, other = self.waiters.wait(), self.waiters.wait()
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.waiters.fire(1)
        self.assertEqual(1, self.successResultOf(other))

    def test_cancel_by_another(self) -> None:
        """A callback may cancel a Deferred that is about to fire. It ends with CancelledError, and the rest fire."""
        first, second, third = (self.waiters.wait() for _ in range(3))
        first.addCallback(lambda _: second.cancel())
        self.waiters.fire(1)
        self.failureResultOf(second, CancelledError)
        self.assertEqual(1, self.successResultOf(third))

    def test_wait_again(self) -> None:
        """A callback that waits again waits for the next event."""
        again: list[Deferred[int]] = []
        self.waiters.wait().addCallback(lambda _: again.append(self.waiters.wait()))
        self.waiters.fire(1)
        self.assertNoResult(again[0])
        self.waiters.fire(2)
        self.assertEqual(2, self.successResultOf(again[0]))


class RunningTests(SynchronousTestCase):
    """``Running``."""

    def setUp(self) -> None:
        self.source: Deferred[int] = Deferred()
        self.ends: list[tuple[str, object]] = []

    async def add_one(self) -> int:
        return 1 + await self.source

    def run_one(self, coroutine: Coroutine[Deferred[Any], Any, Any]) -> Running[Any, str]:
        running = Running(coroutine, lambda ended, result: self.ends.append((ended.about, result)), "it")
        running.start()
        return running

    def failure(self) -> Failure:
        ((_, failure),) = self.ends
        assert isinstance(failure, Failure)
        return failure

    def test_result(self) -> None:
        """The function at the end is told what it is about, and the result, at once or after a wait."""
        self.run_one(self.add_one())
        self.assertEqual([], self.ends)
        self.source.callback(4)
        self.assertEqual([("it", 5)], self.ends)
        self.assertIsNone(self.successResultOf(self.source))
        self.source = succeed(6)
        self.run_one(self.add_one())
        self.assertEqual(("it", 7), self.ends[-1])

    def test_failure(self) -> None:
        """A failure of what it waits for is raised in the coroutine, which may catch it; else it is the end's."""
        self.run_one(self.add_one())
        self.source.errback(ZeroDivisionError())
        self.failure().trap(ZeroDivisionError)
        self.assertIsNone(self.failure().value.__traceback__, "it would hold what the coroutine held")
        self.assertIsNone(self.successResultOf(self.source))

        async def catch() -> str:
            with contextlib.suppress(ZeroDivisionError):
                await self.source
            return "caught"

        self.source = Deferred()
        self.run_one(catch())
        self.source.errback(ZeroDivisionError())
        self.assertEqual(("it", "caught"), self.ends[-1])

    def test_cancel(self) -> None:
        """A cancel reaches what the coroutine waits for now. The coroutine may take its time to end."""
        last: Deferred[str] = Deferred()

        async def tidy_up() -> str:
            try:
                await self.source
            except CancelledError:
                return await last
            return ""

        running = self.run_one(tidy_up())
        running.cancel()
        self.assertTrue(self.source.called)
        self.assertEqual([], self.ends)
        last.callback("tidy")
        running.cancel()
        self.assertEqual([("it", "tidy")], self.ends)

    def test_chained(self) -> None:
        """A Deferred that waits for another one is waited for, too."""
        other: Deferred[int] = Deferred()
        self.source.addCallback(lambda _: other)
        self.source.callback(0)
        self.run_one(self.add_one())
        self.assertEqual([], self.ends)
        other.callback(8)
        self.assertEqual([("it", 9)], self.ends)


class InFlightTests(SynchronousTestCase):
    """``InFlight``."""

    def setUp(self) -> None:
        self.errors: list[Failure] = []
        self.in_flight = InFlight(self.errors.append)
        self.finished: list[object] = []

    async def wait_for(self, source: Deferred[object]) -> None:
        self.finished.append(await source)

    def start(self) -> Deferred[object]:
        """Start a coroutine, and return what it waits for."""
        source: Deferred[object] = Deferred()
        self.in_flight.start(self.wait_for(source))
        return source

    def test_runs_to_the_end(self) -> None:
        """A coroutine runs without being awaited, and is counted while it runs."""
        first, second = self.start(), self.start()
        self.assertEqual(2, len(self.in_flight))
        first.callback("a")
        self.assertEqual((["a"], 1), (self.finished, len(self.in_flight)))
        second.callback("b")
        self.assertEqual((["a", "b"], 0), (self.finished, len(self.in_flight)))
        self.assertEqual([], self.errors)

    def test_runs_at_once(self) -> None:
        """A coroutine that does not wait has ended when start() returns."""
        done: Deferred[object] = Deferred()
        done.callback("a")
        self.in_flight.start(self.wait_for(done))
        self.assertEqual((["a"], 0), (self.finished, len(self.in_flight)))

    def test_error_is_told(self) -> None:
        """``on_error`` is called once with a coroutine's error, and the coroutine is no longer counted."""
        self.start().errback(ZeroDivisionError())
        (failure,) = self.errors
        self.assertIsNotNone(failure.check(ZeroDivisionError))
        self.assertEqual(0, len(self.in_flight))

    def test_empty_now(self) -> None:
        """With nothing running, empty() fires at once."""
        self.assertIsNone(self.successResultOf(self.in_flight.empty()))

    def test_empty_later(self) -> None:
        """With coroutines running, each Deferred of empty() fires when the last one ends."""
        first, second = self.start(), self.start()
        waiting = [self.in_flight.empty(), self.in_flight.empty()]
        first.callback(None)
        for each in waiting:
            self.assertNoResult(each)
        second.errback(ZeroDivisionError())
        for each in waiting:
            self.assertIsNone(self.successResultOf(each))
        third = self.start()
        again = self.in_flight.empty()
        self.assertNoResult(again)
        third.callback(None)
        self.assertIsNone(self.successResultOf(again))

    def test_cancel(self) -> None:
        """cancel() ends all coroutines, and is no error."""
        cancelled: list[object] = []
        for _ in range(3):
            self.in_flight.start(self.wait_for(Deferred(cancelled.append)))
        empty = self.in_flight.empty()
        self.in_flight.cancel()
        self.assertEqual((3, 0), (len(cancelled), len(self.in_flight)))
        self.assertIsNone(self.successResultOf(empty))
        self.assertEqual(([], []), (self.errors, self.finished))

    def test_error_while_being_cancelled(self) -> None:
        """``on_error`` is called with an error that a coroutine raises while it is cancelled."""

        async def breaks() -> None:
            try:
                await Deferred()
            finally:
                raise ZeroDivisionError

        self.in_flight.start(breaks())
        self.in_flight.cancel()
        self.assertEqual([ZeroDivisionError], [failure.type for failure in self.errors])
