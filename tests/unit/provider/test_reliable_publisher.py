"""A message is published until it is confirmed: at once, in its turn, and after a delay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError

from provider_gateway.errors import (
    BodyTooLarge,
    BrokerUnavailable,
    GatewayError,
    HeadersTooLarge,
    Nacked,
    NoRoute,
    OutcomeUnknown,
    PublishRefused,
)
from provider_gateway.message.copies import Copy
from provider_gateway.message.message import Message
from provider_gateway.provider.task import DeliveryLost
from tests.unit.provider.base import SettlementTestCase

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from twisted.internet.defer import Deferred

    from provider_gateway.provider.task import Task


def refused(*, is_certain: bool = False) -> PublishRefused:
    """The error of a publish whose channel the broker closed."""
    return PublishRefused("no", is_certain=is_certain)


class ReliablePublisherTestCase(SettlementTestCase):
    """Replies and copies with the bodies ``a``, ``b`` and so on, each for a message of its own."""

    def start_reply(self, name: str, task: Task | None = None) -> Deferred[None]:
        task = task or self.new_task(message_id=name)
        return self.started(self.reliable.publish_reply(task, Message(name.encode()), "back"))

    def start_copy(self, name: str, task: Task | None = None) -> Deferred[None]:
        task = task or self.new_task(message_id=name, body=name.encode())
        copy = Copy.of(task.message, "work", task.history, "timeout")
        return self.started(self.reliable.publish_copy(task, copy, "", "work.retry"))

    def started(self, coroutine: Coroutine[Any, Any, None]) -> Deferred[None]:
        """Run a coroutine, and cancel it after the test: as garbage, it would give its turn to closed coroutines."""
        running = self.run_to(coroutine)

        def end() -> None:
            running.addErrback(lambda _: None)
            running.cancel()

        self.addCleanup(end)
        return running

    def bodies(self) -> str:
        """The bodies of what was published, in order."""
        return "".join(message.body.decode() for message, *_ in self.publisher.published)

    def all_ready(self) -> None:
        """Let the publisher be ready again."""
        waiting, self.publisher.waiting = self.publisher.waiting, []
        for each in waiting:
            each.callback(None)

    def fail_next(self, error: GatewayError, number: int = -1) -> None:
        """Let a publish fail, and then the publisher be ready again."""
        self.publisher.fail(error, number)
        self.all_ready()


class TurnTests(ReliablePublisherTestCase):
    """Messages that were unconfirmed when the broker closed the channel are published again one at a time."""

    def setUp(self) -> None:
        super().setUp()
        self.a, self.b = self.start_reply("a"), self.start_copy("b")
        for number in (0, 1):
            self.publisher.fail(refused(), number)
        self.all_ready()

    def test_one_after_the_other(self) -> None:
        """The second message is published when the first is confirmed."""
        self.assertEqual(self.bodies(), "aba")
        self.publisher.confirm()
        self.successResultOf(self.a)
        self.all_ready()
        self.assertEqual(self.bodies(), "abab")
        self.publisher.confirm()
        self.successResultOf(self.b)

    def test_others(self) -> None:
        """A new message does not wait for a turn."""
        c = self.start_reply("c")
        self.assertEqual(self.bodies(), "abac")
        self.publisher.confirm()
        self.successResultOf(c)

    def test_broker_away(self) -> None:
        """A message keeps its turn while the broker is away or a confirm is missing. Neither counts as a refusal."""
        for error in 12 * [BrokerUnavailable("away"), OutcomeUnknown("lost")]:
            self.fail_next(error)
        self.clock.advance(60)
        self.all_ready()
        self.assertEqual(self.bodies(), "ab" + 26 * "a")
        self.assertNoResult(self.a)

    def test_own_refusals(self) -> None:
        """A reply that was certainly refused three times is given up, and the next message has its turn."""
        for count in (1, 2):
            self.fail_next(refused(is_certain=True))
            self.assertEqual(self.bodies(), "ab" + (1 + count) * "a")
        self.fail_next(refused(is_certain=True))
        self.failureResultOf(self.a, PublishRefused)
        self.assertEqual(self.bodies(), "abaaab")

    def test_refusals_in_turn(self) -> None:
        """A reply that may have been refused ten times in its turn is given up; the first time does not count."""
        for count in range(1, 10):
            self.fail_next(refused())
            self.assertEqual(self.bodies(), "ab" + (1 + count) * "a")
        self.fail_next(refused())
        self.failureResultOf(self.a, PublishRefused)
        self.assertEqual(self.bodies(), "ab" + 10 * "a" + "b")

    def test_copy_refused(self) -> None:
        """A copy that is refused too often ends its turn. After the delay it is published, whoever has the turn."""
        self.publisher.confirm()
        self.all_ready()
        for _ in range(10):
            self.fail_next(refused())
        c = self.start_reply("c")
        self.fail_next(refused())
        self.assertEqual(self.bodies(), "aba" + 10 * "b" + "cc")
        self.clock.advance(1)
        self.assertEqual(self.bodies(), "aba" + 10 * "b" + "ccb")
        for number in (-1, -2):
            self.publisher.confirm(number)
        self.successResultOf(self.b)
        self.successResultOf(c)

    def test_refusals_are_counted_anew(self) -> None:
        """After the delay, refusals are counted from 0."""
        self.publisher.confirm()
        self.all_ready()
        for number in range(3):
            self.fail_next(refused(is_certain=True))
            self.assertEqual(self.reliable.waiting_for(), ["work.retry"] if number == 2 else [])
        self.clock.advance(1)
        for _ in range(2):
            self.fail_next(refused(is_certain=True))
        self.assertEqual(self.bodies(), "aba" + 6 * "b")

    def test_nacked_in_turn(self) -> None:
        """A message that is nacked in its turn ends the turn, and is published again after the delay."""
        self.fail_next(Nacked("full"))
        self.assertEqual(self.bodies(), "abab")
        self.clock.advance(1)
        self.assertEqual(self.bodies(), "ababa")

    def test_cancelled(self) -> None:
        """When a message is cancelled in its turn, or while it waits for it, the next one gets its turn."""
        c = self.start_reply("c")
        self.publisher.fail(refused())
        self.b.cancel()
        self.failureResultOf(self.b, CancelledError)
        self.a.cancel()
        self.failureResultOf(self.a, CancelledError)
        self.all_ready()
        self.assertEqual(self.bodies(), "abacc")
        self.publisher.confirm()
        self.successResultOf(c)


class LossTests(ReliablePublisherTestCase):
    """The connection ends over a message each time, and nobody says why."""

    def lose(self, *, is_alone: bool = True) -> None:
        self.fail_next(OutcomeUnknown("lost", is_alone=is_alone))

    def test_turn(self) -> None:
        """A message that was lost three times has its turn. If it is lost alone there, it waits, longer each time."""
        self.start_copy("a")
        for count in range(1, 4):
            self.assertEqual(self.bodies(), count * "a")
            self.assertFalse(self.reliable.turn.locked)
            self.lose(is_alone=False)
        for delay in (1, 2, 4, 8, *12 * [15]):
            self.assertTrue(self.reliable.turn.locked)
            before = self.bodies()
            self.lose()
            self.assertFalse(self.reliable.turn.locked)
            self.assertEqual(self.reliable.waiting_for(), ["work.retry"])
            self.clock.advance(delay - 0.1)
            self.assertEqual(self.bodies(), before)
            self.clock.advance(0.1)
            self.all_ready()
            self.assertEqual(self.bodies(), before + "a")

    def test_with_others(self) -> None:
        """A message that is lost in its turn together with others may not be to blame: it is published again."""
        a = self.start_reply("a")
        for _ in range(30):
            self.lose(is_alone=False)
        self.assertEqual(self.bodies(), 31 * "a")
        self.publisher.confirm()
        self.successResultOf(a)

    def test_given_up(self) -> None:
        """A reply that was lost ten times in its turn, alone each time, is given up."""
        for first in (OutcomeUnknown("lost"), refused()):
            a = self.start_reply("a")
            for _ in range(3):
                self.fail_next(first)
            for _ in range(12 if isinstance(first, PublishRefused) else 9):
                self.lose()
                self.assertNoResult(a)
                self.clock.advance(15)
                self.all_ready()
            self.lose()
            self.assertIn("each time", self.failureResultOf(a, PublishRefused).value.detail)
            self.assertFalse(self.reliable.turn.locked)


class NotTakenTests(ReliablePublisherTestCase):
    """Messages that the broker will not take the next time either."""

    def test_unreadable(self) -> None:
        """A message that the broker cannot read is given up after one refusal, if it was certainly the cause."""
        a = self.start_reply("a")
        self.fail_next(PublishRefused("no", is_final=True))
        self.assertNoResult(a)
        self.fail_next(PublishRefused("no", is_certain=True, is_final=True))
        self.failureResultOf(a, PublishRefused)
        b = self.start_reply("b")
        self.publisher.fail(PublishRefused("no", is_certain=True, is_final=True))
        self.failureResultOf(b, PublishRefused)
        self.assertEqual(self.bodies(), "aab")

    def test_too_large(self) -> None:
        """A reply that is too large is given up at once. A copy is kept, and published again after 1, 2, 4 s."""
        for error in (BodyTooLarge("large"), HeadersTooLarge("large")):
            reply = self.start_reply("a")
            self.publisher.fail(error)
            self.failureResultOf(reply, type(error))
        copy = self.start_copy("b")
        for delay in (1, 2, 4):
            self.publisher.fail(BodyTooLarge("large"))
            self.assertEqual(self.reliable.waiting_for(), ["work.retry"])
            self.clock.advance(delay)
        self.assertEqual(self.bodies(), "aabbbb")
        self.publisher.confirm()
        self.successResultOf(copy)
        self.assertEqual(self.reliable.waiting_for(), [])


class DeliveryTests(ReliablePublisherTestCase):
    """The delivery is lost before its turn."""

    def test_lost(self) -> None:
        """A message without an id is given up in its turn, and the next gets its turn. One with an id is published."""
        tasks = [self.new_task(message_id=name) for name in (None, "b")]
        a, b = (self.start_reply(name, task) for name, task in zip("ab", tasks, strict=True))
        for number in (0, 1):
            self.publisher.fail(refused(), number)
        for task in tasks:
            task.delivery.is_lost = True
        self.all_ready()
        self.failureResultOf(a, DeliveryLost)
        self.all_ready()
        self.assertEqual(self.bodies(), "abb")
        self.publisher.confirm()
        self.successResultOf(b)


class WaitingForTests(ReliablePublisherTestCase):
    """``waiting_for``."""

    def test_names(self) -> None:
        """A queue is listed once, however many copies wait for it, until the last of them is confirmed."""
        both = [self.start_copy(name) for name in "ab"]
        for number in (0, 1):
            self.publisher.fail(NoRoute("gone"), number)
            self.assertEqual(self.reliable.waiting_for(), ["work.retry"])
        self.clock.advance(1)
        self.publisher.confirm(2)
        self.assertEqual(self.reliable.waiting_for(), ["work.retry"])
        self.publisher.confirm(3)
        self.assertEqual(self.reliable.waiting_for(), [])
        for each in both:
            self.successResultOf(each)
