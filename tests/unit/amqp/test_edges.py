"""Rare moments: cancel() while a consumer opens, a consumer that is ended again and again, handshakes that fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pika import spec
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost as TCPConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.amqp.consumer import Consumer, Delivery
from provider_gateway.amqp.publisher import Publisher
from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.errors import NoRoute
from provider_gateway.message.message import Message
from provider_gateway.observability.metrics import Metrics
from tests.support.amqp_peer import Peer, new_peer, open_peer, run

if TYPE_CHECKING:
    from provider_gateway.amqp.session import Session


async def declare_nothing(_: Session) -> None:
    """A declaration that declares nothing."""


class CancelWhileOpeningTests(SynchronousTestCase):
    """cancel() while the consumer is opened for the first time."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.peer = open_peer(self.clock)
        self.delivered: list[Delivery] = []
        self.declaring: Deferred[None] | None = None
        self.consumer = Consumer(
            "work", prefetch=7, declare=self.declare, deliver=self.delivered.append, clock=self.clock
        )

    async def declare(self, _: Session) -> None:
        if self.declaring is not None:
            await self.declaring

    def start(self) -> Deferred[None]:
        """Begin to open the consumer, as far as the broker has answered."""
        opening = Deferred.fromCoroutine(self.consumer.open(self.peer.protocol))
        self.peer.pump()
        self.assertNoResult(opening)
        return opening

    def assert_cancelled(self, opening: Deferred[None]) -> None:
        self.successResultOf(opening)
        self.assertFalse(self.consumer.is_registered)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_registered(self) -> None:
        """Without cancel(), is_registered becomes True with the broker's Consume-Ok."""
        self.peer.answers[spec.Basic.Consume] = None
        opening = self.start()
        self.assertFalse(self.consumer.is_registered)
        (consume,) = self.peer.sent(spec.Basic.Consume)
        self.peer.send(spec.Basic.ConsumeOk(consume.consumer_tag), self.peer.channel_of(spec.Basic.Consume))
        self.successResultOf(opening)
        self.assertTrue(self.consumer.is_registered)

    def test_while_declaring(self) -> None:
        """cancel() while the queue is declared: no Consume is sent."""
        self.declaring = Deferred()
        opening = self.start()
        run(self.peer, self.consumer.cancel())
        self.declaring.callback(None)
        self.peer.pump()
        self.assertEqual(self.peer.sent(spec.Basic.Consume), [])
        self.assert_cancelled(opening)

    def test_before_qos_ok(self) -> None:
        """cancel() before Qos-Ok: no Consume is sent."""
        self.peer.answers[spec.Basic.Qos] = None
        opening = self.start()
        run(self.peer, self.consumer.cancel())
        self.peer.send(spec.Basic.QosOk(), self.peer.channel_of(spec.Basic.Qos))
        self.assertEqual(self.peer.sent(spec.Basic.Consume), [])
        self.assert_cancelled(opening)

    def test_before_consume_ok(self) -> None:
        """cancel() between Consume and Consume-Ok: Basic.Cancel follows Consume-Ok, with the consumer's tag."""
        self.peer.answers[spec.Basic.Consume] = None
        opening = self.start()
        run(self.peer, self.consumer.cancel())
        self.assertEqual(self.peer.sent(spec.Basic.Cancel), [])
        (consume,) = self.peer.sent(spec.Basic.Consume)
        self.peer.send(spec.Basic.ConsumeOk(consume.consumer_tag), self.peer.channel_of(spec.Basic.Consume))
        self.assertEqual([each.consumer_tag for each in self.peer.sent(spec.Basic.Cancel)], [consume.consumer_tag])
        self.assertEqual(self.peer.channel_of(spec.Basic.Cancel), self.peer.channel_of(spec.Basic.Consume))
        self.assert_cancelled(opening)


