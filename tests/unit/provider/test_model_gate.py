"""The gate for model calls: its states, and when a call may begin."""

from __future__ import annotations

from operator import methodcaller
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.provider.model_gate import ModelGate, State

if TYPE_CHECKING:
    from collections.abc import Callable


class GateTestCase(SynchronousTestCase):
    """A gate without jitter."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wanted: list[int] = []
        self.pauses: list[str] = []
        self.questions: list[Deferred[bool]] = []
        self.gate = self.make()

    def make(self, prefetch: int = 8, *, least: int = 1, has_url: bool = False, max_pause: float = 60.0) -> ModelGate:
        """A gate."""
        gate = ModelGate(
            prefetch=prefetch,
            min_concurrency=least,
            max_pause=max_pause,
            is_adaptive=False,
            clock=self.clock,
            jitter=lambda delay: delay,
            is_ready=self.ask if has_url else None,
        )
        gate.on_change = lambda: self.wanted.append(gate.wanted)
        gate.on_pause = self.pauses.append
        self.gate = gate
        return gate

    def ask(self) -> Deferred[bool]:
        """The ready URL is asked."""
        self.questions.append(Deferred())
        return self.questions[-1]

    def begin(self, calls: int = 1) -> None:
        """Calls that may begin at once."""
        for _ in range(calls):
            self.assertIsNone(self.gate.enter())

    def wait(self, *, refusals: int = 0) -> Deferred[bool]:
        """A message that waits."""
        turn = self.gate.enter(refusals=refusals)
        assert turn is not None
        self.assertNoResult(turn)
        return turn

    def fall_away(self) -> None:
        """Five calls cannot be made, one after the other."""
        for delay in (1, 2, 4, 8, 0):
            self.begin()
            self.gate.unreachable()
            self.clock.advance(delay)
        self.assertIs(State.AWAY, self.gate.state)


class ReadyTests(GateTestCase):
    """All is well."""

    def test_ready(self) -> None:
        """Calls begin at once, up to the prefetch, and no timer runs."""
        self.begin(8)
        self.gate.succeeded(0.0)
        self.gate.failed()
        self.gate.unused()
        self.begin(3)
        self.assertEqual((State.READY, 8, 8), (self.gate.state, self.gate.concurrency, self.gate.wanted))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_more_than_the_prefetch(self) -> None:
        """More messages than the prefetch wait in line for a call to end, however it ends."""
        self.begin(8)
        waiting = [self.wait() for _ in range(4)]
        ends: list[Callable[[], None]] = [lambda: self.gate.succeeded(0.0), self.gate.failed, self.gate.unused]
        for end, turn in zip(ends, waiting, strict=False):
            end()
            self.assertIs(True, self.successResultOf(turn))
        waiting[3].cancel()
        self.failureResultOf(waiting[3])
        self.gate.succeeded(0.0)
        self.begin()


class BusyTests(GateTestCase):
    """The model has refused a call."""

    def test_retry_after(self) -> None:
        """No call begins for as long as the model asked for; then one, and with its success all others."""
        self.begin(1)
        self.gate.busy(5.0)
        self.assertIs(State.BUSY, self.gate.state)
        waiting = [self.wait() for _ in range(3)]
        self.clock.advance(4.9)
        self.assertEqual([False] * 3, [each.called for each in waiting])
        self.clock.advance(0.1)
        self.assertEqual([True, False, False], [each.called for each in waiting])
        self.gate.succeeded(0.0)
        self.assertIs(State.READY, self.gate.state)
        self.assertTrue(waiting[1].called)

    def test_pauses_are_told(self) -> None:
        """Each pause is told once, however many calls were refused meanwhile; the next one is told again."""
        self.begin(3)
        for _ in range(3):
            self.gate.busy(5.0)
        self.assertEqual(["busy"], self.pauses)
        self.clock.advance(5)
        self.begin()
        self.gate.busy(None)
        self.assertEqual(["busy", "busy"], self.pauses)

    def test_no_time_to_wait(self) -> None:
        """``Retry-After: 0`` is as without it: a model that always says so is not asked again and again at once."""
        for delay in (1, 2, 4):
            self.begin()
            self.gate.busy(0.0)
            waiting = self.wait()
            self.clock.advance(delay - 0.1)
            self.assertNoResult(waiting)
            self.clock.advance(0.1)
            self.assertIs(True, self.successResultOf(waiting))
            self.gate.unused()
        self.begin()
        self.gate.busy(0.3)
        self.clock.advance(0.3)
        self.begin()

    def test_longest_pause(self) -> None:
        """A longer time than the longest pause is cut."""
        self.make(max_pause=10)
        self.begin(1)
        self.gate.busy(3600.0)
        waiting = self.wait()
        self.clock.advance(10)
        self.assertIs(True, self.successResultOf(waiting))

    def test_back_off(self) -> None:
        """Without Retry-After, pauses grow up to 15 s, and begin anew after a success."""
        for seconds in (1, 2, 4, 8, 15, 15):
            self.assert_pause(seconds)
        self.begin()
        self.gate.succeeded(0.0)
        self.assert_pause(1)

    def assert_pause(self, seconds: float) -> None:
        """A call is refused, and the next one begins after a number of seconds."""
        self.begin()
        self.gate.busy(None)
        waiting = self.wait()
        self.clock.advance(seconds - 0.1)
        self.assertNoResult(waiting)
        self.clock.advance(0.1)
        self.assertIs(True, self.successResultOf(waiting))
        self.gate.unused()

    def test_burst(self) -> None:
        """Refusals of calls that began before a pause count as one; the longest time that was asked for is kept."""
        self.begin(4)
        for wait in (None, None, 3.0, 2.0):
            self.gate.busy(wait)
        waiting = self.wait()
        self.clock.advance(2.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.1)
        self.successResultOf(waiting)
        self.gate.busy(None)
        waiting = self.wait()
        self.clock.advance(2)
        self.successResultOf(waiting)

    def test_success_beside(self) -> None:
        """A success of a call that was running ends a pause, unless the model asked for it."""
        self.begin(3)
        self.gate.busy(None)
        waiting = self.wait()
        self.gate.succeeded(0.0)
        self.assertIs(True, self.successResultOf(waiting))
        self.assertIs(State.READY, self.gate.state)
        self.gate.busy(2.0)
        waiting = self.wait()
        self.gate.succeeded(0.0)
        self.assertNoResult(waiting)
        self.assertIs(State.BUSY, self.gate.state)
        self.clock.advance(2)
        self.assertIs(True, self.successResultOf(waiting))
        self.assertIs(State.READY, self.gate.state)

    def test_first(self) -> None:
        """A message that was refused goes before messages that wait for the first time."""
        self.begin(1)
        self.gate.busy(1.0)
        new, refused, late = self.wait(), self.wait(refusals=1), self.wait(refusals=1)
        self.clock.advance(1)
        self.assertEqual([False, True, False], [each.called for each in (new, refused, late)])
        self.gate.failed()
        self.assertIs(State.READY, self.gate.state)
        self.assertTrue(late.called)

    def test_patience(self) -> None:
        """Who waits for longer than the longest pause and 15 s is given back."""
        self.make(1, max_pause=10)
        self.begin(1)
        waiting = self.wait()
        self.clock.advance(24.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.1)
        self.assertIs(False, self.successResultOf(waiting))

    def test_stop(self) -> None:
        """All who wait are given back, and all who come later; no timer is left."""
        self.begin(2)
        self.gate.busy(5.0)
        waiting = [self.wait(), self.wait(refusals=1)]
        self.gate.stop()
        late = self.gate.enter()
        assert late is not None
        self.assertEqual([False] * 3, [self.successResultOf(each) for each in [*waiting, late]])
        self.gate.busy(5.0)
        self.gate.unreachable()
        self.assertEqual([], self.clock.getDelayedCalls())


class AwayTests(GateTestCase):
    """No connection to the model can be made."""

    def test_unreachable(self) -> None:
        """Pauses grow; after the fifth call in a row nothing is wanted, and all who wait are given back but one."""
        for delay in (1, 2, 4, 8):
            self.begin()
            self.gate.unreachable()
            self.assertIs(State.BUSY, self.gate.state)
            waiting = self.wait()
            self.clock.advance(delay - 0.1)
            self.assertNoResult(waiting)
            self.clock.advance(0.1)
            self.successResultOf(waiting)
            self.gate.unused()
        self.begin()
        waiting = [self.wait(), self.wait()]
        self.gate.unreachable()
        self.assertEqual((State.AWAY, 0), (self.gate.state, self.gate.wanted))
        self.assertEqual([False, True], [each.called for each in waiting])
        self.assertIs(False, self.successResultOf(waiting[1]))

    def test_pauses_are_told(self) -> None:
        """Each pause over a failed connection is told; once away, the model is told no more until it was back."""
        self.fall_away()
        self.assertEqual(["away"] * 5, self.pauses)
        self.clock.advance(1)
        self.begin()
        self.gate.unreachable()
        self.assertEqual(["away"] * 5, self.pauses)
        self.clock.advance(2)
        self.begin()
        self.gate.busy(1.0)
        self.assertEqual([*["away"] * 5, "busy"], self.pauses)

    def test_an_answer_between(self) -> None:
        """Any answer begins the count of five anew."""
        for end in (methodcaller("succeeded", 0.0), methodcaller("failed"), methodcaller("busy", 1.0)):
            self.make(100)
            self.begin(9)
            for _ in range(4):
                self.gate.unreachable()
            end(self.gate)
            for _ in range(4):
                self.gate.unreachable()
            self.assertIs(State.BUSY, self.gate.state)

    def test_probe(self) -> None:
        """One message is called for after 1, 2, 4, 8, 15, 15 s, and goes at once; the back-off goes on."""
        self.fall_away()
        for delay in (1, 2, 4, 8, 15, 15):
            self.clock.advance(delay - 0.1)
            self.assertEqual((State.AWAY, 0), (self.gate.state, self.gate.wanted))
            self.clock.advance(0.1)
            self.assertEqual((State.PROBING, 1), (self.gate.state, self.gate.wanted))
            self.assertTrue(self.gate.needs_probe)
            self.begin()
            self.assertEqual((False, 0), (self.gate.needs_probe, self.gate.wanted))
            kept, other = self.wait(), self.wait()
            self.gate.unreachable()
            self.assertNoResult(kept)
            self.assertIs(False, self.successResultOf(other))
            kept.cancel()
            self.failureResultOf(kept)
        self.clock.advance(15)
        self.begin()
        self.gate.succeeded(0.0)
        self.assertEqual((State.READY, 1), (self.gate.state, self.gate.concurrency - 1))

    def test_kept_probe(self) -> None:
        """A message that comes while the model is away is kept as the probe; those after it are given back."""
        self.fall_away()
        kept = self.wait(refusals=1)
        other = self.gate.enter()
        assert other is not None
        self.assertIs(False, self.successResultOf(other))
        self.clock.advance(1)
        self.assertIs(True, self.successResultOf(kept))
        self.gate.failed()
        self.assertIs(State.READY, self.gate.state)

    def test_unused_probe(self) -> None:
        """If the probe was no call after all, the next message is the probe."""
        self.fall_away()
        self.clock.advance(1)
        self.begin()
        self.gate.unused()
        self.assertEqual((State.PROBING, 1), (self.gate.state, self.gate.wanted))
        self.assertTrue(self.gate.needs_probe)
        self.begin()

    def test_probe_is_refused(self) -> None:
        """A model that is back and busy is busy."""
        self.fall_away()
        self.clock.advance(1)
        self.begin()
        self.gate.busy(3.0)
        self.assertIs(State.BUSY, self.gate.state)
        waiting = self.wait()
        self.clock.advance(3)
        self.successResultOf(waiting)

    def test_ramp(self) -> None:
        """Concurrency grows from the least, by one with each success."""
        self.make(least=2)
        self.fall_away()
        self.clock.advance(1)
        self.begin()
        self.gate.failed()
        self.assertEqual(2, self.gate.concurrency)
        for limit in range(3, 9):
            self.begin()
            self.gate.succeeded(0.0)
            self.assertEqual(limit, self.gate.concurrency)


class ReadyURLTests(GateTestCase):
    """A model with a ready URL."""

    def setUp(self) -> None:
        super().setUp()
        self.make(has_url=True)

    def test_not_ready(self) -> None:
        """It is asked at the first sign of trouble; if it is not ready, all who wait are given back."""
        ends = (methodcaller("busy", 1.0), methodcaller("unreachable"), methodcaller("failed"))
        for asked, end in enumerate(ends, 1):
            self.make(has_url=True)
            self.begin(3)
            end(self.gate)
            self.gate.failed()
            self.assertEqual(asked, len(self.questions), "one question at a time")
            self.questions[-1].callback(False)
            self.assertEqual((State.AWAY, 0), (self.gate.state, self.gate.wanted))
            late = self.gate.enter()
            assert late is not None
            self.assertIs(False, self.successResultOf(late))

    def test_pauses_are_told(self) -> None:
        """A ready URL that says no is told once."""
        self.begin()
        self.gate.busy(None)
        self.questions[0].callback(False)
        self.clock.advance(1)
        self.questions[1].callback(False)
        self.assertEqual(["busy", "away"], self.pauses)

    def test_one_question_a_second(self) -> None:
        """A model that fails is asked once a second."""
        self.begin(4)
        for advance, questions in ((0, 1), (0.9, 1), (0.1, 2)):
            self.clock.advance(advance)
            self.gate.failed()
            self.assertEqual(questions, len(self.questions))
            if not self.questions[-1].called:
                self.questions[-1].callback(True)
        self.assertIs(State.READY, self.gate.state)

    def test_back(self) -> None:
        """It is asked after 1, 2, 4 ... s, until it is ready; no message is wanted before."""
        self.begin()
        self.gate.failed()
        self.questions[-1].callback(False)
        for delay in (1, 2, 4, 8, 15):
            self.clock.advance(delay - 0.1)
            self.assertTrue(self.questions[-1].called)
            self.clock.advance(0.1)
            self.assertEqual((State.PROBING, 0), (self.gate.state, self.gate.wanted))
            self.questions[-1].errback(ValueError())
        self.clock.advance(15)
        self.questions[-1].callback(True)
        self.assertEqual((State.READY, 1), (self.gate.state, self.gate.concurrency))

    def test_ready_and_unreachable(self) -> None:
        """A model that says that it is ready, and is not: it is away again, and the back-off goes on."""
        self.begin()
        self.gate.unreachable()
        self.questions[-1].callback(False)
        self.clock.advance(1)
        self.questions[-1].callback(True)
        for delay in (2, 4, 8, 15, 0):
            self.begin()
            self.gate.unreachable()
            if not self.questions[-1].called:
                self.questions[-1].callback(True)
            self.clock.advance(delay)
        self.assertIs(State.AWAY, self.gate.state)
        self.clock.advance(1.9)
        self.assertIs(State.AWAY, self.gate.state)
        self.clock.advance(0.1)
        self.assertIs(State.PROBING, self.gate.state)

    def test_stop(self) -> None:
        """An answer that comes after the end changes nothing."""
        self.begin()
        self.gate.failed()
        self.gate.stop()
        self.assertEqual((State.READY, []), (self.gate.state, self.clock.getDelayedCalls()))


class WantedTests(GateTestCase):
    """Deliveries to have in hand."""

    def test_wanted(self) -> None:
        """They follow concurrency in powers of two, up to the prefetch, and not at every step back."""
        self.make(100)
        self.begin(100)
        for _ in range(96):
            self.gate.busy(None)
        self.assertEqual((4, 16), (self.gate.concurrency, self.gate.wanted))
        self.gate.busy(None)
        self.assertEqual((3, 8), (self.gate.concurrency, self.gate.wanted))
