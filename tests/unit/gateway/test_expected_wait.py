"""What a gateway learns from calls and replies about the wait of the next request, and what it refuses."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import QueueTooLong
from provider_gateway.gateway.expected_wait import ExpectedWaits
from provider_gateway.observability.metrics import Metrics
from tests.support.observability import counted

KEY, TIMEOUT = "predict.now", 10


class ExpectedWaitTestCase(SynchronousTestCase):
    """The figures of a gateway whose callers wait for 10 s."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.waits = ExpectedWaits(TIMEOUT, self.clock, self.metrics)
        #: When the calls that wait began.
        self.calls: list[float] = []

    def begin(self, count: int = 1, key: str = KEY) -> None:
        """Begin calls, refused or not."""
        self.calls += [self.waits.of(key).begin() for _ in range(count)]

    def answer(self, waited: Any = None, *, latency: float = 0) -> None:
        """Answer the oldest call; by default it has waited for all the time but the latency."""
        began = self.calls.pop(0)
        if waited is None:
            waited = int(1000 * (self.clock.seconds() - began - latency))
        self.waits.of(KEY).answer(began, waited)

    def expire(self) -> None:
        """Let the oldest call wait until its deadline."""
        began = self.calls.pop(0)
        self.clock.advance(max(0, began + TIMEOUT - self.clock.seconds()))
        self.waits.of(KEY).expire(began)

    def refusal(self, key: str = KEY) -> QueueTooLong | None:
        """The error for a new request; None if it is taken."""
        try:
            self.waits.check(key)
        except QueueTooLong as error:
            return error
        return None

    def request(self) -> QueueTooLong | None:
        """A new request, which begins a call if it is taken."""
        error = self.refusal()
        if error is None:
            self.begin()
        return error

    def fill(self, waiting: int = 20) -> None:
        """A queue from which one message a second is taken, with calls of which the newest has waited for 5 s."""
        self.begin()
        for _ in range(5):
            self.clock.advance(1)
            self.begin()
        for _ in range(5):
            self.answer()
            self.clock.advance(1)
            self.begin()
        self.begin(waiting - len(self.calls))


class NewestWaitTests(ExpectedWaitTestCase):
    """What the page shows of the wait in a queue."""

    def newest(self, key: str = KEY) -> float | None:
        return self.waits.newest_wait(lambda each: each == key)

    def test_unknown(self) -> None:
        """Before the first reply, without a wait in it, and for other keys, nothing is known. No figures are made."""
        self.assertIsNone(self.newest())
        self.begin()
        self.assertIsNone(self.newest())
        self.answer("no number")
        self.assertIsNone(self.newest())
        self.assertIsNone(self.newest("other"))

    def test_newest(self) -> None:
        """The wait is that of the message of the newest reply; after a minute, nothing is known."""
        self.begin()
        self.clock.advance(3)
        self.answer(2500)
        self.assertEqual(2.5, self.newest())
        self.begin()
        self.clock.advance(1)
        self.answer(200)
        self.assertAlmostEqual(0.2, self.newest() or 0)
        self.clock.advance(61)
        self.assertIsNone(self.newest())


