"""Both ends of a fault proxy on loopback, for the tests of the proxy."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.faults.proxy import Direction, FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

reactor: Any = global_reactor
TO_TARGET, TO_CLIENT = Direction.TO_TARGET, Direction.TO_CLIENT


class Peer(Protocol):
    """A client or a target that keeps the bytes it receives.

    Attributes:
        got: the bytes received so far.
        reason: why the connection ended; None while it is open.
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
        """Wait until exactly these bytes have been received."""
        await self._when(len(data))
        assert self.got == data, (self.got[:100], self.reason)

    async def ends(self) -> type[BaseException] | None:
        """Wait for the end of the connection; returns the reason."""
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
    """A random generator that returns given numbers."""

    def __init__(self, numbers: list[float]) -> None:
        super().__init__()
        self._numbers = iter(numbers)

    def random(self) -> float:
        return next(self._numbers, 0.0)


class LateReactor:
    """A reactor that delays outgoing connections until the test starts them; meanwhile it is their connector."""

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
    """A proxy, ``self.proxy``, in front of a target; the target's connections are in the queue ``self.targets``."""

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
        """Connect a client that sends these bytes first."""
        client = Peer(first)
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.proxy.port), client)
        return self._ended(client)

    async def target(self) -> Peer:
        """The target's end of the next connection."""
        return self._ended(await self.targets.get())

    async def pair(self, first: bytes = b"") -> tuple[Peer, Peer]:
        """Both ends of a new connection."""
        return await self.client(first), await self.target()

    def _ended(self, peer: Peer) -> Peer:
        self.addCleanup(peer.ends)
        self.addCleanup(peer.transport.abortConnection)
        return peer

    async def received(self, way: Direction, count: int) -> None:
        """Wait until the proxy has received this many bytes in one direction."""
        await self.proxy.when(lambda: self.proxy.received[way] == count)

    async def settled(self) -> None:
        """Wait a few turns of the reactor: on loopback, bytes that may pass have passed then."""
        for _ in range(30):
            await deferLater(reactor, 0)

    async def assert_reset(self, *peers: Peer) -> None:
        """Check that these peers were reset, and that the proxy has no connection."""
        self.assertEqual([await peer.ends() for peer in peers], [ConnectionLost] * len(peers))
        await self.proxy.when(lambda: self.proxy.connections == 0)
