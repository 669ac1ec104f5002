"""Whether a message has expired: by its caller, by its deadline, and while the wall clock is set."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.message.message import PG_DEADLINE, PG_PUBLISHED, Message
from provider_gateway.provider.expiry import Expiry

NOW, REPLY_TIMEOUT, HOUR = 1_800_000_000.0, 90, 3600


class ExpiryTests(SynchronousTestCase):
    """A wall clock that starts at ``NOW`` and can be set, and callers that this process knows or not."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.ahead = NOW
        self.callers: dict[str, bool] = {}
        self.expiry = Expiry(
            self.callers.get, reply_timeout=REPLY_TIMEOUT, wall_clock=self.wall_clock, clock=self.clock
        )

    def wall_clock(self) -> float:
        return self.clock.seconds() + self.ahead

    def published(self, correlation_id: str | None = None) -> Message:
        """A message that a gateway publishes now."""
        deadline = int(1000 * (self.wall_clock() + REPLY_TIMEOUT))
        return Message(b"", {PG_DEADLINE: deadline}, correlation_id=correlation_id)

    def has_passed(self, message: Message) -> bool:
        return self.expiry.has_passed(message)

    def test_deadline(self) -> None:
        """A message of a caller elsewhere expires at its deadline, and never without one."""
        message = self.published("c1")
        self.clock.advance(REPLY_TIMEOUT - 0.01)
        self.assertFalse(self.has_passed(message))
        self.clock.advance(0.02)
        self.assertTrue(self.has_passed(message))
        self.assertFalse(self.has_passed(Message(b"", {})))

    def test_callers_of_this_process(self) -> None:
        """A caller that waits in this process, or has given up, decides whatever deadline and wall clock say."""
        message = self.published("c1")
        for seconds in (0, HOUR, -2 * HOUR):
            self.ahead += seconds
            self.callers["c1"] = True
            self.assertFalse(self.has_passed(message), seconds)
            self.callers["c1"] = False
            self.assertTrue(self.has_passed(message), seconds)

    def test_set_forward(self) -> None:
        """Messages published before the wall clock was set forward live as long as their callers may wait."""
        for step in (2, 60, HOUR, 24 * HOUR):
            self.setUp()
            early = self.published()
            self.clock.advance(80)
            late = self.published()
            self.ahead += step
            self.assertEqual([False, False], [self.has_passed(each) for each in (early, late)], step)
            self.clock.advance(11)
            self.assertEqual([True, False], [self.has_passed(each) for each in (early, late)], step)

    def test_after_the_step(self) -> None:
        """Once no caller from before the step can wait any more, deadlines count by the new time."""
        before = self.published()
        self.ahead += HOUR
        self.assertFalse(self.has_passed(before))
        self.clock.advance(REPLY_TIMEOUT)
        after = self.published()
        self.assertEqual([True, False], [self.has_passed(each) for each in (before, after)])
        self.clock.advance(REPLY_TIMEOUT)
        self.assertTrue(self.has_passed(after))

    def test_several_steps(self) -> None:
        """Steps that follow one another, forward and back, drop no message whose caller waits."""
        messages = []
        for step in (HOUR, HOUR, -3 * HOUR, HOUR, 30, -10, HOUR):
            messages.append(self.published())
            self.assertFalse(self.has_passed(messages[-1]))
            self.ahead += step
            self.clock.advance(10)
            self.assertEqual([False] * len(messages), [self.has_passed(each) for each in messages], step)

    def test_set_back(self) -> None:
        """After a step back, older messages live longer: they are served in vain, and none is lost."""
        message = self.published()
        self.ahead -= HOUR
        self.clock.advance(REPLY_TIMEOUT)
        self.assertFalse(self.has_passed(message))
        new = self.published()
        self.clock.advance(REPLY_TIMEOUT)
        self.assertTrue(self.has_passed(new))

    def test_slewed(self) -> None:
        """A clock that is slewed by milliseconds is followed at once."""
        message = self.published()
        self.clock.advance(REPLY_TIMEOUT - 0.5)
        self.ahead += 0.4
        self.assertFalse(self.has_passed(message))
        self.ahead += 0.2
        self.assertTrue(self.has_passed(message))

    def test_waited(self) -> None:
        """The wait is whole milliseconds since the publish; 0 if the clocks differ by up to a second more."""
        message = Message(b"", {PG_PUBLISHED: int(1000 * NOW)})
        self.clock.advance(1.5)
        self.assertEqual(self.expiry.waited(message), 1500)
        for ahead, expected in ((-1.5, 0), (-2.4, 0), (-2.6, None), (-HOUR, None)):
            self.ahead = NOW + ahead
            self.assertEqual(self.expiry.waited(message), expected, ahead)

    def test_waited_nonsense(self) -> None:
        """A time of publishing that is no whole number, in the future or years ago tells nothing."""
        soon, past = int(1000 * NOW) + HOUR * 1000, int(1000 * NOW) - 2**31
        for value in (None, True, "1", b"1", 1.5, [1], {}, soon, 2**53, 2**63 - 1, -(2**63), -1, 0, past):
            self.assertIsNone(self.expiry.waited(Message(b"", {PG_PUBLISHED: value})), value)
        self.assertIsNone(self.expiry.waited(Message(b"")))
