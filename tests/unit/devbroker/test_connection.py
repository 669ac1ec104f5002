"""The embedded broker's connections: handshake, login, channels, frames, heartbeats."""

from __future__ import annotations

from typing import Any

from pika import frame, spec

from provider_gateway.devbroker.connection import CLOSE_TIMEOUT, HANDSHAKE_TIMEOUT
from provider_gateway.devbroker.frames import PROTOCOL_HEADER
from provider_gateway.devbroker.server import Broker
from tests.support.amqp_peer import PeerTransport
from tests.support.raw_amqp_client import USERS, RawClient, RawClientTestCase, to


class HandshakeTests(RawClientTestCase):
    """From the first byte to an open connection."""

    def test_offer(self) -> None:
        """The broker offers both mechanisms, its limits, and RabbitMQ's capabilities where it has them."""
        client = self.connect()
        client.link.at_client.write(PROTOCOL_HEADER)
        start = client.frames()[0].method
        self.assertEqual(start.mechanisms, b"PLAIN EXTERNAL")
        capabilities = start.server_properties["capabilities"]
        for name in ("publisher_confirms", "basic.nack", "consumer_cancel_notify", "connection.blocked"):
            self.assertTrue(capabilities[name], name)
        self.assertNotIn("direct_reply_to", capabilities)
        (tune,) = client.ask(spec.Connection.StartOk({}, "PLAIN", b"\0guest\0secret"), channel=0)
        self.assertEqual((tune.channel_max, tune.frame_max, tune.heartbeat), (2047, 131072, 60))

    def test_wrong_header(self) -> None:
        """A client of another protocol gets the protocol header, and is disconnected."""
        for header in (b"HTTP/1.1", b"AMQP\x00\x01\x00\x00"):
            client = self.connect()
            client.link.at_client.write(header)
            client.link.pump()
            self.assertEqual((client.data, client.is_lost), (PROTOCOL_HEADER, True))

    def test_byte_by_byte(self) -> None:
        """Frames may come in pieces of any size."""
        client = self.client()
        for byte in frame.Method(1, spec.Queue.Declare(queue="q")).marshal():
            client.link.server.dataReceived(bytes([byte]))
        self.assertEqual(client.frames()[0].method.queue, "q")

    def test_refused_login(self) -> None:
        """A wrong password, and a user without one, are refused with RabbitMQ's text."""
        for response in (b"\0guest\0wrong", b"\0nobody\0x", b"\0provider-gateway\0", b"nothing"):
            (close,) = self.connect().login(response)
            self.assertEqual((close.reply_code, close.class_id, close.method_id), (403, 0, 0))
            text = "Login was refused using authentication mechanism PLAIN. For details see the broker logfile."
            self.assertEqual(close.reply_text, f"ACCESS_REFUSED - {text}")

    def test_refused_without_capability(self) -> None:
        """A client without authentication_failure_close is disconnected without a Close."""
        client = self.connect()
        self.assertEqual(client.login(b"\0guest\0wrong", capabilities={}), [])
        self.assertTrue(client.is_lost)

    def test_external(self) -> None:
        """EXTERNAL takes the user name from the certificate; an unknown name is refused."""
        (tune,) = self.connect().login(b"", "EXTERNAL")
        self.assertIsInstance(tune, spec.Connection.Tune)
        self.broker = Broker(USERS, self.clock, external_name=lambda _: "stranger")
        (close,) = self.connect().login(b"", "EXTERNAL")
        self.assertIn("mechanism EXTERNAL", close.reply_text)
        self.broker = Broker(USERS, self.clock)
        (close,) = self.connect().login(b"", "EXTERNAL")
        self.assertEqual(close.reply_text, "COMMAND_INVALID - unknown authentication mechanism 'EXTERNAL'")

    def test_virtual_host(self) -> None:
        """A virtual host other than / is refused."""
        client = self.connect()
        client.login(b"\0guest\0secret")
        client.ask(spec.Connection.TuneOk(0xFF, 131072, 0), channel=0)
        (close,) = client.ask(spec.Connection.Open("nope"), channel=0)
        self.assertEqual((close.reply_code, close.reply_text), (530, "NOT_ALLOWED - vhost nope not found"))

    def test_tune(self) -> None:
        """A client may not tune frame_max or channel_max beyond the broker's limits."""
        for tune in ((2047, 100, 0), (2047, 200_000, 0), (3000, 131_072, 0), (0, 131_072, 0)):
            client = self.connect()
            client.login(b"\0guest\0secret")
            (close,) = client.ask(spec.Connection.TuneOk(*tune), channel=0)
            self.assertEqual(close.reply_code, 530)

    def test_wrong_channel(self) -> None:
        """A handshake on another channel than 0 is refused. RabbitMQ drops the connection without a reason."""
        client = self.connect()
        client.link.at_client.write(PROTOCOL_HEADER)
        (close,) = client.ask(spec.Connection.StartOk({}, "PLAIN", b"\0guest\0secret"), channel=7)[1:]
        text = "CHANNEL_ERROR - unexpected method in connection state starting"
        self.assertEqual((close.reply_code, close.reply_text), (504, text))

    def test_silent_client(self) -> None:
        """A client that does not finish the handshake in time is dropped."""
        client = self.connect()
        self.clock.advance(HANDSHAKE_TIMEOUT)
        client.link.pump()
        self.assertTrue(client.is_lost)


