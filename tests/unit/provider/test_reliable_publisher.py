"""Publishing until the broker has taken a message: together, in turn, and after a delay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError

from provider_gateway.errors import BrokerUnavailable, GatewayError, Nacked, NoRoute, OutcomeUnknown, PublishRefused
from provider_gateway.message.copies import Copy
from provider_gateway.message.message import Message
from provider_gateway.provider.task import DeliveryLost
from tests.unit.provider.base import SettlementTestCase

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from twisted.internet.defer import Deferred

    from provider_gateway.provider.task import Task


def refused(*, is_certain: bool = False) -> PublishRefused:
    """What a publish fails with when the broker closes the channel."""
    return PublishRefused("no", is_certain=is_certain)


class ReliablePublisherTestCase(SettlementTestCase):
    """Replies with the body ``a``, ``b`` and so on, each to a message of its own; copies with the same bodies."""

    def start_reply(self, name: str, task: Task | None = None) -> Deferred[None]:
        task = task or self.new_task(message_id=name)
        return self.started(self.reliable.publish_reply(task, Message(name.encode()), "back"))

    def start_copy(self, name: str, task: Task | None = None) -> Deferred[None]:
        task = task or self.new_task(message_id=name, body=name.encode())
        copy = Copy.of(task.message, "work", task.history, "timeout")
        return self.started(self.reliable.publish_copy(task, copy, "", "work.retry"))

    def started(self, coroutine: Coroutine[Any, Any, None]) -> Deferred[None]:
        """Run a coroutine, at most to the end of the test: collected as garbage, it would wake the next in turn."""
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
        """The publisher is ready again."""
        waiting, self.publisher.waiting = self.publisher.waiting, []
        for each in waiting:
            each.callback(None)

    def fail_next(self, error: GatewayError, number: int = -1) -> None:
        """Let a publish fail, and the publisher be ready after it."""
        self.publisher.fail(error, number)
        self.all_ready()


class TurnTests(ReliablePublisherTestCase):
    """After the broker closed the channel, messages that were unconfirmed are published again one at a time."""

    def setUp(self) -> None:
        super().setUp()
        self.a, self.b = self.start_reply("a"), self.start_copy("b")
        for number in (0, 1):
            self.publisher.fail(refused(), number)
        self.all_ready()

    def test_one_after_the_other(self) -> None:
        """The second is published when the first is confirmed."""
        self.assertEqual(self.bodies(), "aba")
        self.publisher.confirm()
        self.successResultOf(self.a)
        self.all_ready()
        self.assertEqual(self.bodies(), "abab")
        self.publisher.confirm()
        self.successResultOf(self.b)

    def test_others(self) -> None:
        """A message that was not refused does not wait for a turn."""
        c = self.start_reply("c")
        self.assertEqual(self.bodies(), "abac")
        self.publisher.confirm()
        self.successResultOf(c)

    def test_broker_away(self) -> None:
        """A message keeps its turn while the broker is away or a confirm is missing; that is no refusal."""
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
        """A copy that is refused too often leaves its turn, and is published again after a delay, at first at once."""
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
        """After the delay a copy has as many refusals before it as in the beginning."""
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
        """A message whose queue is full waits without its turn."""
        self.fail_next(Nacked("full"))
        self.assertEqual(self.bodies(), "abab")
        self.clock.advance(1)
        self.assertEqual(self.bodies(), "ababa")

    def test_cancelled(self) -> None:
        """A message that is cancelled in its turn, or before, gives way to the next."""
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


class DeliveryTests(ReliablePublisherTestCase):
    """The delivery is lost before its turn."""

    def test_lost(self) -> None:
        """A message without an id is given up when its turn comes, and the next one has it; one with an id is not."""
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
    """What keeps the role from being ready."""

    def test_names(self) -> None:
        """A queue is named once, however many copies wait for it, and until the last of them is confirmed."""
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