class QueueTests(ExpectedWaitTestCase):
    """A queue whose length is known from replies."""

    def test_long(self) -> None:
        """A request is refused if calls and rate tell a wait over the margin, with the time until it is taken."""
        self.fill(20)
        error = self.refusal()
        assert error is not None
        self.assertEqual((error.status, error.problem), (503, "queue-too-long"))
        # 21 calls at one a second, of which the caller's 10 s less the margin are enough.
        self.assertIn("in about 21 s", error.detail)
        self.assertIn("10 s (REPLY_TIMEOUT)", error.detail)
        self.assertEqual(error.retry_after, 13)
        self.assertEqual(counted(self.metrics.refused_early, "wait"), 1)

    def test_short(self) -> None:
        """A request is taken as long as its reply is to be expected in time."""
        self.fill(6)
        self.assertIsNone(self.refusal())
        self.begin(1)
        self.assertIsNone(self.refusal())
        self.begin(1)
        self.assertIsNotNone(self.refusal())

    def test_shrinks(self) -> None:
        """Requests are taken again when calls are answered, or when their callers leave."""
        self.fill(9)
        self.assertIsNotNone(self.refusal())
        self.clock.advance(1)
        self.answer()
        self.clock.advance(1)
        self.answer()
        self.assertIsNone(self.refusal())
        self.begin(3)
        self.assertIsNotNone(self.refusal())
        for _ in range(4):
            self.waits.of(KEY).end()
        self.assertIsNone(self.refusal())

    def test_first(self) -> None:
        """A request is taken if no other one waits, whatever the last replies told: else nothing would be learnt."""
        for _ in range(5):
            self.begin()
            self.clock.advance(9.5)
            self.answer()
            self.assertIsNone(self.refusal())

    def test_share_of_others_grows(self) -> None:
        """A newest wait that is nearly too long is enough, even if the calls that wait tell a shorter one."""
        for second in range(30):
            self.begin()
            if second >= 9:
                self.answer()
            self.clock.advance(1)
        for _ in range(3):
            self.waits.of(KEY).end()
        error = self.refusal()
        assert error is not None
        self.assertIn("in about 9 s", error.detail)
        for _ in range(2):
            self.waits.of(KEY).end()
        self.assertIsNone(self.refusal())

    def test_no_wait(self) -> None:
        """Without waits in the queue nothing is refused, however many calls run and however slowly replies come."""
        for _ in range(50):
            self.begin(4)
            self.clock.advance(9)
            for _ in range(4):
                self.answer(0)
        self.begin(1000)
        self.assertIsNone(self.refusal())

    def test_queue_is_gone(self) -> None:
        """A reply to a newer message that did not wait ends all refusing. One to an older message does not."""
        self.fill(20)
        began = self.waits.of(KEY).begin()
        self.waits.of(KEY).answer(0, 0)
        self.assertIsNotNone(self.refusal())
        self.waits.of(KEY).answer(began, 0)
        self.assertIsNone(self.refusal())

    def test_other_share(self) -> None:
        """Many requests at once are taken if the queue is full of others' messages, and does not grow."""
        for second in range(60):  # one call a second; each waits for 3 s behind messages of initiators
            self.begin()
            if second >= 3:
                self.answer()
            self.clock.advance(1)
        self.begin(40)
        self.assertIsNone(self.refusal())

    def test_late_replies(self) -> None:
        """Replies that come after their callers have left tell as much as others."""
        waits = self.waits.of(KEY)
        self.begin(1)
        for second in range(10):
            waits.begin()
            if second >= 5:
                waits.end()
                waits.answer(second - 5, 5000, is_late=True)
            self.clock.advance(1)
        self.assertIsNone(self.refusal())
        self.begin(20)
        self.assertIsNotNone(self.refusal())

    def test_keys(self) -> None:
        """Each routing key has figures of its own."""
        self.fill(20)
        self.assertIsNotNone(self.refusal())
        self.assertIsNone(self.refusal("predict.later"))

    def test_bounded(self) -> None:
        """Figures of 1,000 routing keys are kept. Those that tell nothing go first, then the oldest."""
        self.fill(20)
        for number in range(5000):
            each = self.waits.of(f"other.{number}")
            each.begin()
            each.end()
        self.assertIsNotNone(self.refusal())
        for number in range(1000):
            self.begin(1, f"busy.{number}")
        self.assertIsNone(self.refusal())

    def test_retry_after_is_bounded(self) -> None:
        """``Retry-After`` is at least 1 s and at most 60 s."""
        self.fill(8)
        error = self.refusal()
        assert error is not None
        self.assertEqual(error.retry_after, 1)
        self.begin(1000)
        error = self.refusal()
        assert error is not None
        self.assertEqual(error.retry_after, 60)


class WaitedTests(ExpectedWaitTestCase):
    """``pg-waited``, as anybody who replies may write it."""

    def test_without(self) -> None:
        """Replies without it, as of another program or of a later attempt, are no evidence. They count for the rate."""
        waits = self.waits.of(KEY)
        for _ in range(50):
            began = waits.begin()
            self.clock.advance(5)
            waits.answer(began, None)
        self.begin(1000)
        self.assertIsNone(self.refusal())
        self.setUp()
        self.fill(20)
        for _ in range(12):
            self.clock.advance(0.1)
            self.waits.of(KEY).answer(self.calls.pop(0), None)
        self.assertIsNone(self.refusal())

    def test_nonsense(self) -> None:
        """What is no whole number, negative or longer than the call took is no evidence, and does no harm."""
        waits = self.waits.of(KEY)
        for value in (True, 1.5, "5000", b"5000", [5000], {"a": 1}, -1, -(2**63), 2**63 - 1, 6002, 10**30):
            began = waits.begin()
            self.clock.advance(5)
            waits.answer(began, value)
            self.begin(1000)
            self.assertIsNone(self.refusal(), value)
            for _ in range(1000):
                waits.end()

    def test_clocks_differ(self) -> None:
        """A wait that is longer than the call by up to a second counts as the whole call: the clocks differ."""
        self.fill(19)
        self.clock.advance(0.1)
        began = self.calls[0]
        self.answer(int(1000 * (self.clock.seconds() - began)) + 999)
        self.assertIsNotNone(self.refusal())


