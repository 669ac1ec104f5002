"""A broker that reads slowly: unsent bytes are counted, and beyond a limit nothing more is published."""

from __future__ import annotations

import pika
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test.iosim import connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides
from zope.interface.verify import verifyObject

from provider_gateway.amqp.session import Session
from provider_gateway.errors import BrokerBlocked
from provider_gateway.message.message import Message
from tests.support.amqp_peer import HEARTBEAT, open_peer
from tests.support.tls_files import TLSTestCase
from tests.unit.amqp.base import PublisherTestCase


class Descriptor(FileDescriptor):
    """A TCP transport of Twisted's own kind, whose peer reads as much as the test allows.

    Attributes:
        room: bytes that the peer takes.
        sent: bytes that it took.
    """

    disconnected = False

    def __init__(self) -> None:
        super().__init__(reactor=self)
        self.connected = 1
        self.room = 0
        self.sent = 0

    def addWriter(self, _: object) -> None:  # noqa: N802 - Twisted's name
        """The reactor's part: here the test calls doWrite()."""

    def removeWriter(self, _: object) -> None:  # noqa: N802 - Twisted's name
        """The reactor's part."""

    def writeSomeData(self, data: bytes) -> int:  # noqa: N802 - Twisted's name
        taken = min(self.room, len(data))
        self.room -= taken
        self.sent += taken
        return taken

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802 - Twisted's name
        """The socket's part."""

    def setTcpKeepAlive(self, enabled: bool) -> None:  # noqa: N802 - Twisted's name
        """The socket's part."""


class SessionTests(SynchronousTestCase):
    """A session is told when its transport's buffer is full."""

    def setUp(self) -> None:
        self.clock = Clock()

    def session(self) -> Session:
        return Session(pika.ConnectionParameters(heartbeat=HEARTBEAT), self.clock)

    def test_producer(self) -> None:
        """A session is its transport's push producer, from the start until it drops the connection."""
        peer = open_peer(self.clock)
        self.assertIs(peer.transport.producer, peer.protocol)
        self.assertTrue(peer.transport.streaming)
        peer.protocol.close()
        peer.pump()
        self.assertIsNone(peer.transport.producer)

    def test_unsent(self) -> None:
        """Written bytes are counted from the moment that the buffer is full until it is empty."""
        peer = open_peer(self.clock)
        session = peer.protocol
        told: list[int] = []
        session.on_unblocked = lambda: told.append(session.outbox.unsent)
        peer.frozen = True
        session.outbox.write(b"12345")
        self.assertEqual(session.outbox.unsent, 0)
        session.pauseProducing()
        session.outbox.write(b"12345")
        session.outbox.write(b"678")
        self.assertEqual((session.outbox.unsent, told), (8, []))
        self.clock.advance(0)
        self.assertTrue(peer.transport.value().endswith(b"1234512345678"))
        session.resumeProducing()
        self.assertEqual((session.outbox.unsent, told), (0, [0]))
        session.outbox.write(b"1")
        self.assertEqual(session.outbox.unsent, 0)
        session.pauseProducing()
        session.outbox.write(b"1")
        self.assertEqual(session.outbox.unsent, 1)

    def test_tcp(self) -> None:
        """Over TCP, bytes are counted while more than 64 KiB wait, until all are sent."""
        session, transport = self.session(), Descriptor()
        session.makeConnection(transport)
        session.outbox.write(bytes(transport.bufferSize))
        session.outbox.write(bytes(1000))
        self.assertEqual(session.outbox.unsent, 1000)
        transport.room = 1000
        transport.doWrite()
        self.assertEqual(session.outbox.unsent, 1000)
        transport.room = 10**6
        while transport.dataBuffer or transport._tempDataBuffer:
            transport.doWrite()
        transport.doWrite()
        self.assertEqual(session.outbox.unsent, 0)
        session.outbox.write(bytes(1000))
        self.assertEqual(session.outbox.unsent, 0)

    def test_end_of_the_connection(self) -> None:
        """At the end of the connection the producer is stopped, which changes nothing."""
        session, transport = self.session(), StringTransport()
        directlyProvides(session, IPushProducer)
        verifyObject(IPushProducer, session)
        transport.setTcpNoDelay = transport.setTcpKeepAlive = lambda _: None
        session.makeConnection(transport)
        session.stopProducing()
        self.assertTrue(session.is_open)


