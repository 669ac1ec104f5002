"""Consuming one queue: deliveries, acknowledgements, and coming back after the broker ended the consumer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pika import spec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.amqp.consumer import Consumer, Delivery
from provider_gateway.errors import TopologyError
from tests.unit.amqp_peer import open_peer, run

if TYPE_CHECKING:
    from provider_gateway.amqp.session import Session


class ConsumerTestCase(SynchronousTestCase):
    """A consumer of the queue ``work`` on an open session."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.delivered: list[Delivery] = []
        self.declared: list[Session] = []
        self.refusals: list[TopologyError] = []
        self.consumer = Consumer(
            "work", prefetch=7, declare=self.declare, deliver=self.delivered.append, clock=self.clock
        )
        self.peer = open_peer(self.clock)
        self.session: Session = self.peer.protocol
        run(self.peer, self.consumer.open(self.session))

    async def declare(self, session: Session) -> None:
        self.declared.append(session)
        if self.refusals:
            raise self.refusals.pop()

    @property
    def channel(self) -> int:
        """The channel of the consumer that was registered last."""
        return self.peer.channel_of(spec.Basic.Consume)

    def end_by_broker(self) -> None:
        """The queue is deleted."""
        tag = self.peer.sent(spec.Basic.Consume)[-1].consumer_tag
        self.peer.send(spec.Basic.Cancel(tag, nowait=True), self.channel)


