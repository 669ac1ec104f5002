"""Our end of TLS: everything arrives, in whatever segments, and bytes that are not TLS end the connection."""

from __future__ import annotations

import contextlib
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from OpenSSL import SSL
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from zope.interface import implementer

from provider_gateway.net import tls_records, tls_transport
from provider_gateway.net.tls_transport import CountingTransport, ServerFactory, TLSClientEndpoint
from tests.support.tls_peers import ConnectedTestCase, Link, Peer, PKITestCase

HEADER = b"\x17\x03\x03"


def record(size: int) -> bytes:
    """A record with a valid header and some bytes."""
    return HEADER + size.to_bytes(2, "big") + bytes(size)


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Peer):
    """A peer that keeps its side of the connection open when the other side has ended."""

    has_ended = False

    def readConnectionLost(self) -> None:
        self.has_ended = True

    def writeConnectionLost(self) -> None:
        pass


class CountTests(PKITestCase):
    """How many records end in the bytes that arrive."""

    def count(self, *pieces: bytes) -> list[int]:
        factory = ServerFactory(self.server(), None, Clock())  # type: ignore[arg-type]
        transport = CountingTransport(factory, None)
        return [transport._count(each) for each in pieces]

    def test_whole(self) -> None:
        """Whole records count, one by one or several in a segment."""
        self.assertEqual([1, 2, 1], self.count(record(10), record(0) + record(300), record(16_640)))

    def test_pieces(self) -> None:
        """A record counts when its last byte arrives; the next one may have begun by then."""
        data = record(10) + record(20)
        self.assertEqual([0, 0, 1, 0, 1], self.count(data[:5], data[5:14], data[14:21], data[21:39], data[39:]))
        self.assertEqual([1, 1], self.count(data[:20], data[20:]))

    def test_unusual(self) -> None:
        """A record that is no application data, or is too long, makes the count 0; counting goes on after it."""
        for odd in (b"\x16" + record(10)[1:], b"\x17\x03\x01" + record(10)[3:], record(16_641)):
            self.assertEqual([0, 1], self.count(odd, record(10)))
            self.assertEqual([0, 1], self.count(record(10) + odd, record(10)))
            self.assertEqual([0, 1], self.count(record(10) + odd[:5], odd[5:]))

    def test_header_in_pieces(self) -> None:
        """A header that arrives in pieces is put together; its record counts when its last byte arrives."""
        data = record(10)
        for cut in (1, 2, 3, 4):
            self.assertEqual([0, 1, 1], self.count(data[:cut], data[cut:], data))
            self.assertEqual([1, 1, 1], self.count(data + data[:cut], data[cut:], data))
        self.assertEqual([0, 0, 0, 0, 0, 0, 1], self.count(*(data[at : at + 1] for at in range(6)), data[6:]))

    def test_unusual_header_in_pieces(self) -> None:
        """A record that is no application data makes the count 0 although its header arrives in pieces."""
        odd = b"\x15" + record(10)[1:]
        for cut in (1, 2, 3, 4):
            self.assertEqual([0, 0, 1], self.count(odd[:cut], odd[cut:], record(10)))

    def test_all_splits(self) -> None:
        """However records are split into three segments, each counts once: in the segment with its last byte."""
        data = record(0) + record(3) + record(1)
        ends = [5, 13, 19]
        for first in range(len(data) + 1):
            for second in range(first, len(data) + 1):
                bounds = (0, first, second, len(data))
                expected = [sum(start < end <= stop for end in ends) for start, stop in pairwise(bounds)]
                self.assertEqual(expected, self.count(data[:first], data[first:second], data[second:]), bounds)


