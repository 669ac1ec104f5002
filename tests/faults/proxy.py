"""A TCP proxy on loopback, in the test's own reactor, whose faults a test switches while connections run through it."""

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
#: What becomes of a frame. HOLD keeps it and those behind it until the release, CUT resets both sides after half of it.
Action = Enum("Action", ["PASS", "DROP", "HOLD", "CUT", "RESET"])


class Frame(NamedTuple):
    """A frame of AMQP 0-9-1, or the protocol header that a client begins with."""

    direction: Direction
    connection: int  #: its number, from 1
    kind: int  #: the frame's type, -1 for the protocol header
    name: str  #: of a method "basic.consume-ok" or the like; else "header", "body", "heartbeat" or "protocol-header"
    channel: int
    class_id: int  #: of a method, else 0
    method_id: int
    raw: bytes

    @classmethod
    def take(cls, direction: Direction, connection: int, data: bytearray) -> Frame | None:
        """Take the first frame off the data, if it is complete."""
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
    """Passes each connection on to a port on loopback, with the faults that a test sets.

    A fault that is set or changed takes effect at once, for the connections there are and for new ones. A close or a
    reset of one side is passed on too, behind the bytes that came before it. ``on_frame`` says what becomes of an AMQP
    frame that no other fault keeps back. Only connections that begin while it is set are read as AMQP; for these it may
    be changed, and None passes all.
    """

    reactor: Any
    target_port: int
    random: Random = field(default_factory=lambda: Random(0))  #: for the jitter
    _clients: list[_Side] = field(default_factory=list, init=False)
    refuse: bool = False  #: reset new connections at once
    black_hole: bool = False  #: keep all bytes, and closes; they go on when this is False again
    stop_reading: bool = False  #: leave bytes in the sockets, until these are full and the sender can send no more
    slice_bytes: int | None = None  #: at most so many bytes in one write; a busy receiver may read several at once
    delay: float = 0.0  #: seconds after which bytes, and closes, go on
    jitter: float = 0.0  #: up to so many seconds more, at random; the order stays
    bytes_per_second: float | None = None  #: of each connection, in each direction
    directions: Collection[Direction] = tuple(Direction)  #: those that the faults from black_hole to here are for
    on_frame: Callable[[Frame], Action] | None = None
    port: int = field(default=0, init=False)  #: where it listens; the same one after a stop and another start
    accepted: int = field(default=0, init=False)  #: connections that there were; the number of the newest one
    refused: int = field(default=0, init=False)
    received: Counter[Direction] = field(default_factory=Counter, init=False)  #: bytes that came in, of all connections
    passed: Counter[Direction] = field(default_factory=Counter, init=False)  #: bytes that went on
    _waiting: list[tuple[Callable[[], bool], Deferred[None]]] = field(default_factory=list, init=False)
    _listener: Any = field(default=None, init=False)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # thanks to the slots, a misspelt fault is an error
        for side in self._sides():
            side.pump()

    @property
    def connections(self) -> int:
        """How many connections there are; one ends with the second of its sides."""
        return len(self._clients)

    def start(self) -> None:
        """Listen, and pass connections on."""
        factory = Factory.forProtocol(lambda: _Side(self, Direction.TO_TARGET))
        factory.noisy = False
        self._listener = self.reactor.listenTCP(self.port, factory, interface=HOST)
        self.port = self._listener.getHost().port

    def stop(self) -> Deferred[Any]:
        """Listen no more and reset all connections; the Deferred fires when they are gone."""
        closed = maybeDeferred(self._listener.stopListening)
        self.reset()
        return gatherResults([closed, self.when(lambda: not self._clients)])

    def reset(self) -> None:
        """Reset both sides of every connection now; what has not gone on is lost."""
        for client in list(self._clients):
            client.reset()

    def cut_after(self, count: int, direction: Direction, connection: int | None = None) -> None:
        """Reset both sides when so many more bytes have passed, of each connection there is or of one."""
        for side in self._sides():
            if side.direction is direction and connection in {None, side.number}:
                side.allowance = count
                side.pump()

    def release(self) -> None:
        """Let the held frames go on; ``on_frame`` is then asked about those behind them."""
        for side in self._sides():
            side.held = False
            side.pump()

    def when_connected(self, count: int) -> Deferred[None]:
        """A Deferred that fires when there were so many connections, without the refused ones."""
        return self.when(lambda: self.accepted >= count)

    def when(self, found: Callable[[], bool]) -> Deferred[None]:
        """A Deferred that fires when a function is true, which is asked as bytes and connections come and go."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append((found, waiting))
        self.check()
        return waiting

    def check(self) -> None:
        """Forget the connections that are gone, and tell those who wait."""
        self._clients[:] = [client for client in self._clients if not (client.gone and client.peer.gone)]
        found = [each for each in self._waiting if each[0]()]
        self._waiting[:] = [each for each in self._waiting if each not in found]
        for _, waiting in found:
            waiting.callback(None)

    def _sides(self) -> list[_Side]:
        return [side for client in getattr(self, "_clients", ()) for side in (client, client.peer)]


#: Stands for a proxy in the directions that its faults are not for.
HEALTHY = FaultProxy(None, 0)


class _Side(Protocol):
    """One side of a connection, and what has come from it and waits to be written to its peer, the other side."""

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
        self._queue: deque[tuple[float, float, bytes | Frame | Callable[[], None]]] = deque()

    def connectionMade(self) -> None:
        self.tcp = self.transport
        self.tcp.setTcpNoDelay(True)
        self.tcp.registerProducer(self.peer, False)  # tells the peer whenever everything is sent
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
            while frame := Frame.take(self.direction, self.number, self._amqp):
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
        """Pass on what may go now; let the sender go on or wait."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        while (self._queue or self.allowance == 0) and not (
            self._dropped or self._busy or self.held or self._timer or self._faults.black_hole or self.peer.tcp is None
        ):
            step = self.reset if self.allowance == 0 else self._next
            step()
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
        elif isinstance(data, Frame):
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

    def _judge(self, frame: Frame) -> None:
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

    def _put(self, data: bytes | Frame | Callable[[], None], size: int = 0) -> None:
        if data and not self._dropped:
            self._queue.append((self.proxy.reactor.seconds(), self.proxy.random.random(), data))
            self._backlog += size
            self.pump()

    def _close(self) -> None:
        self.peer.tcp.unregisterProducer()
        self.peer.tcp.loseConnection()