class LifeTests(RawClientTestCase):
    """Channels, heartbeats, errors and close of an open connection."""

    def test_close(self) -> None:
        """A client's Close is answered with Close-Ok, then the connection ends."""
        client = self.client()
        (answer,) = client.ask(spec.Connection.Close(200, "bye", 0, 0), channel=0)
        self.assertIsInstance(answer, spec.Connection.CloseOk)
        self.assertTrue(client.is_lost)

    def test_closed_by_broker(self) -> None:
        """After an error the broker ignores everything but Close-Ok, and waits for it with a time limit."""
        client = self.client()
        self.assertIn("unexpected method", self.refusal_of_open(client))
        self.assertEqual(client.ask(spec.Queue.Declare(queue="q")), [])
        client.link.at_client.write(frame.Body(0, b"wrong").marshal())
        self.assertEqual(client.frames(), [])
        self.assertFalse(client.is_lost)
        client.ask(spec.Connection.CloseOk(), channel=0)
        self.assertTrue(client.is_lost)
        silent = self.client()
        self.refusal_of_open(silent)
        self.clock.advance(CLOSE_TIMEOUT)
        silent.link.pump()
        self.assertTrue(silent.is_lost)

    def test_end_of_the_stuck(self) -> None:
        """A closed connection ends even if the client reads nothing more, whichever side closed it."""
        closed, refused, garbled = self.client(), self.client(), self.connect()
        for client in (closed, refused, garbled):
            client.link.at_server.stuck = True
        closed.ask(spec.Connection.Close(200, "bye", 0, 0), channel=0)
        self.refusal_of_open(refused)
        refused.ask(spec.Connection.CloseOk(), channel=0)
        refused.ask(spec.Connection.CloseOk(), channel=0)
        garbled.link.at_client.write(b"HTTP/1.1")
        garbled.link.pump()
        self.assertFalse(closed.is_lost or refused.is_lost or garbled.is_lost)
        self.clock.advance(CLOSE_TIMEOUT)
        for client in (closed, refused, garbled):
            client.link.pump()
            self.assertTrue(client.link.at_server.aborted and client.is_lost)
            self.assertIsNone(client.link.at_server.producer)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def refusal_of_open(self, client: RawClient) -> str:
        return str(client.ask(spec.Connection.Open("/"), channel=0)[0].reply_text)

    def test_channels(self) -> None:
        """A channel is opened once and used while open; its number can be used again after its close."""
        text = "connection 504 CHANNEL_ERROR - second 'channel.open' seen"
        self.assertEqual(self.refusal(spec.Channel.Open()), text)
        text = "connection 504 CHANNEL_ERROR - expected 'channel.open'"
        self.assertEqual(self.refusal(spec.Queue.Declare(queue="q"), channel=2), text)
        client = self.client()
        self.assertIsInstance(client.ask(spec.Channel.Close(200, "", 0, 0))[0], spec.Channel.CloseOk)
        self.assertIsInstance(client.ask(spec.Channel.Open())[0], spec.Channel.OpenOk)
        self.assertIn("unimplemented method", self.refusal(spec.Basic.ConsumeOk("t")))

    def test_channel_max(self) -> None:
        """More channels than agreed on are refused."""
        client = self.client(tune=(2, 8192, 0))
        client.ask(spec.Channel.Open(), channel=2)
        (close,) = client.ask(spec.Channel.Open(), channel=3)
        text = "NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)"
        self.assertEqual(close.reply_text, text)

    def test_channel_after_error(self) -> None:
        """A channel with an error ignores everything until Close-Ok; other channels go on."""
        client = self.client()
        self.assertIn("channel 404", self.refusal(spec.Queue.Declare(queue="q", passive=True), client=client))
        self.assertEqual(client.ask(spec.Queue.Declare(queue="q")), [])
        self.assertEqual(client.ask(to("q"), b"lost"), [])
        client.ask(spec.Channel.CloseOk())
        self.assertIsInstance(client.ask(spec.Channel.Open())[0], spec.Channel.OpenOk)

    def test_heartbeats(self) -> None:
        """The broker sends heartbeats, and drops a client that is silent for two intervals."""
        client = self.client(tune=(2047, 131072, 10))
        self.clock.advance(5)
        client.link.pump()
        self.assertEqual(client.data, frame.Heartbeat().marshal())
        for _ in range(6):
            client.link.at_client.write(frame.Heartbeat().marshal())
            client.link.pump()
            self.clock.advance(5)
        self.assertFalse(client.is_lost)
        self.clock.advance(5)
        self.clock.advance(5)
        self.clock.advance(5)
        client.link.pump()
        self.assertTrue(client.is_lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class FullTransport(PeerTransport):
    """A transport whose buffer is full after some bytes, until the test takes them.

    Attributes:
        taken: whether what is written is taken at once.
    """

    limit = 65_536
    taken = True

    def write(self, data: bytes) -> None:
        super().write(data)
        if not self.taken and self.producer is not None and len(self.value()) > self.limit:
            self.producer.pauseProducing()


class BackpressureTests(RawClientTestCase):
    """Clients that do not read."""

    def deaf(self) -> tuple[Any, FullTransport]:
        """A connection with channel 1 open, whose client reads nothing from now on."""
        client = self.client()
        server, transport = client.link.server, client.link.at_server
        transport.__class__ = FullTransport
        transport.taken = False
        return server, transport

    def test_consumer(self) -> None:
        """Without acknowledgements, deliveries stop when the transport is full; the rest stays in the queue."""
        server, transport = self.deaf()
        for method in (spec.Queue.Declare(queue="q"), spec.Basic.Consume(queue="q", consumer_tag="t", no_ack=True)):
            server.dataReceived(frame.Method(1, method).marshal())
        one = self.client()
        for _ in range(30):
            one.send(to("q"), bytes(10_000))
        one.link.pump()
        self.assertLess(len(transport.value()), FullTransport.limit + 11_000)
        self.assertGreater(len(self.broker.vhost.queues["q"]), 20)
        self.assertEqual(transport.producerState, "paused")
        received = 0
        while data := transport.value():
            received += len(data)
            transport.clear()
            server.resumeProducing()
        self.assertGreater(received, 300_000)
        self.assertEqual((len(self.broker.vhost.queues["q"]), transport.producerState), (0, "producing"))

    def test_questions(self) -> None:
        """The broker does not read requests of a client that does not read; it goes on when the client does."""
        server, transport = self.deaf()
        declare = frame.Method(1, spec.Queue.Declare(queue="q")).marshal()
        for _ in range(50):
            server.dataReceived(declare * 100)
        self.assertLess(len(transport.value()), FullTransport.limit + 100)
        answers = 0
        while data := transport.value():
            answers += len(data)
            transport.clear()
            server.resumeProducing()
        self.assertEqual(answers, 5000 * len(frame.Method(1, spec.Queue.DeclareOk("q", 0, 0)).marshal()))

    def test_end(self) -> None:
        """A connection whose client does not read can be lost, and can be closed by the broker."""
        server, transport = self.deaf()
        server.dataReceived(frame.Method(1, spec.Queue.Declare(queue="q", exclusive=True)).marshal() * 5000)
        self.assertEqual(transport.producerState, "paused")
        server.stopProducing()
        transport.loseConnection()
        self.clock.advance(0)
        self.assertEqual(self.broker.vhost.queues, {})