class DeliveryTests(ConsumerTestCase):
    """Deliveries and their acknowledgements."""

    def test_prefetch(self) -> None:
        """The prefetch is set on the consumer's channel before it consumes, with acknowledgements on."""
        (qos,) = self.peer.sent(spec.Basic.Qos)
        (consume,) = self.peer.sent(spec.Basic.Consume)
        self.assertEqual((qos.prefetch_count, qos.global_qos), (7, False))
        self.assertEqual((consume.queue, consume.no_ack), ("work", False))
        self.assertEqual(self.peer.channel_of(spec.Basic.Qos), self.channel)
        methods = [each.method for each in self.peer.seen]
        self.assertLess(methods.index(qos), methods.index(consume))

    def test_registered(self) -> None:
        """is_registered is true from the broker's Consume-Ok on."""
        peer = open_peer(self.clock)
        peer.answers[spec.Basic.Consume] = None
        consumer = Consumer("work", prefetch=1, declare=self.declare, deliver=self.delivered.append, clock=self.clock)
        opening = Deferred.fromCoroutine(consumer.open(peer.protocol))
        peer.pump()
        self.assertFalse(consumer.is_registered)
        (consume,) = peer.sent(spec.Basic.Consume)
        peer.send(spec.Basic.ConsumeOk(consume.consumer_tag), peer.channel_of(spec.Basic.Consume))
        self.successResultOf(opening)
        self.assertTrue(consumer.is_registered)

    def test_order(self) -> None:
        """Deliveries are handed on as they come, without waiting for the one before."""
        for tag, body in enumerate([b"a", b"b", b"c"], start=1):
            self.peer.deliver(body, tag, redelivered=body == b"b")
        self.assertEqual([each.message.body for each in self.delivered], [b"a", b"b", b"c"])
        self.assertEqual([each.redelivered for each in self.delivered], [False, True, False])
        self.assertEqual({each.queue for each in self.delivered}, {"work"})

    def test_properties(self) -> None:
        """A delivery carries the message's properties."""
        properties = spec.BasicProperties(
            content_type="text/plain",
            headers={"RqUID": "r", "depth": 3},
            correlation_id="c",
            reply_to="back",
            message_id="m",
        )
        self.peer.deliver(b"x", 1, properties)
        message = self.delivered[0].message
        self.assertEqual((message.content_type, message.headers), ("text/plain", {"RqUID": "r", "depth": 3}))
        self.assertEqual((message.correlation_id, message.reply_to, message.message_id), ("c", "back", "m"))

    def test_without_properties(self) -> None:
        """A message without any property, even without a body, is delivered."""
        self.peer.deliver(b"", 1)
        message = self.delivered[0].message
        self.assertEqual((message.body, dict(message.headers)), (b"", {}))
        self.assertIsNone(message.content_type)
        self.assertIsNone(message.message_id)

    def test_way(self) -> None:
        """A delivery says how it came: through which exchange, with which key; as text, whatever bytes they are."""
        for tag, (exchange, key) in enumerate((("ML.MQ", "predict.now"), ("", "work"), ("größe", "ä.ö")), 1):
            self.peer.deliver(b"x", tag, exchange=exchange, routing_key=key)
            self.assertEqual((self.delivered[-1].exchange, self.delivered[-1].routing_key), (exchange, key))
        self.peer.deliver(b"x", 9, exchange=b"\xffe", routing_key=b"k\xfe")
        self.assertEqual((self.delivered[-1].exchange, self.delivered[-1].routing_key), ("\ufffde", "k\ufffd"))

    def test_ack(self) -> None:
        """ack() acknowledges this delivery alone, on the channel that it came on."""
        for tag in (1, 2, 3):
            self.peer.deliver(b"x", tag)
        self.assertTrue(self.delivered[1].ack())
        self.peer.pump()
        (ack,) = self.peer.sent(spec.Basic.Ack)
        self.assertEqual((ack.delivery_tag, ack.multiple), (2, False))
        self.assertEqual(self.peer.channel_of(spec.Basic.Ack), self.channel)

    def test_ack_after_the_loss(self) -> None:
        """After the loss of the connection a delivery is lost, and ack() says so instead of raising."""
        self.peer.deliver(b"x", 1)
        self.assertFalse(self.delivered[0].is_lost)
        self.peer.lose()
        self.assertTrue(self.delivered[0].is_lost)
        self.assertFalse(self.delivered[0].ack())

    def test_ack_after_the_consumer_was_ended(self) -> None:
        """What was delivered before the broker ended the consumer is lost: its channel is closed, no ack is sent."""
        self.peer.deliver(b"x", 1)
        self.end_by_broker()
        self.assertTrue(self.delivered[0].is_lost)
        self.assertFalse(self.delivered[0].ack())
        self.peer.pump()
        self.assertEqual(self.peer.sent(spec.Basic.Ack), [])

    def test_loss_of_the_connection(self) -> None:
        """A lost connection ends the registration, and nothing is tried on it again."""
        self.peer.lose()
        self.assertFalse(self.consumer.is_registered)
        self.assertEqual(len(self.declared), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_next_session(self) -> None:
        """Opened on the next session, the consumer declares there and takes its deliveries."""
        self.peer.lose()
        peer = open_peer(self.clock)
        run(peer, self.consumer.open(peer.protocol))
        peer.deliver(b"x", 1)
        self.assertEqual(len(self.delivered), 1)
        self.assertEqual(self.declared, [self.session, peer.protocol])
        self.assertTrue(self.consumer.is_registered)


class RestoreTests(ConsumerTestCase):
    """The broker ends the consumer while the connection stays up."""

    def test_after_cancel(self) -> None:
        """Ended by the broker, the consumer declares the queue and consumes again on the same session."""
        self.end_by_broker()
        self.assertEqual(self.declared, [self.session, self.session])
        self.assertEqual(len(self.peer.sent(spec.Basic.Consume)), 2)
        self.assertTrue(self.consumer.is_registered)
        self.peer.deliver(b"x", 1)
        self.assertEqual(len(self.delivered), 1)

    def test_after_a_closed_channel(self) -> None:
        """A closed channel, as after an acknowledgement in error, is replaced by a new one."""
        closed = self.channel
        self.peer.send(spec.Channel.Close(406, "PRECONDITION_FAILED - unknown delivery tag 1", 60, 80), closed)
        self.assertEqual(self.declared, [self.session, self.session])
        self.assertTrue(self.consumer.is_registered)
        self.assertEqual(len(self.peer.sent(spec.Basic.Qos)), 2)

    def test_refused_for_a_while(self) -> None:
        """While the broker refuses, the consumer is not registered, and tries again every second."""
        self.refusals = [TopologyError("refused"), TopologyError("refused")]
        self.end_by_broker()
        self.assertFalse(self.consumer.is_registered)
        self.clock.advance(0.9)
        self.assertEqual(len(self.declared), 2)
        self.clock.advance(0.1)
        self.assertEqual(len(self.declared), 3)
        self.assertFalse(self.consumer.is_registered)
        self.clock.advance(1)
        self.peer.pump()
        self.assertTrue(self.consumer.is_registered)

    def test_refused_consume(self) -> None:
        """A queue that cannot be consumed (404) is tried again, too."""
        answer = self.peer.answers[spec.Basic.Consume]
        self.peer.answers[spec.Basic.Consume] = lambda _: spec.Channel.Close(404, "no queue 'work'", 60, 20)
        self.end_by_broker()
        self.assertFalse(self.consumer.is_registered)
        self.peer.answers[spec.Basic.Consume] = answer
        self.clock.advance(1)
        self.peer.pump()
        self.assertTrue(self.consumer.is_registered)

    def test_connection_lost_meanwhile(self) -> None:
        """The attempts end with the connection: the next session opens the consumer."""
        self.refusals = [TopologyError("refused")]
        self.end_by_broker()
        self.peer.lose()
        self.clock.advance(1)
        self.assertEqual(len(self.declared), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class CancelTests(ConsumerTestCase):
    """The end that we ask for."""

    def test_cancel(self) -> None:
        """cancel() ends the consumer at the broker, and what was delivered may still be acknowledged."""
        self.peer.deliver(b"x", 1)
        run(self.peer, self.consumer.cancel())
        (cancelled,) = self.peer.sent(spec.Basic.Cancel)
        (consume,) = self.peer.sent(spec.Basic.Consume)
        self.assertEqual(cancelled.consumer_tag, consume.consumer_tag)
        self.assertFalse(self.consumer.is_registered)
        self.assertTrue(self.delivered[0].ack())

    def test_cancel_is_for_good(self) -> None:
        """After cancel() a new session does not bring the consumer back."""
        run(self.peer, self.consumer.cancel())
        peer = open_peer(self.clock)
        run(peer, self.consumer.open(peer.protocol))
        self.assertEqual(peer.sent(spec.Basic.Consume), [])
        self.assertFalse(self.consumer.is_registered)

    def test_cancel_while_it_waits_to_be_restored(self) -> None:
        """cancel() between two attempts to restore the consumer ends the attempts."""
        self.refusals = [TopologyError("refused")]
        self.end_by_broker()
        run(self.peer, self.consumer.cancel())
        self.clock.advance(1)
        self.peer.pump()
        self.assertEqual(len(self.peer.sent(spec.Basic.Consume)), 1)

    def test_cancel_after_the_loss(self) -> None:
        """cancel() without a connection has nothing to say and does not wait."""
        self.peer.lose()
        run(self.peer, self.consumer.cancel())

    def test_loss_during_cancel(self) -> None:
        """A connection that breaks before Cancel-Ok ends cancel(), with or without an error, and leaves nothing."""
        self.peer.answers[spec.Basic.Cancel] = None
        cancelling = Deferred.fromCoroutine(self.consumer.cancel())
        self.peer.pump()
        self.assertNoResult(cancelling)
        self.peer.lose()
        cancelling.addErrback(lambda _: None)
        self.successResultOf(cancelling)
        self.assertEqual(self.clock.getDelayedCalls(), [])
