"""A TCP proxy on loopback in the test's own reactor; a test switches its faults while connections are open."""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from pika.frame import decode_frame
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from twisted.python.failure import Failure

HOST = "127.0.0.1"
HIGH_WATER = 65536  #: with more bytes waiting for a slow receiver or a narrow line, the sender has to wait too
TICK = 0.02  #: seconds after which a narrow line passes on the next bytes

Direction = Enum("Direction", ["TO_TARGET", "TO_CLIENT"])
#: What happens to a frame. HOLD keeps it and all later ones until the release; CUT resets both sides after half of it.
Action = Enum("Action", ["PASS", "DROP", "HOLD", "CUT", "RESET"])


class Frame(NamedTuple):
    """A frame of AMQP 0-9-1, or the protocol header at the beginning."""

    direction: Direction
    connection: int  #: the number of its connection, from 1
    kind: int  #: type of the frame; -1 for the protocol header
    name: str  #: a method's name, such as "basic.consume-ok"; else "header", "body", "heartbeat" or "protocol-header"
    channel: int
    class_id: int  #: of a method; else 0
    method_id: int
    raw: bytes

    @classmethod
    def take(cls, direction: Direction, connection: int, data: bytearray) -> Frame | None:
        """Remove the first frame from the data if it is complete."""
        if data and data[0] not in b"\1\2\3\x08A":
            msg = f"on_frame takes AMQP without TLS, from the first byte on, not: {bytes(data[:32])!r}"
            raise ValueError(msg)
        size, value = decode_frame(bytes(data))
        if value is None:
            return None
        raw, method = bytes(data[:size]), getattr(value, "method", None)
        del data[:size]
        name = re.sub("(?<=[a-z])(?=[A-Z])", "-", (method or value).NAME).lower()
        class_id, method_id = divmod(method.INDEX if method else 0, 65536)
        channel = getattr(value, "channel_number", 0)
        return cls(direction, connection, value.frame_type, name, channel, class_id, method_id, raw)


