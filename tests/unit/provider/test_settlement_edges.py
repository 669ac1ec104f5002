"""Settling while the broker is away; which messages are remembered as settled; invalid reply addresses."""

from __future__ import annotations

from provider_gateway.errors import BrokerBlocked, BrokerUnavailable, NoRoute, OutcomeUnknown, PublishRefused
from provider_gateway.message.copies import Copy, History
from provider_gateway.message.message import Message
from provider_gateway.provider.task import DeliveryLost, Task
from tests.support.fakes import FakeDelivery
from tests.support.observability import counted
from tests.unit.provider.base import SettlementTestCase


class ConnectionTests(SettlementTestCase):
    """The broker is away, or sends no confirm."""

    def test_away(self) -> None:
        """A message that was not sent or not confirmed is published again as soon as the publisher is ready."""
        errors = (BrokerUnavailable("away"), BrokerBlocked("low"), OutcomeUnknown("lost"))
        for start in (self.park, self.retry, self.reply):
            self.publisher.published.clear()
            self.task = self.new_task()
            settling = start()
            for count, error in enumerate(errors, 1):
                self.publisher.fail(error)
                self.clock.advance(59)
                self.assertEqual(len(self.publisher.published), count)
                self.ready()
                self.assertEqual(len(self.publisher.published), count + 1)
            self.assertEqual(self.delivery.acks, 0)
            self.publisher.confirm()
            self.successResultOf(settling)
            self.assertEqual(self.delivery.acks, 1)
            self.assertEqual(self.publisher.restored, 0)

    def test_no_confirm(self) -> None:
        """A message without a confirm is published again after 60 s, then after 120 s. The ack waits for a confirm."""
        settling = self.retry()
        self.clock.advance(59.9)
        self.assertEqual(self.publisher.waiting, [])
        self.clock.advance(0.1)
        self.ready()
        self.assertEqual(len(self.publisher.published), 2)
        self.assertIs(self.publisher.published[0][0], self.publisher.published[1][0])
        self.assertEqual(self.delivery.acks, 0)
        self.clock.advance(119.9)
        self.assertEqual(len(self.publisher.waiting), 0, "the second time, it waits for twice as long")
        self.clock.advance(0.1)
        self.ready()
        self.publisher.confirm(2)
        self.successResultOf(settling)
        self.assertEqual((self.delivery.acks, self.clock.getDelayedCalls()), (1, []))

    def test_direct_reply_to(self) -> None:
        """A returned reply to a direct reply-to address counts as delivered: nothing is parked."""
        self.task = self.new_task(reply_to="amq.rabbitmq.reply-to.g1h2")
        settling = self.reply()
        self.publisher.fail(NoRoute("returned"))
        self.successResultOf(settling)
        self.assertEqual((len(self.publisher.published), self.delivery.acks), (1, 1))

    def test_lost_and_unknowable(self) -> None:
        """A message without an id is given up when its delivery is lost: its redelivery could not be recognised."""
        self.task = self.new_task(message_id=None)
        settling = self.reply()
        self.publisher.fail(BrokerUnavailable("away"))
        self.delivery.is_lost = True
        self.ready()
        self.failureResultOf(settling, DeliveryLost)
        self.assertEqual(len(self.publisher.published), 1)

    def test_lost_and_knowable(self) -> None:
        """A message with an id is settled although its delivery is lost, and remembered for its redelivery."""
        settling = self.reply()
        self.publisher.fail(BrokerUnavailable("away"))
        self.delivery.is_lost = True
        self.ready()
        self.publisher.confirm()
        self.successResultOf(settling)
        self.assertEqual((len(self.publisher.published), self.delivery.acks), (2, 0))
        self.assertTrue(self.settlement.is_settled(self.new_task()))

    def test_refusals_in_a_row(self) -> None:
        """Refusals of a reply are counted across lost connections; after the third one the error reply is published."""
        replying = self.reply()
        for error in (
            PublishRefused("no", is_certain=True),
            OutcomeUnknown("lost"),
            PublishRefused("no", is_certain=True),
        ):
            self.publisher.fail(error)
            self.ready()
        self.assertEqual([each[0].body for each in self.publisher.published], 4 * [b"42"])
        self.publisher.fail(PublishRefused("no", is_certain=True))
        self.assertEqual(self.last.body, b"refused")
        self.publisher.confirm()
        self.successResultOf(replying)
        self.assertEqual(self.delivery.acks, 1)


class CopyTypeTests(SettlementTestCase):
    """Which messages are published as copies."""

    def test_copies(self) -> None:
        """Messages to the retry and parking queue are copies. Replies are not."""
        self.retry()
        self.assertIsInstance(self.last, Copy)
        self.park()
        self.assertIsInstance(self.last, Copy)
        self.reply()
        self.assertNotIsInstance(self.last, Copy)


