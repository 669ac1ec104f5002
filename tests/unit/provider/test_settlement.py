"""A delivery is acknowledged when its reply or copy is confirmed, not before. No delivery is given up."""

from __future__ import annotations

from twisted.internet.defer import CancelledError

from provider_gateway.errors import (
    GatewayError,
    Nacked,
    NoRoute,
    PublishRefused,
)
from provider_gateway.message.copies import History
from provider_gateway.message.message import Message
from provider_gateway.message.properties import decoded
from provider_gateway.provider.task import DeliveryLost
from tests.support.observability import counted
from tests.unit.provider.base import SettlementTestCase


class OrderTests(SettlementTestCase):
    """Publish, confirm, acknowledge."""

    def test_retry(self) -> None:
        """The copy for the next attempt counts one more. The delivery is acknowledged when the copy is confirmed."""
        self.task = self.new_task(History(2, 3))
        retrying = self.retry()
        self.assertEqual((self.targets, self.delivery.acks), ([("", "work.retry")], 0))
        headers = decoded(self.last.properties()).headers
        self.assertEqual(headers["pg-attempt"], 3)
        self.assertEqual(
            (headers["pg-redeliveries"], headers["pg-reason"], headers["pg-queue"]), (3, "timeout", "work")
        )
        self.assertEqual(counted(self.metrics.retried, "work", "timeout"), 0)
        self.publisher.confirm()
        self.successResultOf(retrying)
        self.assertEqual(self.delivery.acks, 1)
        self.assertEqual(counted(self.metrics.retried, "work", "timeout"), 1)

    def test_renew(self) -> None:
        """The copy after a redelivery counts one more redelivery, goes to the work queue, and keeps its times."""
        self.task = self.new_task(History(2, 3), headers={"pg-deadline": 1000, "pg-published": 500})
        renewing = self.run_to(self.settlement.renew(self.task))
        self.assertEqual((self.targets, self.delivery.acks), ([("work.return", "predict.now")], 0))
        headers = decoded(self.last.properties()).headers
        self.assertEqual((headers["pg-attempt"], headers["pg-redeliveries"]), (2, 4))
        self.assertEqual((headers["pg-deadline"], headers["pg-published"]), (1000, 500))
        self.publisher.confirm()
        self.successResultOf(renewing)
        self.assertEqual(self.delivery.acks, 1)
        self.assertEqual(counted(self.metrics.retried, "work", "redelivered"), 0)

    def test_park(self) -> None:
        """A parked message keeps its history, and is acknowledged and counted when its copy is confirmed."""
        self.task = self.new_task(History(5, 2))
        parking = self.park()
        self.assertEqual((self.targets, self.delivery.acks), ([("", "work.parking")], 0))
        headers = decoded(self.last.properties()).headers
        self.assertEqual((headers["pg-attempt"], headers["pg-redeliveries"]), (5, 2))
        self.assertEqual(self.last.body, b"{}")
        self.assertEqual(counted(self.metrics.parked, "work", "timeout"), 0)
        self.publisher.confirm()
        self.successResultOf(parking)
        self.assertEqual((self.delivery.acks, len(self.publisher.published)), (1, 1))
        self.assertEqual(counted(self.metrics.parked, "work", "timeout"), 1)

    def test_park_and_reply(self) -> None:
        """The reply is published after the message is parked, and before it is acknowledged."""
        parking = self.park(Message(b"error"))
        self.assertEqual(self.targets, [("", "work.parking")])
        self.publisher.confirm()
        self.assertEqual((self.targets[1:], self.last.body, self.delivery.acks), ([("", "back")], b"error", 0))
        self.publisher.confirm()
        self.successResultOf(parking)
        self.assertEqual(self.delivery.acks, 1)

    def test_park_and_nobody_takes_the_reply(self) -> None:
        """If the error reply is unrouted or refused, the message is parked once all the same, and acknowledged."""
        for error, times in ((NoRoute("gone"), 1), (PublishRefused("too large", is_certain=True), 3)):
            self.publisher.published.clear()
            self.task = self.new_task()
            parking = self.park(Message(b"error"))
            self.publisher.confirm()
            for number in range(times):
                self.publisher.fail(error)
                if number < times - 1:
                    self.ready()
            self.successResultOf(parking)
            self.assertEqual(self.targets, [("", "work.parking")] + times * [("", "back")])
            self.assertEqual(self.delivery.acks, 1)

    def test_park_without_address(self) -> None:
        """A message without a reply address is parked, and no reply is published."""
        self.task = self.new_task(reply_to=None)
        parking = self.park(Message(b"error"))
        self.publisher.confirm()
        self.successResultOf(parking)
        self.assertEqual((len(self.publisher.published), self.delivery.acks), (1, 1))

    def test_address(self) -> None:
        """The reply address is the message's; None if neither message nor entry has one."""
        self.assertEqual(self.settlement.address(self.new_task()), "back")
        self.assertIsNone(self.settlement.address(self.new_task(reply_to=None)))
        self.assertIsNone(self.settlement.address(self.new_task(reply_to="")))