class StalledTests(ExpectedWaitTestCase):
    """No replies come."""

    def test_stalled(self) -> None:
        """After two calls in a row without a reply, one request a second is taken. The first reply ends that."""
        self.begin(3)
        self.expire()
        self.assertIsNone(self.refusal())
        self.assertIsNone(self.refusal())
        self.expire()
        for _ in range(3):
            self.assertIsNone(self.request())  # the one of this second
            for seconds in (0.5, 0.4):
                self.assertIsNotNone(self.refusal())
                self.clock.advance(seconds)
            error = self.refusal()
            assert error is not None
            self.assertEqual((error.status, error.problem), (503, "queue-too-long"))
            self.assertIn("No request with this routing key was answered for 1", error.detail)
            self.clock.advance(0.1)
        self.assertEqual(counted(self.metrics.refused_early, "stalled"), 9)
        self.answer(0)
        for _ in range(10):
            self.assertIsNone(self.refusal())

    def test_replies_of_others(self) -> None:
        """Calls that end at their deadline while replies to others come are no stall: the model took long for them."""
        for _ in range(10):
            self.begin(2)
            self.clock.advance(5)
            self.waits.of(KEY).answer(self.calls.pop(), 0)
            self.expire()
            self.assertIsNone(self.refusal())
            self.assertIsNone(self.refusal())

    def test_late_reply(self) -> None:
        """A reply that comes after its deadline ends a stall, too."""
        self.begin(2)
        self.expire()
        self.expire()
        self.assertEqual([self.request() is None for _ in range(3)], [True, False, False])
        self.waits.of(KEY).answer(0, 9000, is_late=True)
        self.assertEqual([self.refusal() is None for _ in range(3)], [True, True, True])

    def test_figures_begin_anew(self) -> None:
        """The rate from before a stall is forgotten."""
        self.fill(20)
        for _ in range(20):
            self.expire()
        self.begin(30)
        self.clock.advance(1)
        self.answer(0)
        self.assertIsNone(self.refusal())

    def test_silence_grows(self) -> None:
        """``Retry-After`` grows with the silence, up to 60 s."""
        self.begin(2)
        self.expire()
        self.expire()
        for seconds, expected in ((0, 10), (20, 30), (1000, 60)):
            self.clock.advance(seconds)
            self.assertIsNone(self.request())
            error = self.refusal()
            assert error is not None
            self.assertEqual(error.retry_after, expected)

    def test_refused_otherwise(self) -> None:
        """A request that is then refused for another reason, such as its body, takes nobody's place."""
        self.begin(2)
        self.expire()
        self.expire()
        for _ in range(100):
            self.assertIsNone(self.refusal())
        self.assertIsNone(self.request())
        self.assertIsNotNone(self.request())

    def test_idle(self) -> None:
        """A stall is forgotten if nobody has called for twice the caller's time: nothing says that it goes on."""
        self.begin(2)
        self.expire()
        self.expire()
        self.clock.advance(2 * TIMEOUT + 1)
        for _ in range(100):
            self.assertIsNone(self.request())
        self.assertEqual(counted(self.metrics.refused_early, "stalled"), 0)

    def test_callers_leave(self) -> None:
        """A stall goes on while callers leave before their deadline, for however long."""
        self.begin(2)
        self.expire()
        self.expire()
        for _ in range(5 * TIMEOUT):
            self.assertIsNone(self.request())
            self.assertIsNotNone(self.request())
            self.clock.advance(1)
            if len(self.calls) > 1:
                self.calls.pop(0)
                self.waits.of(KEY).end()
        self.expire()
        self.assertIsNone(self.request())
        self.assertIsNotNone(self.request())
        self.answer(0)
        self.assertIsNone(self.request())
        self.assertIsNone(self.request())

    def test_idle_between(self) -> None:
        """Two calls that get no reply are no stall either, if nobody has called for long between them."""
        self.begin()
        self.expire()
        self.clock.advance(3600)
        self.begin()
        self.expire()
        for _ in range(10):
            self.assertIsNone(self.request())
