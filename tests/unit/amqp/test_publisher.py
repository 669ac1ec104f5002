"""The outcome of each publish: confirmed, returned, nacked, refused, unknown, or not sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.amqp.publisher import Publisher
from provider_gateway.errors import BrokerBlocked, BrokerUnavailable, Nacked, NoRoute, OutcomeUnknown, PublishRefused
from provider_gateway.message.message import Message
from provider_gateway.message.properties import decoded
from tests.unit.amqp.base import PublisherTestCase

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure


class OutcomeTests(PublisherTestCase):
    """The broker's answer decides the outcome of a publish."""

    def test_what_is_sent(self) -> None:
        """A message arrives persistent, with its body, ids and headers."""
        message = Message(b"{}", {"RqUID": "r"}, correlation_id="c", reply_to="q", message_id="m")
        self.publisher.publish(message, "ML.MQ", "predict.now")
        self.pump()
        (sent,) = self.take("work")
        self.assertEqual((sent.body, sent.headers, decoded(sent.original).delivery_mode), (b"{}", {"RqUID": "r"}, 2))
        self.assertEqual((sent.message_id, sent.correlation_id, sent.reply_to), ("m", "c", "q"))

    def test_confirmed(self) -> None:
        """A publish succeeds when its confirm arrives, not before."""
        self.faults.hold_confirms()
        published = self.publish()
        self.assertEqual(self.waiting("work"), 1)
        self.assertNoResult(published)
        self.release()
        self.assertIsNone(self.successResultOf(published))
        self.assertEqual(self.outcomes(), {"confirmed": 1})

    def test_confirmed_together(self) -> None:
        """A confirm with ``multiple`` confirms every publish up to its tag, and no later one."""
        self.faults.hold_confirms()
        published = [self.publish() for _ in range(3)]
        self.faults.swallow_confirms()
        later = self.publish()
        self.release(multiple=True)
        for each in published:
            self.successResultOf(each)
        self.assertNoResult(later)
        self.assertEqual(self.outcomes(), {"confirmed": 3})

    def test_returned(self) -> None:
        """A returned message fails with NoRoute when its confirm arrives. The text names key and exchange."""
        self.faults.hold_confirms()
        published = self.publish(routing_key="nowhere")
        self.assertNoResult(published)
        self.release()
        text = str(self.failureResultOf(published, NoRoute).value)
        self.assertIn("'nowhere'", text)
        self.assertIn("'ML.MQ'", text)
        self.assertEqual(self.outcomes(), {"returned": 1})

    def test_returned_among_others(self) -> None:
        """Only the returned message fails, whatever else is in flight, and in whatever order confirms come."""
        for order in ({}, {"backwards": True}, {"multiple": True}):
            self.faults.hold_confirms()
            keys = ["nowhere" if number in {3, 7} else "predict.now" for number in range(10)]
            published = [self.publish(routing_key=key) for key in keys]
            self.release(**order)
            for key, each in zip(keys, published, strict=True):
                if key == "nowhere":
                    self.failureResultOf(each, NoRoute)
                else:
                    self.successResultOf(each)
        self.assertEqual(self.outcomes(), {"confirmed": 24, "returned": 6})

    def test_refused(self) -> None:
        """A nack, for example because a queue is full, fails with Nacked."""
        self.make_queue("full", **{"x-max-length": 0, "x-overflow": "reject-publish"})
        self.failureResultOf(self.publish(routing_key="full", exchange=""), Nacked)
        self.assertEqual(self.outcomes(), {"nacked": 1})

    def test_lost_before_the_confirm(self) -> None:
        """Unconfirmed publishes fail with OutcomeUnknown when the connection is lost. Confirmed ones do not."""
        confirmed = self.publish()
        self.faults.swallow_confirms(2)
        unconfirmed = [self.publish() for _ in range(2)]
        self.lose(self.session)
        self.successResultOf(confirmed)
        for each in unconfirmed:
            self.failureResultOf(each, OutcomeUnknown)
        self.assertEqual((self.outcomes(), self.waiting("work")), ({"confirmed": 1, "unknown": 2}, 3))

    def test_cancelled(self) -> None:
        """Cancelling a publish does not stop the message. Its confirm or return, and others', count as usual."""
        self.faults.hold_confirms()
        cancelled, returned, other = self.publish(), self.publish(routing_key="nowhere"), self.publish()
        for each in (cancelled, returned):
            each.cancel()
            self.failureResultOf(each)
        self.release(multiple=True)
        self.successResultOf(other)
        self.assertEqual((self.outcomes(), self.waiting("work")), ({"confirmed": 2, "returned": 1}, 2))
        self.assertEqual(self.flushLoggedErrors(), [])