class TransportTests(ConnectedTestCase):
    """A connection to a client, after the handshake."""

    def test_new_buffers(self) -> None:
        """The server's connection gets new buffers once, when the handshake is complete; what follows arrives."""
        renewed: list[Any] = []

        def renew(connection: Any) -> None:
            renewed.append(connection)
            tls_records.renew_buffers(connection)

        self.patch(tls_transport, "renew_buffers", renew)
        link = Link(self.server(), self.client(self.client_ca.issue("client")))
        self.assertEqual([link.transport.getHandle()], renewed)
        link.send(b" again")
        self.assertEqual((b"hello again", [link.transport.getHandle()]), (link.server.received, renewed))

    def test_more(self) -> None:
        """While a record is delivered, it is known whether anything has arrived behind it, be it part of a record."""
        noted: list[bool] = []
        self.peer.dataReceived = lambda _: noted.append(self.link.transport.has_more)
        for behind, expected in ((b"", [False]), (HEADER, [True])):
            connection = self.link.client.transport.getHandle()
            connection.send(b"one")
            self.link.transport.dataReceived(connection.bio_read(2**16) + behind)
            self.assertEqual(expected, noted)
            noted.clear()

    def test_more_records(self) -> None:
        """Of several records that arrive together, something is behind all but the last. Nothing is behind silence."""
        noted: list[bool] = []
        self.peer.dataReceived = lambda _: noted.append(self.link.transport.has_more)
        self.send_in(b"one", b"two", b"three")
        self.assertEqual([True, True, False], noted)
        self.assertFalse(self.link.transport.has_more)

    def test_records(self) -> None:
        """One record, or several in a segment, arrive whole and in order."""
        self.peer.received = b""
        self.send_in(b"1")
        self.send_in(b"2", 5000 * b"3", b"4")
        self.assertEqual(b"12" + 5000 * b"3" + b"4", self.peer.received)

    def test_pieces(self) -> None:
        """Records in segments of any size arrive, and so does the record after them."""
        for size in (1, 3, 7, 26, 100, 1000):
            self.peer.received = b""
            self.send_in(b"first", 2000 * b"x", b"last", size=size)
            self.send_in(b"1")
            self.assertEqual(b"first" + 2000 * b"x" + b"last1", self.peer.received, size)

    def test_all_splits(self) -> None:
        """Two records arrive completely wherever they are split in two segments."""
        connection = self.link.client.transport.getHandle()
        for cut in range(1, 2 * (22 + 3)):
            data = b""
            for content in (b"one", b"two"):
                connection.send(content)
                data += connection.bio_read(2**16)
            self.peer.received = b""
            self.link.transport.dataReceived(data[:cut])
            self.link.transport.dataReceived(data[cut:])
            self.assertEqual(b"onetwo", self.peer.received, cut)

    def test_counted(self) -> None:
        """OpenSSL is asked once for each record, also after a header was cut."""
        asked: list[int] = []
        openssl: Any = tls_records._openssl
        counted = SimpleNamespace(SSL_read=lambda *args: asked.append(1) or openssl.SSL_read(*args))
        self.patch(tls_records, "_openssl", counted)
        self.send_in(b"1", size=3)
        del asked[:]
        self.send_in(b"2", b"3")
        self.assertEqual(2, len(asked))

    def test_closed_between_records(self) -> None:
        """Records after the one upon which we close the connection are still received, as in Twisted."""
        received: list[bytes] = []

        def close(data: bytes) -> None:
            received.append(data)
            self.peer.transport.loseConnection()

        self.peer.dataReceived = close
        self.send_in(b"1", b"2", b"3")
        self.assertEqual([b"1", b"2", b"3"], received)

    def test_large(self) -> None:
        """Data larger than a record arrives in both directions."""
        self.peer.received = self.link.client.received = b""
        self.link.send(100_000 * b"a")
        self.peer.transport.write(100_000 * b"b")
        self.link.turn()
        self.assertEqual((100_000 * b"a", 100_000 * b"b"), (self.peer.received, self.link.client.received))

    def test_one_write(self) -> None:
        """A write is sent at once, not in the reactor's next turn."""
        sent: list[bytes] = []
        self.patch(self.link.transport.transport, "write", sent.append)
        self.peer.transport.write(b"answer")
        self.assertEqual([HEADER], [each[:3] for each in sent])

    def test_end(self) -> None:
        """What a client sends before close_notify arrives, and both sides end the connection."""
        self.peer.received = b""
        self.link.client.transport.write(b"bye")
        self.link.client.transport.loseConnection()
        self.link.turn()
        self.assertEqual((b"bye", True, True), (self.peer.received, self.peer.is_lost, self.link.client.is_lost))

    def test_after_the_end(self) -> None:
        """Nothing that a client sends behind close_notify is kept, though a half-closed connection stays open."""
        link = Link(self.server(), self.client(self.client_ca.issue("client")), Factory.forProtocol(HalfCloseable))
        connection = link.client.transport.getHandle()
        connection.shutdown()
        link.transport.dataReceived(connection.bio_read(2**16))
        self.assertEqual((True, False), (link.server.has_ended, link.server.is_lost))
        kept: list[int] = []
        self.patch(SSL.Connection, "bio_write", lambda _, data: kept.append(len(data)))
        for _ in range(3):
            link.transport.dataReceived(record(16_000))
        self.assertEqual(([], b"hello"), (kept, link.server.received))
        link.server.transport.write(b"answer")
        link.server.transport.loseConnection()
        link.turn()
        self.assertEqual((True, []), (link.server.is_lost, self.flushLoggedErrors()))

    def test_no_tls(self) -> None:
        """Bytes that are no record of this connection end it; records before them arrive."""
        for junk in (record(30), b"GET / HTTP/1.1\r\n\r\n", HEADER + b"\xff\xff" + 70_000 * b"x"):
            self.setUp()
            self.peer.received = b""
            connection = self.link.client.transport.getHandle()
            connection.send(b"1")
            self.link.transport.dataReceived(connection.bio_read(2**16) + junk)
            self.link.turn()
            self.assertEqual((b"1", True), (self.peer.received, self.peer.is_lost), junk[:5])
            self.assertEqual([], self.flushLoggedErrors())

    def test_lost_by_what_arrives(self) -> None:
        """Records after the one upon which we abort the connection are not delivered."""
        received: list[bytes] = []

        def abort(data: bytes) -> None:
            received.append(data)
            self.peer.transport.abortConnection()

        self.peer.dataReceived = abort
        self.send_in(b"1", b"2", b"3")
        self.link.turn()
        self.assertEqual([b"1"], received)