class MemoryTests(SettlementTestCase):
    """Which messages are remembered as settled."""

    def test_remembered(self) -> None:
        """A message is remembered when its reply is confirmed, even if its acknowledgement is lost."""
        self.delivery.is_lost = True
        self.assertFalse(self.settlement.is_settled(self.task))
        replying = self.reply()
        self.assertFalse(self.settlement.is_settled(self.new_task()))
        self.publisher.confirm()
        self.successResultOf(replying)
        self.assertTrue(self.settlement.is_settled(self.new_task()))

    def test_by_what(self) -> None:
        """The fingerprint has ids, reply address, body and the copy's id: an initiator may use a message id twice."""
        self.settlement.done(self.task)
        for other in (
            self.new_task(message_id="m2"),
            self.new_task(correlation_id="c2"),
            self.new_task(body=b"[]"),
            self.new_task(body=b"{} "),
            self.new_task(reply_to="elsewhere"),
            self.new_task(headers={"pg-copy": "another"}),
            self.new_task(headers={"pg-copy": ["odd"]}),
        ):
            self.assertFalse(self.settlement.is_settled(other))
        self.assertTrue(self.settlement.is_settled(self.new_task(headers={"x": "y"})))

    def test_parked(self) -> None:
        """A message whose copy is in the parking queue is settled, even while its error reply is unconfirmed."""
        parking = self.park(Message(b"error"))
        self.publisher.confirm()
        self.assertNoResult(parking)
        self.assertTrue(self.settlement.is_settled(self.new_task()))

    def test_unparked(self) -> None:
        """A parked message that is put back into the work queue counts as another message."""
        self.settlement.done(self.task)
        copy = Copy.of(self.task.message, "work", History(), "status")
        back = Message.received(copy.properties(), copy.body)
        self.assertFalse(self.settlement.is_settled(Task(FakeDelivery(back, exchange=""), History(), "r1")))

    def test_without_id(self) -> None:
        """A message without an id is never remembered."""
        self.settlement.done(self.new_task(message_id=None))
        self.assertFalse(self.settlement.is_settled(self.new_task(message_id=None)))

    def test_size(self) -> None:
        """The 1000 newest messages are remembered."""
        for number in range(1001):
            self.settlement.done(self.new_task(message_id=str(number)))
        known = [self.settlement.is_settled(self.new_task(message_id=str(number))) for number in (0, 1, 1000)]
        self.assertEqual(known, [False, True, True])

    def test_each_way_to_the_end(self) -> None:
        """Messages that were retried, renewed or parked are remembered, too."""
        for number, start in enumerate((self.retry, self.park, lambda: self.run_to(self.settlement.renew(self.task)))):
            self.task = self.new_task(message_id=f"m{number}")
            settling = start()
            self.assertFalse(self.settlement.is_settled(self.task))
            self.publisher.confirm()
            self.successResultOf(settling)
            self.assertTrue(self.settlement.is_settled(self.task))


class AddressTests(SettlementTestCase):
    """Reply addresses."""

    keys = {"replyTo": "response"}  # noqa: RUF012 - as in the base class

    def test_of_the_entry(self) -> None:
        """Without a reply address in the message, the entry's is used."""
        self.assertEqual(self.settlement.address(self.new_task(reply_to=None)), "response")
        self.assertEqual(self.settlement.address(self.new_task()), "back")

    def test_not_text(self) -> None:
        """If the reply address is not UTF-8, the message is parked, then acknowledged."""
        task = self.new_task(reply_to=b"\xff\xfe")
        replying = self.reply(task)
        self.assertEqual(self.targets, [("", "work.parking")])
        self.publisher.confirm()
        self.successResultOf(replying)
        self.assertEqual(counted(self.metrics.parked, "work", "reply"), 1)

    def test_parked_and_not_text(self) -> None:
        """A message with such an address that is to be parked is parked once, and no reply is published."""
        self.task = self.new_task(reply_to=b"\xff\xfe")
        parking = self.park(Message(b"error"))
        self.publisher.confirm()
        self.successResultOf(parking)
        self.assertEqual((self.targets, self.delivery.acks), ([("", "work.parking")], 1))

    def test_nobody_takes_the_reply(self) -> None:
        """An unrouted reply is not published again, nor is an error reply: the message is parked."""
        replying = self.reply()
        self.publisher.fail(NoRoute("gone"))
        self.assertEqual(self.targets, [("", "back"), ("", "work.parking")])
        self.publisher.confirm()
        self.successResultOf(replying)
        self.clock.advance(60)
        self.assertEqual((len(self.publisher.published), self.delivery.acks), (2, 1))