class ReadinessTests(PublisherTestCase):
    """Publishing while the broker is away or blocks publishers."""

    def block(self) -> None:
        self.faults.block("low on disk")
        self.pump()

    def unblock(self) -> None:
        self.faults.unblock()
        self.pump()

    def test_never_opened(self) -> None:
        """Without a session nothing is sent, and the publish fails with BrokerUnavailable."""
        publisher = Publisher(self.declare, max_unsent=1000, clock=self.clock, metrics=self.metrics)
        self.assertFalse(publisher.is_ready)
        self.failureResultOf(publisher.publish(Message(b""), "", "q"), BrokerUnavailable)

    def test_after_the_loss(self) -> None:
        """After a loss nothing is sent, and the publish fails with BrokerUnavailable."""
        self.lose(self.session)
        self.assertFalse(self.publisher.is_ready)
        self.failureResultOf(self.publish(), BrokerUnavailable)
        self.assertEqual(self.outcomes(), {})

    def test_blocked(self) -> None:
        """While the broker blocks publishers nothing is sent, and the publish fails with BrokerBlocked."""
        self.block()
        self.assertFalse(self.publisher.is_ready)
        self.failureResultOf(self.publish(), BrokerBlocked)
        self.unblock()
        self.assertEqual((self.outcomes(), self.waiting("work")), ({}, 0))

    def test_blocked_with_publishes_in_flight(self) -> None:
        """Messages that were sent before the block are confirmed during it."""
        self.faults.hold_confirms()
        published = self.publish()
        self.block()
        self.assertNoResult(published)
        self.release()
        self.successResultOf(published)

    def test_when_ready_at_once(self) -> None:
        """when_ready() has fired already if a message can be sent."""
        self.successResultOf(self.publisher.when_ready())

    def test_when_ready_after_unblocking(self) -> None:
        """when_ready() fires when the broker takes messages again."""
        self.block()
        waiting = self.publisher.when_ready()
        self.assertNoResult(waiting)
        self.unblock()
        self.successResultOf(waiting)
        self.assertTrue(self.publisher.is_ready)

    def test_when_ready_after_reopening(self) -> None:
        """when_ready() fires when the publisher is open on a new session, and publishes go there."""
        self.lose(self.session)
        waiting = self.publisher.when_ready()
        self.assertNoResult(waiting)
        self.opened()
        self.successResultOf(waiting)
        self.successResultOf(self.publish())

    def test_cancelled_wait(self) -> None:
        """A cancelled when_ready() is forgotten. The others fire."""
        self.lose(self.session)
        cancelled, other = self.publisher.when_ready(), self.publisher.when_ready()
        cancelled.cancel()
        self.failureResultOf(cancelled)
        self.opened()
        self.successResultOf(other)


