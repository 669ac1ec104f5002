"""The fault proxy on real sockets: what each fault does to connections, and that they are whole without one."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from pika import frame, spec
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.internet.tcp import Connection
from twisted.trial.unittest import TestCase

from tests.faults.proxy import Action, Direction, FaultProxy, Frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

reactor: Any = global_reactor
TO_TARGET, TO_CLIENT = Direction.TO_TARGET, Direction.TO_CLIENT
HEADER = frame.ProtocolHeader().marshal()
TUNE_OK = frame.Method(0, spec.Connection.TuneOk(2047, 131072, 30)).marshal()
ACK = frame.Method(3, spec.Basic.Ack(7)).marshal()
NACK = frame.Method(3, spec.Basic.Nack(8)).marshal()
CONTENT = frame.Header(3, 4, spec.BasicProperties(app_id="a")).marshal()
BODY = frame.Body(3, b"\x01\xce\x08A").marshal()
HEARTBEAT = frame.Heartbeat().marshal()


class Peer(Protocol):
    """A client or a target, which keeps what it gets.

    Attributes:
        got: what it has got.
        reason: how the connection has ended, or None.
    """

    transport: Any

    def __init__(self, first: bytes = b"", made: Callable[[Peer], object] = id) -> None:
        self.got = bytearray()
        self.reason: type[BaseException] | None = None
        self._first, self._made = first, made
        self._waiting: list[tuple[float, Deferred[None]]] = []

    def connectionMade(self) -> None:
        self.transport.write(self._first)
        self._made(self)

    def dataReceived(self, data: bytes) -> None:
        self.got += data
        self._check()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason.type
        self._check()

    async def gets(self, data: bytes) -> None:
        """Wait until it has got this and nothing else."""
        await self._when(len(data))
        assert self.got == data, (self.got[:100], self.reason)

    async def ends(self) -> type[BaseException] | None:
        """Wait for the end of the connection; returns its reason."""
        await self._when(float("inf"))
        return self.reason

    def _when(self, length: float) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self._waiting.append((length, waiting))
        self._check()
        return waiting

    def _check(self) -> None:
        waiting, self._waiting = self._waiting, []
        for length, deferred in waiting:
            if self.reason is not None or len(self.got) >= length:
                deferred.callback(None)
            else:
                self._waiting.append((length, deferred))


class Luck(random.Random):
    """A generator of these numbers."""

    def __init__(self, numbers: list[float]) -> None:
        super().__init__()
        self._numbers = iter(numbers)

    def random(self) -> float:
        return next(self._numbers, 0.0)


class LateReactor:
    """The reactor, whose outgoing connections are made when the test says so; it is their connector until then."""

    def __init__(self) -> None:
        self.attempts: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def connectTCP(self, host: str, port: int, factory: Any, **_: Any) -> None:  # noqa: N802 - Twisted's name
        self.attempts.append((host, port, factory))
        factory.startedConnecting(self)

    def getDestination(self) -> str:  # noqa: N802 - Twisted's name
        return "the target"

    def stopConnecting(self) -> None:  # noqa: N802 - Twisted's name
        self.attempts.clear()


class ProxyTestCase(TestCase):
    """A proxy, ``self.proxy``, before a target, whose connections come out of the queue ``self.targets``."""

    timeout = 10

    def setUp(self) -> None:
        self.targets: DeferredQueue[Peer] = DeferredQueue()
        factory = Factory.forProtocol(lambda: Peer(made=self.targets.put))
        self.listener = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(self.listener.stopListening)
        self.start(reactor)

    def start(self, on: Any, **faults: Any) -> None:
        """Start the proxy."""
        self.proxy = FaultProxy(on, self.listener.getHost().port, **faults)
        self.proxy.start()
        self.addCleanup(self.proxy.stop)

    async def client(self, first: bytes = b"") -> Peer:
        """Connect a client, which begins with some bytes."""
        client = Peer(first)
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.proxy.port), client)
        return self._ended(client)

    async def target(self) -> Peer:
        """The target's side of the next connection."""
        return self._ended(await self.targets.get())

    async def pair(self, first: bytes = b"") -> tuple[Peer, Peer]:
        """Both ends of a new connection."""
        return await self.client(first), await self.target()

    def _ended(self, peer: Peer) -> Peer:
        self.addCleanup(peer.ends)
        self.addCleanup(peer.transport.abortConnection)
        return peer

    async def received(self, way: Direction, count: int) -> None:
        """Wait until the proxy has got so many bytes of a direction."""
        await self.proxy.when(lambda: self.proxy.received[way] == count)

    async def settled(self) -> None:
        """Let pass what can pass: on loopback, that takes a few turns of the reactor."""
        for _ in range(30):
            await deferLater(reactor, 0)

    async def assert_reset(self, *peers: Peer) -> None:
        """They have been reset, and the proxy has no connection."""
        self.assertEqual([await peer.ends() for peer in peers], [ConnectionLost] * len(peers))
        await self.proxy.when(lambda: self.proxy.connections == 0)