class FullQueueTests(SettlementTestCase):
    """The broker does not take a copy or a reply."""

    def test_back_off(self) -> None:
        """A copy that is nacked or unrouted is published again after 1, 2, 4, 8, 15 and 15 s, with no ack before."""
        errors: list[GatewayError] = [Nacked("full"), NoRoute("gone"), Nacked("full"), Nacked("full"), NoRoute("gone")]
        parking = self.park()
        for count, (seconds, error) in enumerate(zip((1, 2, 4, 8, 15), errors, strict=True), 1):
            self.publisher.fail(error)
            self.assert_waits(seconds, count + 1)
            self.assertEqual(self.publisher.restored, count)
        self.publisher.fail(Nacked("full"))
        self.assert_waits(15, 7)
        self.assertEqual(len({copy.publish_id for copy, *_ in self.publisher.published}), 1)
        self.assertEqual(self.delivery.acks, 0)
        self.publisher.confirm()
        self.successResultOf(parking)
        self.assertEqual(self.delivery.acks, 1)

    def test_refused(self) -> None:
        """A copy over which the channel was closed three times is published again after a delay, too."""
        retrying = self.retry()
        for number in range(3):
            self.publisher.fail(PublishRefused("no", is_certain=True))
            if number < 2:
                self.ready()
        self.assertEqual(self.reliable.waiting_for(), ["work.retry"])
        self.assert_waits(1, 4)
        self.publisher.confirm()
        self.successResultOf(retrying)

    def test_not_ready(self) -> None:
        """``waiting_for`` lists the queue from the first nack of a copy to the last confirm."""
        other = self.new_task(message_id="m2")
        both = [self.park(), self.run_to(self.settlement.park(other, "timeout"))]
        self.assertEqual(self.reliable.waiting_for(), [])
        for number in (0, 1):
            self.publisher.fail(Nacked("full"), number)
            self.assertEqual(self.reliable.waiting_for(), ["work.parking"])
        self.clock.advance(1)
        self.publisher.fail(Nacked("full"), 2)
        self.clock.advance(2)
        self.publisher.confirm(4)
        self.assertEqual(self.reliable.waiting_for(), ["work.parking"])
        self.publisher.confirm(3)
        self.assertEqual(self.reliable.waiting_for(), [])
        for each in both:
            self.successResultOf(each)

    def test_names(self) -> None:
        """For a copy that goes through an exchange, ``waiting_for`` lists the exchange. Names are sorted."""
        tasks = [self.new_task(message_id=name) for name in ("m1", "m2")]
        self.run_to(self.settlement.renew(tasks[0])).addErrback(lambda _: None)
        self.run_to(self.settlement.park(tasks[1], "timeout")).addErrback(lambda _: None)
        self.publisher.fail(NoRoute("gone"), 0)
        self.publisher.fail(NoRoute("gone"), 1)
        self.assertEqual(self.reliable.waiting_for(), ["work.parking", "work.return"])

    def test_cancelled(self) -> None:
        """A cancelled wait ends at once, leaves no timer, and is no longer in ``waiting_for``."""
        parking = self.park()
        self.publisher.fail(Nacked("full"))
        parking.cancel()
        self.failureResultOf(parking, CancelledError)
        self.assertEqual((self.reliable.waiting_for(), self.clock.getDelayedCalls()), ([], []))
        self.assertEqual(self.delivery.acks, 0)

    def test_full_reply_queue(self) -> None:
        """A reply waits while its queue is full, with the same delays as a copy. It is not in ``waiting_for``."""
        replying = self.reply()
        for count, seconds in enumerate((1, 2, 4, 8, 15, 15), 1):
            self.publisher.fail(Nacked("full"))
            self.assertEqual(self.reliable.waiting_for(), [])
            self.assert_waits(seconds, count + 1)
        self.assertEqual((self.publisher.restored, self.delivery.acks), (0, 0))
        self.publisher.confirm()
        self.successResultOf(replying)
        self.assertEqual((set(self.targets), self.delivery.acks), ({("", "back")}, 1))

    def test_lost_while_waiting(self) -> None:
        """A delivery that is lost while its copy or reply waits is given up, unless the redelivery comes to us."""
        for start in (self.park, self.retry, self.reply):
            self.task = self.new_task()
            settling = start()
            self.publisher.fail(Nacked("full"))
            self.delivery.is_lost = True
            count = len(self.publisher.published)
            self.clock.advance(1)  # once more: the redelivery may be on its way to us
            self.publisher.fail(Nacked("full"))
            self.clock.advance(2)
            self.failureResultOf(settling, DeliveryLost)
            self.assertEqual(len(self.publisher.published), count + 1)
            self.assertEqual(self.reliable.waiting_for(), [])
            self.assertFalse(self.settlement.is_settled(self.task))