class ClosedChannelTests(PublisherTestCase):
    """The broker closes the channel over a message, or the connection is lost."""

    def publish_again(self) -> list[Deferred[None]]:
        """Three unconfirmed publishes, each published again within its failure; returns the errors of these."""
        again: list[Deferred[None]] = []

        def publish(_: Failure) -> None:
            again.append(self.publisher.publish(Message(b"2"), "ML.MQ", "predict.now"))

        self.faults.hold_confirms()
        for _ in range(3):
            self.publish().addErrback(publish)
        return again

    def test_publish_again_from_the_failure(self) -> None:
        """A publish within the failure of another, after a loss, fails at once, and does not reenter pika."""
        again = self.publish_again()
        self.lose(self.session)
        self.assertEqual(len(again), 3)
        for each in again:
            self.failureResultOf(each, BrokerUnavailable)

    def test_publish_again_from_the_failure_of_a_closed_channel(self) -> None:
        """The same when the broker closed the channel, not the connection."""
        again = self.publish_again()
        self.publish(exchange="none").addErrback(lambda _: None)
        self.assertEqual(len(again), 3)
        for each in again:
            self.failureResultOf(each, BrokerUnavailable)

    def test_reopened(self) -> None:
        """If the broker closes the channel, its publishes fail. A new channel is opened, after a declaration."""
        self.faults.hold_confirms()
        both = self.publish(), self.publish(exchange="none")
        for each in both:
            self.assertIn("no exchange 'none'", self.failureResultOf(each, PublishRefused).value.detail)
        self.assertEqual(self.outcomes(), {"unknown": 2})
        self.assertFalse(self.publisher.is_ready)
        ready = self.publisher.when_ready()
        self.advance(0.1)
        self.successResultOf(ready)
        self.assertEqual((self.declared, self.session.is_open), (2, True))
        self.release()
        self.successResultOf(self.publish())

    def test_again_and_again(self) -> None:
        """While a message is always refused, the delay before the next channel grows, until a message is confirmed."""
        for seconds in (0.1, 0.2, 0.4, 0.8):
            self.assert_reopened_after(seconds)
        self.successResultOf(self.publish())
        self.assert_reopened_after(0.1)

    def assert_reopened_after(self, seconds: float) -> None:
        """Let the channel be closed, and check that the next one is open after this delay."""
        self.failureResultOf(self.publish(exchange="none"), NoRoute)
        self.advance(seconds - 0.01)
        self.assertFalse(self.publisher.is_ready)
        self.advance(0.01)
        self.assertTrue(self.publisher.is_ready)


class RenewedChannelTests(PublisherTestCase):
    """Before RabbitMQ 4.0, a channel that a quorum queue has refused stays refused: it is replaced."""

    def channels(self) -> list[int]:
        """The numbers of the open channels for messages."""
        return sorted(self.session.channels.with_messages)

    def refuse(self) -> None:
        """Publish a message that the broker nacks."""
        self.faults.nack_publishes()
        self.failureResultOf(self.publish(), Nacked)
        self.advance(0)

    def test_renewed(self) -> None:
        """After a refusal, messages go by a new channel, and the former one is closed. The publisher stays ready."""
        before = self.channels()
        self.refuse()
        self.assertTrue(self.publisher.is_ready)
        self.assertEqual((len(self.channels()), set(self.channels()) & set(before)), (len(before), set()))
        self.successResultOf(self.publish())
        self.assertEqual(self.declared, 1)

    def test_not_too_often(self) -> None:
        """While all messages are refused, a channel serves for ten seconds at least."""
        self.refuse()
        first = self.channels()
        self.advance(9.9)
        self.refuse()
        self.assertEqual(self.channels(), first)
        self.advance(0.1)
        self.refuse()
        self.assertNotEqual(self.channels(), first)

    def test_meanwhile(self) -> None:
        """A message that is published meanwhile waits for the new channel, and is confirmed."""
        self.faults.nack_publishes()
        refused = self.publisher.publish(Message(b"1"), "ML.MQ", "predict.now")
        later: list[Deferred[None]] = []
        refused.addErrback(lambda _: later.append(self.publisher.publish(Message(b"2"), "ML.MQ", "predict.now")))
        self.pump()
        self.advance(0)
        self.successResultOf(later[0])
        self.assertEqual([each.body for each in self.take("work")], [b"2"])

    def test_missing_confirm(self) -> None:
        """If another message is unconfirmed, nothing is replaced: its outcome would be unknown. It waits for 1 s."""
        self.faults.hold_confirms()
        unconfirmed = self.publish()
        before = self.channels()
        self.faults.nack_publishes()
        self.failureResultOf(self.publish(), Nacked)
        self.advance(0)
        held = self.publish()
        self.advance(1)
        self.assertEqual(self.channels(), before)
        self.release()
        for each in (unconfirmed, held):
            self.successResultOf(each)

    def test_lost_meanwhile(self) -> None:
        """If the connection is lost meanwhile, what was held back fails, and the next session is used."""
        held: list[Deferred[None]] = []

        def lose() -> None:
            held.append(self.publisher.publish(Message(b"2"), "ML.MQ", "predict.now"))
            self.session.abort()

        self.faults.nack_publishes()
        refused = self.publisher.publish(Message(b"1"), "ML.MQ", "predict.now")
        refused.addErrback(lambda _: self.clock.callLater(0, lose))
        self.pump()
        self.failureResultOf(held[0], BrokerUnavailable)
        self.session = self.opened()
        self.successResultOf(self.publish())