class ConnectionTests(ProxyTestCase):
    """Connections without a fault, and their end."""

    async def test_passes(self) -> None:
        """Bytes pass both ways as they are, many too; those that came in and went on are counted by direction."""
        client, target = await self.pair()
        many = random.Random(1).randbytes(3_000_000)
        client.transport.write(many)
        await target.gets(many)
        target.transport.write(b"thanks")
        await client.gets(b"thanks")
        counts = {TO_TARGET: len(many), TO_CLIENT: 6}
        await self.proxy.when(lambda: self.proxy.passed == counts)
        self.assertEqual(self.proxy.received, counts)

    async def test_no_delay(self) -> None:
        """Nagle's algorithm is off on both sides."""
        seen = []
        self.patch(Connection, "setTcpNoDelay", lambda transport, on: seen.append((transport.getPeer().port, on)))
        client, target = await self.pair(b"x")
        await target.gets(b"x")
        self.assertEqual(seen, [(client.transport.getHost().port, True), (self.listener.getHost().port, True)])

    async def test_slow_receiver(self) -> None:
        """While the receiver does not read, the proxy takes in what fits into the sockets; later all passes."""
        client, target = await self.pair()
        many = bytes(20_000_000)
        target.transport.pauseProducing()
        client.transport.write(many)
        for _ in range(30):
            await self.settled()
        self.assertLess(self.proxy.received[TO_TARGET], len(many) // 2)
        target.transport.resumeProducing()
        await target.gets(many)

    async def test_early(self) -> None:
        """What a client sends before the target is connected, and its close, reach the target then."""
        late = LateReactor()
        self.start(late)
        client = await self.client(b"early")
        client.transport.loseConnection()
        await client.ends()
        await self.received(TO_TARGET, 5)
        await self.settled()
        reactor.connectTCP(*late.attempts[0])
        target = await self.target()
        self.assertIs(await target.ends(), ConnectionDone)
        self.assertEqual(target.got, b"early")

    async def test_target_refuses(self) -> None:
        """When nothing listens at the target, the client is reset."""
        await self.listener.stopListening()
        await self.assert_reset(await self.client(b"x"))

    async def test_close(self) -> None:
        """A close of one side closes the other one, after all the bytes that came before it."""
        self.proxy.slice_bytes = 1
        for closes in (0, 1):
            pair = await self.pair()
            pair[closes].transport.write(bytes(300))
            pair[closes].transport.loseConnection()
            self.assertIs(await pair[1 - closes].ends(), ConnectionDone)
            self.assertEqual(pair[1 - closes].got, bytes(300))
        await self.proxy.when(lambda: self.proxy.connections == 0)

    async def test_reset_of_one_side(self) -> None:
        """A reset of one side resets the other one, after the bytes that came before it."""
        for resets, way in enumerate((TO_TARGET, TO_CLIENT)):
            pair = await self.pair()
            self.proxy.black_hole = True
            pair[resets].transport.write(b"last")
            await self.received(way, 4)
            await self.settled()
            pair[resets].transport.abortConnection()
            await self.settled()
            self.proxy.black_hole = False
            await self.assert_reset(pair[1 - resets])
            self.assertEqual(pair[1 - resets].got, b"last")

    async def test_counts(self) -> None:
        """There are counts of the connections there are and there were; a test can wait for these."""
        second = self.proxy.when_connected(2)
        client, target = await self.pair()
        self.assertNoResult(second)
        await self.pair()
        self.successResultOf(second)
        self.successResultOf(self.proxy.when_connected(1))
        self.assertEqual((self.proxy.connections, self.proxy.accepted), (2, 2))
        client.transport.loseConnection()
        await target.ends()
        await self.proxy.when(lambda: self.proxy.connections == 1)
        self.assertEqual(self.proxy.accepted, 2)

    async def test_stop(self) -> None:
        """A stop ends connections, attempts and timers, and the port; a start after it opens the same port."""
        late = LateReactor()
        self.start(late, delay=60)
        peers = [await self.client(b"x")]
        await self.received(TO_TARGET, 1)
        await self.settled()
        reactor.connectTCP(*late.attempts[0])
        peers.append(await self.target())
        peers.append(await self.client())
        await self.proxy.when_connected(2)
        stopped, port = self.proxy.stop(), self.proxy.port
        self.assertNoResult(stopped)
        await stopped
        self.assertEqual((self.proxy.connections, late.attempts), (0, []))
        await self.assert_reset(*peers)
        with self.assertRaises(ConnectError):
            await self.client()
        await self.proxy.stop()
        self.proxy.start()
        self.assertEqual(self.proxy.port, port)
        await self.client()


class FaultTests(ProxyTestCase):
    """Faults of TCP."""

    async def test_reset(self) -> None:
        """A reset ends both sides of all connections, and with them what waited; a new connection works."""
        first, second = await self.pair(), await self.pair()
        self.proxy.black_hole = True
        first[0].transport.write(b"lost")
        await self.received(TO_TARGET, 4)
        await self.settled()
        self.proxy.reset()
        await self.assert_reset(*first, *second)
        self.proxy.black_hole = False
        self.assertEqual(first[1].got, b"")
        _client, target = await self.pair(b"new")
        await target.gets(b"new")

    async def test_refuse(self) -> None:
        """New connections are reset and do not reach the target, present ones work; later, new ones do again."""
        client, target = await self.pair()
        self.proxy.refuse = True
        refused = await self.client(b"x")
        self.assertIs(await refused.ends(), ConnectionLost)
        self.assertEqual((self.proxy.refused, self.proxy.accepted), (1, 1))
        await self.proxy.when(lambda: self.proxy.connections == 1)
        client.transport.write(b"works")
        await target.gets(b"works")
        self.proxy.refuse = False
        _client, target = await self.pair(b"again")
        await target.gets(b"again")

    async def test_black_hole(self) -> None:
        """Present and new connections stay open and silent, closes included; afterwards everything arrives in order."""
        client, target = await self.pair()
        self.proxy.black_hole = True
        new, new_target = await self.pair(b"new")
        client.transport.write(b"question")
        target.transport.write(b"answer")
        await self.received(TO_TARGET, 11)
        await self.received(TO_CLIENT, 6)
        await self.settled()
        client.transport.write(b", last")
        client.transport.loseConnection()
        await self.received(TO_TARGET, 17)
        await self.settled()
        self.assertEqual((target.got, client.got, new_target.got), (b"", b"", b""))
        self.assertEqual((target.reason, new.reason, new_target.reason), (None, None, None))
        self.assertEqual(self.proxy.connections, 2)
        self.proxy.black_hole = False
        self.assertIs(await target.ends(), ConnectionDone)
        self.assertEqual(target.got, b"question, last")
        await new_target.gets(b"new")

    async def test_one_direction(self) -> None:
        """Faults may be those of one direction; a change of the directions works at once."""
        self.proxy.directions = [TO_CLIENT]
        self.proxy.black_hole = True
        client, target = await self.pair(b"question")
        await target.gets(b"question")
        target.transport.write(b"answer")
        await self.received(TO_CLIENT, 6)
        await self.settled()
        self.assertEqual(client.got, b"")
        self.proxy.directions = [TO_TARGET]
        await client.gets(b"answer")

    async def test_stop_reading(self) -> None:
        """Nothing is taken from the sockets, of new connections too, so that a sender gets stuck; then all passes."""
        client, target = await self.pair()
        self.proxy.stop_reading = True
        many = bytes(40_000_000)
        client.transport.write(many)
        new, new_target = await self.pair(b"new")
        new_target.transport.write(b"answer")
        for _ in range(10):
            await self.settled()
        self.assertFalse(self.proxy.received)
        sent = []
        client.transport.registerProducer(type("", (), {"resumeProducing": lambda: sent.append(1)}), False)
        await self.settled()
        self.assertEqual(sent, [1])  # asked once, when it was registered: the rest of the bytes is stuck
        client.transport.unregisterProducer()
        self.proxy.stop_reading = False
        await target.gets(many)
        await new_target.gets(b"new")
        await new.gets(b"answer")

    async def test_slices(self) -> None:
        """Bytes go on in writes of at most so many, each of its own."""
        writes, write = [], Connection.writeSomeData

        def write_some(transport: Any, data: Any) -> Any:
            if transport.getPeer().port == self.listener.getHost().port:
                writes.append(bytes(data))
            return write(transport, data)

        self.patch(Connection, "writeSomeData", write_some)
        client, target = await self.pair()
        self.proxy.slice_bytes = 4
        client.transport.write(b"abcdefghij")
        await target.gets(b"abcdefghij")
        self.assertEqual(writes, [b"abcd", b"efgh", b"ij"])
        self.assertEqual(self.proxy.passed[TO_TARGET], 10)

    async def test_delay(self) -> None:
        """Bytes and a close go on so many seconds after they came, not one after the other."""
        client, target = await self.pair()
        self.proxy.delay, begin = 0.3, reactor.seconds()
        for number in range(20):
            client.transport.write(b"x")
            await self.received(TO_TARGET, number + 1)
        self.assertEqual(target.got, b"")
        await target.gets(b"x" * 20)
        closing = reactor.seconds()
        client.transport.loseConnection()
        self.assertGreaterEqual(closing - begin, 0.3)
        self.assertLess(closing - begin, 3)
        await target.ends()
        self.assertGreaterEqual(reactor.seconds() - closing, 0.3)

    async def test_delay_ends(self) -> None:
        """A shorter delay is one for the bytes that are on their way, too."""
        client, target = await self.pair()
        self.proxy.delay = 60
        client.transport.write(b"late")
        await self.received(TO_TARGET, 4)
        await self.settled()
        self.proxy.delay = 0.01
        await target.gets(b"late")

    async def test_jitter(self) -> None:
        """A random part of this is added for what came at once, from the generator that is given; the order stays."""
        luck = Luck([0.0, 0.003, 0.0])
        self.start(reactor, random=luck, jitter=60)
        client, target = await self.pair(b"a")
        await target.gets(b"a")
        begin = reactor.seconds()
        client.transport.write(b"b")
        await self.received(TO_TARGET, 2)
        client.transport.write(b"c")
        await self.received(TO_TARGET, 3)
        self.assertEqual(target.got, b"a")
        await target.gets(b"abc")
        self.assertGreaterEqual(reactor.seconds() - begin, 0.18)
        same = [FaultProxy(reactor, 0).random.random() for _ in range(2)]
        self.assertEqual(same[0], same[1])

    async def test_bytes_per_second(self) -> None:
        """No more than this passes, in either direction, so that a sender of much more gets stuck."""
        client, target = await self.pair()
        self.proxy.bytes_per_second, begin = 10_000, reactor.seconds()
        client.transport.write(bytes(2000))
        target.transport.write(bytes(2000))
        await target.gets(bytes(2000))
        await client.gets(bytes(2000))
        took = reactor.seconds() - begin
        self.assertGreaterEqual(took, 0.17)  # what goes first does not wait
        self.assertLess(took, 2)
        client.transport.write(bytes(20_000_000))
        for _ in range(5):
            await self.settled()
        self.assertLess(self.proxy.received[TO_TARGET], 300_000)
        self.proxy.bytes_per_second = 100_000_000
        await target.gets(bytes(20_002_000))

    async def test_cut(self) -> None:
        """The next bytes of a direction pass, as many as are said; then both sides are reset."""
        for sends, way in enumerate((TO_TARGET, TO_CLIENT)):
            pair = await self.pair(b"before")
            await pair[1].gets(b"before")
            del pair[1].got[:]
            self.proxy.cut_after(7, way)
            pair[1 - sends].transport.write(b"other way, more than seven")
            await pair[sends].gets(b"other way, more than seven")
            pair[sends].transport.write(b"abc")
            await pair[1 - sends].gets(b"abc")
            pair[sends].transport.write(b"defghij")
            await self.assert_reset(*pair)
            self.assertEqual(pair[1 - sends].got, b"abcdefg")

    async def test_cut_of_one(self) -> None:
        """A cut may be that of one connection, and of no byte more."""
        first, second = await self.pair(), await self.pair()
        self.proxy.cut_after(0, TO_CLIENT, connection=1)
        self.assertIs(await first[0].ends(), ConnectionLost)
        self.assertIs(await first[1].ends(), ConnectionLost)
        second[1].transport.write(b"works")
        await second[0].gets(b"works")

    async def test_cut_of_new(self) -> None:
        """A new connection can be cut from its first byte on."""
        self.proxy.when_connected(1).addCallback(lambda _: self.proxy.cut_after(3, TO_TARGET))
        client, target = await self.pair(b"first")
        await self.assert_reset(client, target)
        self.assertEqual(target.got, b"fir")

    async def test_misspelt(self) -> None:
        """A fault that there is not is an error: a test does not go without one unawares."""
        with self.assertRaises(AttributeError):
            self.proxy.blackhole = True


class FrameTests(ProxyTestCase):
    """Faults of AMQP's frames."""

    def setUp(self) -> None:
        super().setUp()
        self.frames: list[Frame] = []
        self.actions: dict[str, Action] = {}
        self.proxy.on_frame = self._judge

    def _judge(self, each: Frame) -> Action:
        self.frames.append(each)
        return self.actions.get(each.name, Action.PASS)

    async def test_frames(self) -> None:
        """The test sees each frame of both directions, whole, also when it came in pieces, and what it is."""
        data = HEADER + TUNE_OK + ACK + CONTENT + BODY + HEARTBEAT
        client, target = await self.pair()
        for number, byte in enumerate(data):
            client.transport.write(bytes([byte]))
            await self.received(TO_TARGET, number + 1)
        await target.gets(data)
        target.transport.write(ACK + NACK)
        await client.gets(ACK + NACK)
        expected = [
            Frame(TO_TARGET, 1, -1, "protocol-header", 0, 0, 0, HEADER),
            Frame(TO_TARGET, 1, 1, "connection.tune-ok", 0, 10, 31, TUNE_OK),
            Frame(TO_TARGET, 1, 1, "basic.ack", 3, 60, 80, ACK),
            Frame(TO_TARGET, 1, 2, "header", 3, 0, 0, CONTENT),
            Frame(TO_TARGET, 1, 3, "body", 3, 0, 0, BODY),
            Frame(TO_TARGET, 1, 8, "heartbeat", 0, 0, 0, HEARTBEAT),
            Frame(TO_CLIENT, 1, 1, "basic.ack", 3, 60, 80, ACK),
            Frame(TO_CLIENT, 1, 1, "basic.nack", 3, 60, 120, NACK),
        ]
        self.assertEqual(self.frames, expected)
        _client, target = await self.pair(HEADER)
        await target.gets(HEADER)
        self.assertEqual(self.frames[-1].connection, 2)

    async def test_incomplete(self) -> None:
        """What is left when a side closes passes too, though it is no frame."""
        client, target = await self.pair(HEADER + ACK[:-1])
        client.transport.loseConnection()
        self.assertIs(await target.ends(), ConnectionDone)
        self.assertEqual(target.got, HEADER + ACK[:-1])

    async def test_drop(self) -> None:
        """A dropped frame is missing, what is around it passes; very many may be dropped in a row."""
        self.actions["basic.ack"] = Action.DROP
        self.proxy.bytes_per_second = 1_000_000
        _client, target = await self.pair(HEADER + ACK * 10_000 + BODY)
        await target.gets(HEADER + BODY)

    async def test_hold(self) -> None:
        """A held frame and all behind it, a close too, wait for a release; the other direction does not."""
        self.actions["basic.ack"] = Action.HOLD
        client, target = await self.pair(HEADER + ACK + BODY + ACK)
        target.transport.write(BODY)
        await client.gets(BODY)
        client.transport.write(NACK)
        client.transport.loseConnection()
        await client.ends()
        await self.settled()
        self.assertEqual(target.got, HEADER)
        self.proxy.release()
        await target.gets(HEADER + ACK + BODY)
        self.assertEqual([each.name for each in self.frames if each.direction is TO_TARGET].count("basic.ack"), 2)
        await self.settled()
        self.assertEqual(target.got, HEADER + ACK + BODY)
        self.proxy.release()
        self.assertIs(await target.ends(), ConnectionDone)
        self.assertEqual(target.got, HEADER + ACK + BODY + ACK + NACK)

    async def test_cut(self) -> None:
        """Half of the frame passes, then both sides are reset; nobody is asked about those behind it."""
        self.actions["basic.ack"] = Action.CUT
        client, target = await self.pair(HEADER + BODY + ACK + NACK)
        await self.assert_reset(client, target)
        self.assertEqual(target.got, HEADER + BODY + ACK[: len(ACK) // 2])
        self.assertEqual(self.frames[-1].name, "basic.ack")

    async def test_reset(self) -> None:
        """What comes before the frame passes, then both sides are reset."""
        self.actions["basic.ack"] = Action.RESET
        client, target = await self.pair()
        target.transport.write(BODY + ACK + NACK)
        await self.assert_reset(client, target)
        self.assertEqual(client.got, BODY)
        self.assertEqual(self.frames[-1].name, "basic.ack")

    async def test_with_other_faults(self) -> None:
        """A test is asked about a frame when no other fault keeps it back; its answer may set one."""
        self.proxy.black_hole = True
        _client, target = await self.pair(HEADER + ACK + NACK)
        await self.received(TO_TARGET, len(HEADER + ACK + NACK))
        await self.settled()
        self.assertEqual(self.frames, [])

        def judge(each: Frame) -> Action:
            self.proxy.slice_bytes = 5
            self.proxy.black_hole = each.name == "basic.nack"
            return Action.PASS

        self.proxy.on_frame = judge
        self.proxy.black_hole = False
        await target.gets(HEADER + ACK)
        await self.settled()
        self.assertEqual(target.got, HEADER + ACK)
        self.proxy.black_hole = False
        await target.gets(HEADER + ACK + NACK)

    async def test_from_the_beginning(self) -> None:
        """A connection that began without on_frame is not read as AMQP; one that began with it can go without it."""
        client, target = await self.pair(HEADER)
        await target.gets(HEADER)
        self.proxy.on_frame = None
        client.transport.write(ACK)
        await target.gets(HEADER + ACK)
        other, other_target = await self.pair(b"GET / HTTP/1.1")
        await other_target.gets(b"GET / HTTP/1.1")
        self.proxy.on_frame = self._judge
        other.transport.write(b"!")
        await other_target.gets(b"GET / HTTP/1.1!")
        client.transport.write(NACK)
        await target.gets(HEADER + ACK + NACK)
        self.assertEqual([each.raw for each in self.frames], [HEADER, NACK])

    async def test_not_amqp(self) -> None:
        """What is not AMQP, as with TLS, is an error and does not wait for the end of a frame; so is no answer."""
        client = await self.client(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        await client.ends()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        answerless: Any = self.frames.append
        self.proxy.on_frame = answerless
        await self.client(HEADER)
        await self.proxy.when_connected(2)
        await self.settled()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