class RenegotiationTests(PKITestCase):
    """A server with TLS 1.2 begins another handshake."""

    def setUp(self) -> None:
        super().setUp()
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.use_certificate_chain_file(str(self.cert))
        context.use_privatekey_file(str(self.key))
        self.server_side = SSL.Connection(context, None)
        self.server_side.set_accept_state()
        reactor = MemoryReactorClock()
        endpoint = TLSClientEndpoint(self.client(), TCP4ClientEndpoint(reactor, "localhost", 1), reactor)
        connecting = endpoint.connect(Factory.forProtocol(Peer))
        self.transport = StringTransport()
        self.outside = reactor.tcpClients[0][2].buildProtocol(None)
        self.outside.makeConnection(self.transport)
        self.ours: Any = self.successResultOf(connecting)
        self.received = b""
        self.turn()

    def turn(self) -> None:
        """Let everything arrive that was sent."""
        for _ in range(5):
            if self.transport.value():
                self.server_side.bio_write(self.transport.value())
                self.transport.clear()
            with contextlib.suppress(SSL.WantReadError):
                self.received += self.server_side.recv(1000)
            self.deliver()

    def deliver(self) -> None:
        """Let everything arrive that the server has sent."""
        with contextlib.suppress(SSL.WantReadError):
            self.outside.dataReceived(self.server_side.bio_read(2**16))

    def test_write_during_a_handshake(self) -> None:
        """What is written during the handshake is sent after it; reading goes on."""
        self.server_side.send(b"1")
        self.turn()
        self.assertTrue(self.server_side.renegotiate())
        self.server_side.do_handshake()
        self.deliver()
        self.ours.transport.write(b" there")
        self.ours.transport.write(memoryview(bytes(3000) + bytes(range(250)) * 200))
        self.turn()
        self.assertEqual(1, self.server_side.total_renegotiations())
        for _ in range(20):
            self.turn()
        self.assertEqual(b"hello there" + bytes(3000) + bytes(range(250)) * 200, self.received)
        self.server_side.send(b"2")
        self.turn()
        self.assertEqual(b"12", self.ours.received)