class ConsumerTestCase(SynchronousTestCase):
    """A consumer of the queue ``work`` on an open session; the test answers as the broker."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.delivered: list[Delivery] = []
        self.declared: list[Session] = []
        self.consumer = Consumer(
            "work", prefetch=7, declare=self.declare, deliver=self.delivered.append, clock=self.clock
        )
        self.peer = open_peer(self.clock)
        self.session: Session = self.peer.protocol
        run(self.peer, self.consumer.open(self.session))

    async def declare(self, session: Session) -> None:
        self.declared.append(session)

    @property
    def channel(self) -> int:
        """The channel of the consumer that was registered last."""
        return self.peer.channel_of(spec.Basic.Consume)

    def end_by_broker(self) -> None:
        """The queue is deleted."""
        tag = self.peer.sent(spec.Basic.Consume)[-1].consumer_tag
        self.peer.send(spec.Basic.Cancel(tag, nowait=True), self.channel)


class CancelWhileReopeningTests(ConsumerTestCase):
    """cancel() while the consumer is opened again after the broker ended it."""

    def assert_cancelled(self) -> None:
        self.clock.advance(5)
        self.peer.pump()
        self.assertFalse(self.consumer.is_registered)
        self.assertEqual(len(self.declared), 2)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_before_qos_ok(self) -> None:
        """cancel() before Qos-Ok: no second Consume is sent."""
        self.peer.answers[spec.Basic.Qos] = None
        self.end_by_broker()
        run(self.peer, self.consumer.cancel())
        self.peer.send(spec.Basic.QosOk(), self.peer.channel_of(spec.Basic.Qos))
        self.assert_cancelled()
        self.assertEqual(len(self.peer.sent(spec.Basic.Consume)), 1)

    def test_before_consume_ok(self) -> None:
        """cancel() between Consume and Consume-Ok: the new consumer is cancelled at the broker."""
        self.peer.answers[spec.Basic.Consume] = None
        self.end_by_broker()
        run(self.peer, self.consumer.cancel())
        consume = self.peer.sent(spec.Basic.Consume)[-1]
        self.peer.send(spec.Basic.ConsumeOk(consume.consumer_tag), self.channel)
        self.assert_cancelled()
        self.assertEqual([each.consumer_tag for each in self.peer.sent(spec.Basic.Cancel)], [consume.consumer_tag])
        self.assertEqual(self.peer.channel_of(spec.Basic.Cancel), self.channel)

    def test_lost_before_qos_ok(self) -> None:
        """cancel(), then the loss of the connection, while the consumer opens: no error and no timer is left."""
        self.peer.answers[spec.Basic.Qos] = None
        self.end_by_broker()
        run(self.peer, self.consumer.cancel())
        self.peer.lose()
        self.assert_cancelled()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lost_before_cancel_ok(self) -> None:
        """If the connection is lost before Cancel-Ok, cancel() ends, with or without an error, and nothing is left."""
        self.peer.answers[spec.Basic.Cancel] = None
        cancelling = Deferred.fromCoroutine(self.consumer.cancel())
        self.peer.pump()
        self.assertNoResult(cancelling)
        self.peer.lose()
        cancelling.addErrback(lambda _: None)
        self.successResultOf(cancelling)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ChannelTests(ConsumerTestCase):
    """The channels of a consumer that the broker ends again and again."""

    def channels(self, kind: type) -> list[int]:
        return [each.channel for each in self.peer.seen if isinstance(each.method, kind)]

    def test_closed(self) -> None:
        """Each old channel is closed: a consumer has one channel, however often it was ended."""
        used = [self.channel]
        for _ in range(5):
            self.end_by_broker()
            self.assertEqual(self.channels(spec.Channel.Close), used)
            used.append(self.channel)
        self.assertTrue(self.consumer.is_registered)

    def test_closed_by_the_broker(self) -> None:
        """A channel that the broker has closed is not closed again."""
        self.peer.send(spec.Channel.Close(406, "PRECONDITION_FAILED - timeout", 60, 80), self.channel)
        self.assertEqual(self.peer.sent(spec.Channel.Close), [])
        self.assertEqual(len(self.peer.sent(spec.Channel.CloseOk)), 1)
        self.assertTrue(self.consumer.is_registered)

    def test_names_that_are_not_text(self) -> None:
        """Exchange and routing key of a delivery are texts, whatever their bytes are."""
        self.peer.deliver(b"x", 1, exchange=b"\xffe", routing_key=b"k\xfe")
        self.assertEqual((self.delivered[0].exchange, self.delivered[0].routing_key), ("\ufffde", "k\ufffd"))

    def test_delivery_of_a_closed_channel(self) -> None:
        """Deliveries from before the end are lost, even before the broker's Close-Ok. Later ones are not."""
        self.peer.deliver(b"x", 1)
        self.peer.answers[spec.Channel.Close] = None
        self.end_by_broker()
        self.assertTrue(self.delivered[0].is_lost)
        self.assertFalse(self.delivered[0].ack())
        self.peer.deliver(b"y", 1)
        self.assertTrue(self.delivered[1].ack())
        self.peer.pump()
        self.assertEqual(self.channels(spec.Basic.Ack), [self.channel])


