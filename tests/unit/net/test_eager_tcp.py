"""TCP connections that send at once: real sockets, and a reactor whose turns the test takes."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.net.eager_tcp import send_at_once


class Writers(Clock):
    """The part of a reactor that sends for transports.

    Attributes:
        added: how often a writer was added.
    """

    def __init__(self) -> None:
        super().__init__()
        self.writers: set[Any] = set()
        self.added = 0

    def addWriter(self, writer: Any) -> None:  # noqa: N802 - Twisted's name
        self.writers.add(writer)
        self.added += 1

    def removeWriter(self, writer: Any) -> None:  # noqa: N802 - Twisted's name
        self.writers.discard(writer)

    def addReader(self, reader: Any) -> None:  # noqa: N802 - Twisted's name
        pass

    def removeReader(self, reader: Any) -> None:  # noqa: N802 - Twisted's name
        pass

    def turn(self) -> None:
        """Let each writer send as much as its socket takes."""
        for writer in list(self.writers):
            if writer.doWrite() is not None:
                self.writers.discard(writer)


class PullProducer:
    """Writes one piece each time it is resumed."""

    def __init__(self, transport: Any, pieces: list[bytes]) -> None:
        self.transport, self.pieces = transport, pieces

    def resumeProducing(self) -> None:
        if self.pieces:
            self.transport.write(self.pieces.pop(0))
        else:
            self.transport.unregisterProducer()

    def stopProducing(self) -> None:
        pass


class PushProducer:
    """Notes when it is paused and resumed."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        pass


class EagerTests(SynchronousTestCase):
    """One connection, and its other end."""

    def setUp(self) -> None:
        self.reactor = Writers()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.other = socket.socket()
            self.other.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)
            self.other.connect(listener.getsockname())
            ours, _ = listener.accept()
        self.addCleanup(self.other.close)
        self.addCleanup(ours.close)
        self.other.setblocking(False)
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
        self.protocol = Protocol()
        made: Any = tcp.Server
        self.transport: Any = made(ours, self.protocol, ("127.0.0.1", 1), None, 0, self.reactor)
        self.protocol.makeConnection(self.transport)
        send_at_once(self.protocol.transport)

    def received(self) -> bytes:
        """The bytes that have arrived."""
        data = b""
        try:
            while piece := self.other.recv(1_000_000):
                data += piece
        except BlockingIOError:
            pass
        return data

    def rest(self) -> bytes:
        """All bytes that arrive until the reactor has nothing left to send."""
        data = self.received()
        while self.reactor.writers:
            self.reactor.turn()
            data += self.received()
        return data

    def test_at_once(self) -> None:
        """Bytes are sent when the call returns, without the reactor."""
        self.transport.write(b"ab")
        self.assertEqual(self.received(), b"ab")
        self.transport.writeSequence([b"c", b"d"])
        self.transport.write(b"")
        self.assertEqual((self.received(), self.reactor.added), (b"cd", 0))

    def test_more_than_the_socket_takes(self) -> None:
        """The reactor sends the rest, and nothing overtakes it; later writes are sent at once again."""
        data = bytes(range(256)) * 2_000
        self.transport.write(data)
        self.transport.write(b"behind")
        self.assertEqual(self.reactor.writers, {self.transport})
        self.assertEqual(self.rest(), data + b"behind")
        self.reactor.added = 0
        self.transport.write(b"next")
        self.assertEqual((self.received(), self.reactor.added), (b"next", 0))

    def test_pieces(self) -> None:
        """Pieces are sent in their order, also when the socket takes only some of them; nothing overtakes the rest."""
        pieces = [bytes([each]) * 60_000 for each in range(10)]
        self.transport.writeSequence((b"head", memoryview(pieces[0])[:10]))
        self.assertEqual((b"head" + bytes(10), 0), (self.received(), self.reactor.added))
        self.transport.writeSequence(pieces)
        self.transport.writeSequence((b"be", b"hind"))
        self.assertEqual({self.transport}, self.reactor.writers)
        self.assertEqual(b"".join(pieces) + b"behind", self.rest())
        self.transport.abortConnection()
        self.transport.writeSequence((b"late",))
        self.reactor.turn()
        self.assertEqual(b"", self.received())

    def test_push_producer(self) -> None:
        """A push producer that writes more than the socket takes is paused, and resumed when all is sent."""
        producer = PushProducer()
        self.transport.registerProducer(producer, True)
        self.transport.write(b"1")
        self.assertEqual(producer.told, [])
        self.transport.write(b"x" * 500_000)
        self.assertEqual(producer.told, ["pause"])
        self.assertEqual(len(self.rest()), 500_001)
        self.assertEqual(producer.told, ["pause", "resume"])

    def test_pull_producer(self) -> None:
        """A pull producer is resumed until it has no more."""
        self.transport.registerProducer(PullProducer(self.transport, [b"1", b"2", b"3"]), False)
        self.assertEqual(self.rest(), b"123")
        self.transport.write(b"4")
        self.assertEqual(self.received(), b"4")

    def test_closed(self) -> None:
        """Bytes written before the connection is closed arrive; bytes written after it was lost are dropped."""
        self.transport.write(b"x" * 500_000)
        self.transport.loseConnection()
        self.assertEqual(len(self.rest()), 500_000)
        self.transport.connected = False
        self.transport.write(b"late")
        self.assertEqual(self.received(), b"")

    def test_aborted(self) -> None:
        """What is written to an aborted connection is dropped: it would overtake what the socket did not take."""
        data = 500_000 * b"x"
        self.transport.write(data)
        arrived = self.received()
        self.transport.abortConnection()
        self.transport.write(b"late")
        self.reactor.turn()
        arrived += self.received()
        self.assertLess(len(arrived), len(data))
        self.assertEqual(data[: len(arrived)], arrived)

    def test_lost(self) -> None:
        """A write that finds the connection lost leaves it to the reactor, which finds the same."""
        self.other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.other.close()
        self.transport.write(b"1")
        self.transport.write(b"2")
        (writer,) = self.reactor.writers
        self.assertIsNotNone(writer.doWrite())

    def test_below_tls(self) -> None:
        """TCP below a protocol wrapper sends at once, too; transports of other kinds stay as they are."""
        plain: Any = StringTransport()
        send_at_once(plain)
        self.assertIs(type(plain), StringTransport)
        self.setUp()
        self.transport.__class__ = tcp.Server
        wrapper = ProtocolWrapper(WrappingFactory(None), Protocol())  # type: ignore[arg-type] # is not asked
        wrapper.transport = self.transport
        send_at_once(wrapper)
        self.transport.write(b"1")
        self.assertEqual((self.received(), self.reactor.added), (b"1", 0))