@dataclass(slots=True, eq=False)
class FaultProxy:
    """Forwards each connection to a port on loopback, with the faults that a test sets.

    A fault takes effect at once when it is set or changed, for open and for new connections. A close or reset of one
    side is forwarded behind the bytes that came before it. ``on_frame`` decides about each AMQP frame that no other
    fault holds back. A connection is read as AMQP only if ``on_frame`` is set when it begins; it may be changed later,
    and None lets all frames pass.
    """

    reactor: Any
    target_port: int
    random: Random = field(default_factory=lambda: Random(0))  #: for the jitter
    _clients: list[_Side] = field(default_factory=list, init=False)
    refuse: bool = False  #: reset new connections
    black_hole: bool = False  #: hold all bytes and closes until this is False again
    stop_reading: bool = False  #: do not read: the sockets fill up, and the sender has to wait
    slice_bytes: int | None = None  #: bytes in one write, at most; a busy receiver may read several at once
    delay: float = 0.0  #: seconds by which bytes and closes are delayed
    jitter: float = 0.0  #: a random additional delay of up to this many seconds; the order stays
    bytes_per_second: float | None = None  #: for each connection and direction
    directions: Collection[Direction] = tuple(Direction)  #: where the faults from black_hole to bytes_per_second apply
    on_frame: Callable[[Any], Action] | None = None
    take: Callable[[Direction, int, bytearray], Any] = Frame.take  #: removes the first frame of another protocol
    port: int = field(default=0, init=False)  #: where it listens; stays the same after stop() and start()
    accepted: int = field(default=0, init=False)  #: connections so far; also the number of the newest one
    refused: int = field(default=0, init=False)
    received: Counter[Direction] = field(default_factory=Counter, init=False)  #: bytes received, of all connections
    passed: Counter[Direction] = field(default_factory=Counter, init=False)  #: bytes forwarded
    _waiting: list[tuple[Callable[[], bool], Deferred[None]]] = field(default_factory=list, init=False)
    _listener: Any = field(default=None, init=False)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # with slots, a misspelt fault is an AttributeError
        for side in self._sides():
            side.pump()

    @property
    def connections(self) -> int:
        """The number of open connections; a connection ends when both sides have."""
        return len(self._clients)

    def start(self) -> None:
        """Listen, and forward connections."""
        factory = Factory.forProtocol(lambda: _Side(self, Direction.TO_TARGET))
        factory.noisy = False
        self._listener = self.reactor.listenTCP(self.port, factory, interface=HOST)
        self.port = self._listener.getHost().port

    def stop(self) -> Deferred[Any]:
        """Stop listening and reset all connections; the Deferred fires when they are gone."""
        closed = maybeDeferred(self._listener.stopListening)
        self.reset()
        return gatherResults([closed, self.when(lambda: not self._clients)])

    def reset(self) -> None:
        """Reset both sides of every connection now; held bytes are lost."""
        for client in list(self._clients):
            client.reset()

    def cut_after(self, count: int, direction: Direction, connection: int | None = None) -> None:
        """Reset both sides after this many more bytes, of one connection or of each open one."""
        for side in self._sides():
            if side.direction is direction and connection in {None, side.number}:
                side.allowance = count
                side.pump()

    def release(self) -> None:
        """Forward the held frames; ``on_frame`` is then asked about the later ones."""
        for side in self._sides():
            side.held = False
            side.pump()

    def when_connected(self, count: int) -> Deferred[None]:
        """A Deferred that fires when this many connections were accepted, without refused ones."""
        return self.when(lambda: self.accepted >= count)

    def when(self, found: Callable[[], bool]) -> Deferred[None]:
        """A Deferred that fires when a function returns true; it is called after each event of a connection."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append((found, waiting))
        self.check()
        return waiting

    def check(self) -> None:
        """Forget ended connections, and fire the Deferreds whose conditions are met."""
        self._clients[:] = [client for client in self._clients if not (client.gone and client.peer.gone)]
        found = [each for each in self._waiting if each[0]()]
        self._waiting[:] = [each for each in self._waiting if each not in found]
        for _, waiting in found:
            waiting.callback(None)

    def _sides(self) -> list[_Side]:
        return [side for client in getattr(self, "_clients", ()) for side in (client, client.peer)]


#: The settings for directions in which no fault applies.
HEALTHY = FaultProxy(None, 0)


class _Side(Protocol):
    """One side of a connection, and the bytes from it that wait to be written to its peer, the other side."""

    tcp: Any = None
    number = 0
    allowance: int | None = None
    _connecting: Deferred[Any] = succeed(None)
    gone = held = _dropped = _busy = _paused = False
    _backlog, _free_at = 0, 0.0
    _timer: Any = None

    def __init__(self, proxy: FaultProxy, direction: Direction, peer: _Side | None = None) -> None:
        self.proxy, self.direction = proxy, direction
        self.peer: _Side = peer or _Side(proxy, Direction.TO_CLIENT, self)
        self._amqp = bytearray() if proxy.on_frame else None
        self._queue: deque[tuple[float, float, Any]] = deque()

    def connectionMade(self) -> None:
        self.tcp = self.transport
        self.tcp.setTcpNoDelay(True)
        self.tcp.registerProducer(self.peer, False)  # calls the peer whenever all bytes are sent
        if self.direction is Direction.TO_TARGET:
            self._connect()
        self.pump()

    def _connect(self) -> None:
        proxy, peer = self.proxy, self.peer
        proxy._clients.append(self)
        if proxy.refuse:
            proxy.refused += 1
            peer.gone = True
            self.reset()
        else:
            proxy.accepted += 1
            self.number = peer.number = proxy.accepted
            endpoint = TCP4ClientEndpoint(proxy.reactor, HOST, proxy.target_port)
            self._connecting = connectProtocol(endpoint, peer).addErrback(peer.connectionLost)
        proxy.check()

    def dataReceived(self, data: bytes) -> None:
        self.proxy.received[self.direction] += len(data)
        if self._amqp is None:
            self._put(data, len(data))
        else:
            self._amqp += data
            while frame := self.proxy.take(self.direction, self.number, self._amqp):
                self._put(frame, len(frame.raw))
        self.proxy.check()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone = True
        self._put(bytes(self._amqp or b""), len(self._amqp or b""))
        self._put(self._close if reason.check(ConnectionDone) else self.reset)
        self.peer.drop()
        self.proxy.check()

    def resumeProducing(self) -> None:
        self._busy = False
        self.pump()
        self.proxy.check()

    def stopProducing(self) -> None: ...

    def reset(self) -> None:
        self.drop()
        self.peer.drop()
        for side in (self, self.peer):
            side._connecting.cancel()
            if side.tcp is not None:
                side.tcp.abortConnection()

    def drop(self) -> None:
        self._dropped = True
        self.pump()

    def pump(self) -> None:
        """Forward the bytes that may pass now; pause or resume the sender."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        while (self._queue or self.allowance == 0) and not (
            self._dropped or self._busy or self.held or self._timer or self._faults.black_hole or self.peer.tcp is None
        ):
            (self.reset if self.allowance == 0 else self._next)()
        full = self._backlog > HIGH_WATER and (self._busy or self._faults.bytes_per_second is not None)
        pause = full or self._faults.stop_reading
        if self.tcp is not None and pause is not self._paused:
            self._paused = pause
            (self.tcp.pauseProducing if pause else self.tcp.resumeProducing)()

    @property
    def _faults(self) -> FaultProxy:
        return self.proxy if self.direction in self.proxy.directions else HEALTHY

    def _next(self) -> None:
        faults, rate, now = self._faults, self._faults.bytes_per_second, self.proxy.reactor.seconds()
        arrived, luck, data = self._queue.popleft()
        wait = max(arrived + faults.delay + luck * faults.jitter, self._free_at if rate else 0) - now
        if wait > 0:
            self._queue.appendleft((arrived, luck, data))
            self._timer = self.proxy.reactor.callLater(wait, self.pump)
        elif isinstance(data, tuple):
            self._judge(data)
        elif callable(data):
            data()
        else:
            limits = (len(data), faults.slice_bytes, self.allowance, rate and max(1, int(rate * TICK)))
            size = min(int(limit) for limit in limits if limit)
            if size < len(data):
                self._queue.appendleft((arrived, luck, data[size:]))
            self._free_at = now + size / rate if rate else 0
            self.allowance = self.allowance and self.allowance - size
            self._backlog -= size
            self.proxy.passed[self.direction] += size
            self._busy = True
            self.peer.tcp.write(data[:size])

    def _judge(self, frame: Any) -> None:
        self._busy = True
        try:
            action = Action(self.proxy.on_frame(frame)) if self.proxy.on_frame else Action.PASS
        finally:
            self._busy = False
        if action is Action.DROP:
            self._backlog -= len(frame.raw)
            return
        self.allowance = {Action.CUT: len(frame.raw) // 2, Action.RESET: 0}.get(action, self.allowance)
        self.held = action is Action.HOLD
        self._queue.appendleft((0.0, 0.0, frame.raw))

    def _put(self, data: Any, size: int = 0) -> None:
        if data and not self._dropped:
            self._queue.append((self.proxy.reactor.seconds(), self.proxy.random.random(), data))
            self._backlog += size
            self.pump()

    def _close(self) -> None:
        self.peer.tcp.unregisterProducer()
        self.peer.tcp.loseConnection()