class GateTests(PublisherTestCase):
    """The publisher's limit of 1,000 bytes."""

    def fill(self, size: int) -> None:
        """Let this number of bytes be unsent."""
        self.session.pauseProducing()
        self.session.outbox.unsent = self.session.outbox._written_in_pause = size

    def test_limit(self) -> None:
        """At the limit a message is sent. Above it, the publish fails: the broker is slow."""
        self.fill(1000)
        self.assertTrue(self.publisher.is_ready)
        self.successResultOf(self.publish())
        self.assertGreater(self.session.outbox.unsent, 1000)
        self.assertFalse(self.publisher.is_ready)
        refused = self.failureResultOf(self.publish(), BrokerBlocked).value
        self.assertIn("slow", refused.detail)
        self.assertEqual((refused.status, self.waiting("work")), (503, 1))
        self.assertEqual(self.outcomes(), {"confirmed": 1})

    def test_burst(self) -> None:
        """With a lower limit for a broker that takes nothing, a burst may be larger, but not once it is stalled."""
        self.patch(self.publisher, "_max_stalled", 500)
        self.fill(900)
        self.assertTrue(self.publisher.is_ready)
        self.publish()
        self.fill(900)
        self.clock.advance(3)
        self.assertFalse(self.publisher.is_ready)
        self.failureResultOf(self.publish(), BrokerBlocked)
        self.fill(500)
        self.assertTrue(self.publisher.is_ready)

    def test_memory_is_bounded(self) -> None:
        """However many publishes are tried, no more is unsent than the limit and one message."""
        self.fill(0)
        for _ in range(100):
            self.publisher.publish(Message(bytes(600)), "ML.MQ", "predict.now").addErrback(lambda _: None)
        self.pump()
        self.assertEqual(self.waiting("work"), 2)
        self.assertLess(self.session.outbox.unsent, 1000 + 800)

    def test_ready_again(self) -> None:
        """when_ready() fires when everything is sent."""
        self.fill(1001)
        waiting = self.publisher.when_ready()
        self.assertNoResult(waiting)
        self.session.resumeProducing()
        self.successResultOf(waiting)
        self.successResultOf(self.publish())

    def test_next_session(self) -> None:
        """A new session begins with nothing unsent."""
        self.fill(1001)
        waiting = self.publisher.when_ready()
        self.lose(self.session)
        self.opened()
        self.successResultOf(waiting)

    def test_blocked_first(self) -> None:
        """If the broker blocks publishers and is slow, the error names the alarm."""
        self.fill(1001)
        self.faults.block()
        self.pump()
        self.assertIn("memory", self.failureResultOf(self.publish(), BrokerBlocked).value.detail)


class TLSTests(TLSTestCase):
    """The same over TLS, which has its own buffer."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.session = Session(pika.ConnectionParameters(heartbeat=HEARTBEAT), self.clock)
        server = TLSMemoryBIOFactory(self.server(), False, Factory.forProtocol(Protocol), self.clock)
        sessions = Factory.forProtocol(lambda: self.session)
        client = TLSMemoryBIOFactory(self.client(folder=self.certs, stem="client"), True, sessions, self.clock)
        tls, _, self.pump = connectedServerAndClient(
            lambda: server.buildProtocol(None), lambda: client.buildProtocol(None), clock=self.clock
        )
        self.tcp = tls.transport
        self.settle()

    def settle(self) -> None:
        for _ in range(20):
            self.clock.advance(0)
            self.pump.flush()

    def test_unsent(self) -> None:
        """A session over TLS is told when the buffer below TLS is full, and when it is empty again."""
        self.tcp.producer.pauseProducing()
        self.session.outbox.write(bytes(1000))
        self.assertEqual(self.session.outbox.unsent, 1000)
        self.tcp.producer.resumeProducing()
        self.assertEqual(self.session.outbox.unsent, 0)

    def test_dropped(self) -> None:
        """When pika ends a session, its TLS connection is closed, even if its buffer is full."""
        self.tcp.producer.pauseProducing()
        self.session._drop()
        self.settle()
        self.successResultOf(self.session.when_lost())