class ReturnTests(SynchronousTestCase):
    """Returned messages without optional parts."""

    def test_without_headers(self) -> None:
        """A returned message without headers is recognised by its message id."""
        peer, clock = open_peer(Clock()), Clock()
        publisher = Publisher(declare_nothing, max_unsent=1000, clock=clock, metrics=Metrics())
        run(peer, publisher.open(peer.protocol))
        published = publisher.publish(Message(b"1"), "ML.MQ", "predict.now")
        peer.pump()
        (returned,) = peer.published
        returned.properties = spec.BasicProperties(message_id=returned.properties.message_id)
        peer.give_back(returned)
        peer.send(spec.Basic.Ack(1), returned.channel)
        self.failureResultOf(published, NoRoute)


class HandshakeTests(SynchronousTestCase):
    """The errors of open() when the handshake fails."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.peer: Peer = new_peer(self.clock)

    def reason(self, opening: Deferred[None]) -> str:
        return str(self.failureResultOf(opening, ConnectionLost).value)

    def open(self) -> Deferred[None]:
        opening = Deferred.fromCoroutine(self.peer.protocol.open())
        self.peer.pump()
        return opening

    def assert_over(self, reason: str) -> None:
        """Check that the session is lost for the same reason, and that nothing is left of it."""
        self.assertEqual(str(self.successResultOf(self.peer.protocol.when_lost())), reason)
        self.assertFalse(self.peer.protocol.is_open)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_no_common_mechanism(self) -> None:
        """The broker does not offer our SASL mechanism: the session knows what it offers, if these are names at all."""
        for sent, offered in (
            (b"AMQPLAIN  RABBIT-CR-DEMO", ("AMQPLAIN", "RABBIT-CR-DEMO")),
            (b"x\ny \xff\0 " + b"A" * 21 + b" B", ("B",)),
            (b" ".join(b"A%d" % number for number in range(100)), tuple(f"A{number}" for number in range(10))),
        ):
            self.peer = new_peer(self.clock)
            self.peer.mechanisms = sent
            reason = self.reason(self.open())
            self.assertEqual(("no agreement in the AMQP handshake", offered), (reason, self.peer.protocol.offered))
            self.assert_over(reason)

    def test_another_protocol(self) -> None:
        """The first byte tells another protocol, above all TLS; the connection is aborted without waiting for more."""
        for sent, expected in (
            (b"SSH-2.0-x", "the server does not speak AMQP on this port"),
            (b"\x15\x03\x03", "the server does not speak AMQP on this port, but TLS: use amqps://"),
            (b"AMQP\x00\x01\x00\x00", "the server speaks another version of AMQP than 0-9-1"),
            (b"H", "the server does not speak AMQP on this port"),
            (b"\x00", "the server does not speak AMQP on this port"),
        ):
            self.peer = new_peer(self.clock)
            self.peer.frozen = True
            opening = self.open()
            self.peer.receive(sent)
            self.assertTrue(self.peer.transport.aborted)
            self.assertEqual(self.reason(opening), expected)
            self.assert_over(expected)

    def test_closed_without_a_word(self) -> None:
        """A server that closes the connection before it has sent anything: the reason says what to look at."""
        self.peer.frozen = True
        opening = self.open()
        self.peer.lose(ConnectionDone())
        self.assertIn("It had sent nothing: is this a broker's port", self.reason(opening))

    def test_reset(self) -> None:
        """The TCP connection is lost during the handshake: the text is the transport's reason."""
        for silent in (None, spec.Connection.StartOk, spec.Connection.Open):
            self.peer = new_peer(self.clock)
            if silent is None:
                self.peer.frozen = True
            else:
                self.peer.answers[silent] = None
            opening = self.open()
            self.assertNoResult(opening)
            self.peer.lose(TCPConnectionLost("reset"))
            reason = self.reason(opening)
            self.assertIn("reset", reason)
            self.assert_over(reason)

    def test_closed_instead_of_a_channel(self) -> None:
        """The broker closes the connection when the first channel is opened: the text has the broker's words."""
        text = "NOT_ALLOWED - number of channels opened (1) has reached the negotiated channel_max (0)"
        self.peer.answers[spec.Channel.Open] = lambda _: spec.Connection.Close(530, text, 20, 10)
        reason = self.reason(self.open())
        self.assertEqual(reason, f"refused by the broker: 530 {text}")
        self.assert_over(reason)

    def test_reset_instead_of_a_channel(self) -> None:
        """The connection is lost while the first channel is opened: the text is the transport's reason."""
        self.peer.answers[spec.Channel.Open] = None
        opening = self.open()
        self.assertNoResult(opening)
        self.peer.lose(TCPConnectionLost("reset"))
        reason = self.reason(opening)
        self.assertIn("reset", reason)
        self.assert_over(reason)
