"""Consuming one queue: deliveries, acknowledgements, and consuming again after the broker ended the consumer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from provider_gateway.amqp.consumer import Consumer, Delivery
from provider_gateway.errors import TopologyError
from tests.support.embedded_broker import BrokerTestCase

if TYPE_CHECKING:
    from provider_gateway.amqp.session import Session


class ConsumerTestCase(BrokerTestCase):
    """A consumer of the queue ``work``, on an open session."""

    def setUp(self) -> None:
        super().setUp()
        self.delivered: list[Delivery] = []
        self.declared: list[Session] = []
        self.refusals: list[TopologyError] = []
        self.consumer = Consumer(
            "work", prefetch=7, declare=self.declare, deliver=self.delivered.append, clock=self.clock
        )
        self.session = self.opened()

    async def declare(self, session: Session) -> None:
        self.declared.append(session)
        if self.refusals:
            raise self.refusals.pop()
        channel = await session.channel()
        await channel.queue_declare("work", durable=True)
        channel.close()

    def opened(self) -> Session:
        """A new session, with the consumer opened on it."""
        session = self.connect()
        self.run_(self.consumer.open(session))
        self.pump()
        return session

    def bodies(self) -> list[bytes]:
        return [each.message.body for each in self.delivered]


class DeliveryTests(ConsumerTestCase):
    """Deliveries and their acknowledgements."""

    def test_prefetch(self) -> None:
        """No more deliveries than the prefetch are unacknowledged; each acknowledgement brings the next one."""
        for number in range(9):
            self.put("", "work", str(number).encode())
        self.assertEqual(self.bodies(), [b"0", b"1", b"2", b"3", b"4", b"5", b"6"])
        self.assertEqual((self.waiting("work"), self.unacked("work")), (2, 7))
        self.assertTrue(self.delivered[3].ack())
        self.pump()
        self.assertEqual((self.bodies()[7:], self.unacked("work")), ([b"7"], 7))
        self.assertEqual({each.queue for each in self.delivered}, {"work"})

    def test_ack(self) -> None:
        """ack() acknowledges this delivery alone. After the loss of the connection the others are redelivered."""
        for number in range(3):
            self.put("", "work", str(number).encode())
        self.delivered[1].ack()
        self.pump()
        self.assertEqual(self.unacked("work"), 2)
        self.lose(self.session)
        self.assertEqual([each.body for each in self.take("work")], [b"0", b"2"])

    def test_ack_along(self) -> None:
        """An acknowledgement that is not urgent is sent with the next write, and before a consumer is cancelled."""
        for number in range(5):
            self.put("", "work", str(number).encode())
        for delivery in self.delivered[:3]:
            self.assertTrue(delivery.ack(is_urgent=False))
        self.pump()
        self.assertEqual(self.unacked("work"), 5)
        self.delivered[3].ack()
        self.pump()
        self.assertEqual(self.unacked("work"), 1)
        self.delivered[4].ack(is_urgent=False)
        self.run_(self.consumer.cancel())
        self.pump()
        self.assertEqual((self.unacked("work"), self.waiting("work")), (0, 0))

    def test_ack_along_in_time(self) -> None:
        """Without another write, it is sent after 0.1 s."""
        self.put("", "work", b"1")
        self.delivered[0].ack(is_urgent=False)
        self.pump()
        self.assertEqual(self.unacked("work"), 1)
        self.clock.advance(0.1)
        self.pump()
        self.assertEqual(self.unacked("work"), 0)

    def test_properties(self) -> None:
        """A delivery carries the message's properties."""
        headers = {"RqUID": "r", "depth": 3}
        kept = {
            "content_type": "text/plain",
            "headers": headers,
            "correlation_id": "c",
            "reply_to": "b",
            "message_id": "m",
        }
        self.put("", "work", b"x", **kept)
        message = self.delivered[0].message
        self.assertEqual({name: getattr(message, name) for name in kept}, kept)

    def test_without_properties(self) -> None:
        """A message without properties is delivered, even without a body."""
        self.put("", "work", b"")
        message = self.delivered[0].message
        self.assertEqual((message.body, dict(message.headers)), (b"", {}))
        self.assertIsNone(message.content_type)
        self.assertIsNone(message.message_id)

    def test_way(self) -> None:
        """A delivery has the exchange and the routing key of its message."""
        self.other().exchange_declare("größe", "fanout")
        self.other().queue_bind("work", "größe", "")
        for way in (("", "work"), ("größe", "ä.ö")):
            self.put(*way)
            self.assertEqual((self.delivered[-1].exchange, self.delivered[-1].routing_key), way)

    def test_ack_after_the_loss(self) -> None:
        """After the loss of the connection a delivery is lost, and ack() returns False."""
        self.put("", "work")
        self.assertFalse(self.delivered[0].is_lost)
        self.lose(self.session)
        self.assertTrue(self.delivered[0].is_lost)
        self.assertFalse(self.delivered[0].ack())

    def test_ack_after_the_consumer_was_ended(self) -> None:
        """A delivery from before the broker ended the consumer is lost, and is not acknowledged on another channel."""
        self.put("", "work")
        self.delete("work")
        self.put("", "work")
        self.assertEqual([each.is_lost for each in self.delivered], [True, False])
        self.assertFalse(self.delivered[0].ack())
        self.pump()
        self.assertEqual((self.unacked("work"), self.consumer.is_registered), (1, True))

    def test_loss_of_the_connection(self) -> None:
        """After the loss of the connection the consumer is not registered, and does nothing more on that session."""
        self.lose(self.session)
        self.assertFalse(self.consumer.is_registered)
        self.assertEqual(len(self.declared), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_next_session(self) -> None:
        """On the next session the consumer declares the queue, and gets unacknowledged messages as redelivered."""
        self.put("", "work", b"a")
        self.lose(self.session)
        self.put("", "work", b"b")
        session = self.opened()
        self.assertEqual((self.bodies(), self.declared), ([b"a", b"a", b"b"], [self.session, session]))
        self.assertEqual([each.redelivered for each in self.delivered], [False, True, False])
        self.assertTrue(self.consumer.is_registered)


class RestoreTests(ConsumerTestCase):
    """The broker ends the consumer while the connection stays up."""

    def test_queue_deleted(self) -> None:
        """If its queue is deleted, the consumer declares it and consumes again, on the same session."""
        self.delete("work")
        self.assertEqual(self.declared, [self.session, self.session])
        self.assertTrue(self.consumer.is_registered)
        self.put("", "work")
        self.assertEqual(len(self.delivered), 1)

    def test_closed_channel(self) -> None:
        """If the broker closes the channel, a new one is opened with the same prefetch."""
        for _ in range(8):
            self.put("", "work")
        self.delivered[0].ack()
        self.delivered[0].ack()
        self.pump()
        self.assertEqual(self.declared, [self.session, self.session])
        self.assertTrue(self.consumer.is_registered)
        self.assertEqual((self.unacked("work"), self.waiting("work")), (7, 0))

    def test_refused_for_a_while(self) -> None:
        """While the declaration fails, the consumer is not registered, and tries again every second."""
        self.refusals = [TopologyError("refused"), TopologyError("refused")]
        self.delete("work")
        self.assertFalse(self.consumer.is_registered)
        for count, seconds in ((2, 0.9), (3, 0.1), (3, 0.9)):
            self.advance(seconds)
            self.assertEqual((len(self.declared), self.consumer.is_registered), (count, False))
        self.advance(0.1)
        self.assertTrue(self.consumer.is_registered)

    def test_refused_consume(self) -> None:
        """The consumer also tries again if another consumer has the queue exclusively."""
        self.refusals = [TopologyError("refused")]
        self.delete("work")
        self.make_queue("work")
        self.other().basic_consume("work", exclusive=True, consumer_tag="other")
        for _ in range(5):
            self.advance(1)
            self.assertFalse(self.consumer.is_registered)
        self.other().basic_cancel("other")
        self.advance(1)
        self.assertTrue(self.consumer.is_registered)

    def test_connection_lost_meanwhile(self) -> None:
        """The attempts end when the connection is lost. The next session opens the consumer."""
        self.refusals = [TopologyError("refused")]
        self.delete("work")
        self.lose(self.session)
        self.advance(1)
        self.assertEqual(len(self.declared), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class PauseTests(ConsumerTestCase):
    """consume_with()."""

    def change(self, *prefetches: int) -> None:
        for prefetch in prefetches:
            self.consumer.consume_with(prefetch)
        self.pump()

    def put_many(self, count: int) -> None:
        for number in range(count):
            self.put("", "work", str(number).encode())

    def test_pause(self) -> None:
        """In a pause nothing is delivered; deliveries can be acknowledged, and the consumer counts as registered."""
        self.put_many(1)
        self.change(0)
        self.put_many(1)
        self.assertEqual((1, 1), (len(self.delivered), self.waiting("work")))
        self.assertTrue(self.delivered[0].ack())
        self.assertTrue(self.consumer.is_registered)
        self.change(2)
        self.put_many(2)
        self.assertEqual((3, 1), (len(self.delivered), self.waiting("work")))

    def test_pause_over_a_reconnection(self) -> None:
        """A pause lasts over the loss of the connection."""
        self.change(0)
        self.lose(self.session)
        self.opened()
        self.put_many(3)
        self.assertEqual(([], True), (self.delivered, self.consumer.is_registered))
        self.change(2)
        self.assertEqual(2, len(self.delivered))

    def test_the_last_one_counts(self) -> None:
        """Of several changes at once the last one counts, whatever was under way."""
        for changes, delivered in (((3, 0), 0), ((0, 2), 2), ((0, 4, 0, 0, 3, 1), 1)):
            self.change(*changes)
            self.put_many(5)
            self.assertEqual(delivered, len(self.delivered), changes)
            self.change(0)
            for each in self.delivered:
                each.ack()
            self.pump()
            self.take("work")
            self.delivered.clear()

    def test_changed_while_it_is_opened(self) -> None:
        """A pause that is asked for while the consumer is opened begins then."""
        self.lose(self.session)
        session = self.connect()
        opening = Deferred.fromCoroutine(self.consumer.open(session))
        self.links[-1].pump()
        self.consumer.consume_with(0)
        self.pump()
        self.successResultOf(opening)
        self.put_many(1)
        self.assertEqual([], self.delivered)

    def test_channel_closed_meanwhile(self) -> None:
        """If the broker closes the channel during a change, the queue is consumed again, and by one consumer only."""
        self.put_many(1)
        self.delivered[0].ack()
        self.delivered[0].ack()  # unknown to the broker, which closes the channel over it
        self.change(3)
        self.put_many(5)
        self.assertEqual((4, 2), (len(self.delivered), self.waiting("work")))
        self.assertEqual(2, len(self.declared))

    def test_channel_closed_in_a_pause(self) -> None:
        """A channel that the broker closed in a pause is replaced at its end."""
        self.put_many(1)
        self.change(0)
        self.delivered[0].ack()
        self.delivered[0].ack()
        self.pump()
        self.change(3)
        self.put_many(5)
        self.assertEqual((4, 2), (len(self.delivered), self.waiting("work")))

    def test_stopped_in_a_pause(self) -> None:
        """After cancel() nothing is consumed any more."""
        self.change(0)
        self.run_(self.consumer.cancel())
        self.change(5)
        self.put_many(1)
        self.assertEqual([], self.delivered)


class CancelTests(ConsumerTestCase):
    """cancel()."""

    def test_cancel(self) -> None:
        """cancel() ends the consumer at the broker. Deliveries in flight can still be acknowledged."""
        self.put("", "work")
        self.run_(self.consumer.cancel())
        self.put("", "work")
        self.assertEqual((self.waiting("work"), self.consumer.is_registered), (1, False))
        self.assertTrue(self.delivered[0].ack())
        self.pump()
        self.assertEqual((self.waiting("work"), self.unacked("work")), (1, 0))

    def test_cancel_is_for_good(self) -> None:
        """After cancel() the consumer is not opened on a new session."""
        self.run_(self.consumer.cancel())
        self.lose(self.session)
        self.opened()
        self.put("", "work")
        self.assertEqual((self.delivered, self.consumer.is_registered, len(self.declared)), ([], False, 1))

    def test_cancel_while_it_waits_to_be_restored(self) -> None:
        """cancel() between two attempts to consume again ends the attempts."""
        self.refusals = [TopologyError("refused")]
        self.delete("work")
        self.run_(self.consumer.cancel())
        self.advance(5)
        self.assertEqual((len(self.declared), self.consumer.is_registered), (2, False))

    def test_cancel_after_the_loss(self) -> None:
        """cancel() without a connection sends nothing and does not wait."""
        self.lose(self.session)
        self.run_(self.consumer.cancel())
