"""A scripted AMQP 0-9-1 broker for tests: real pika on our side, real frames, no socket.

It answers the handshake and every declaration as RabbitMQ does. A test changes these answers, reads what the client
sent, and sends methods of its own. Nothing moves before :meth:`Peer.pump` is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pika
from pika import frame, spec
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from provider_gateway.amqp.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IProtocol
    from twisted.internet.task import Clock

HEARTBEAT = 30
CAPABILITIES = {
    "publisher_confirms": True,
    "consumer_cancel_notify": True,
    "basic.nack": True,
    "connection.blocked": True,
    "exchange_exchange_bindings": True,
    "authentication_failure_close": True,
}
#: The broker's answer to each method. A test may replace it; None means no answer.
ANSWERS: dict[type, Callable[[Any], Any] | None] = {
    spec.Connection.StartOk: lambda _: spec.Connection.Tune(2047, 131072, HEARTBEAT),
    spec.Connection.Open: lambda _: spec.Connection.OpenOk(),
    spec.Connection.Close: lambda _: spec.Connection.CloseOk(),
    spec.Channel.Open: lambda _: spec.Channel.OpenOk(),
    spec.Channel.Close: lambda _: spec.Channel.CloseOk(),
    spec.Confirm.Select: lambda _: spec.Confirm.SelectOk(),
    spec.Basic.Qos: lambda _: spec.Basic.QosOk(),
    spec.Basic.Consume: lambda method: spec.Basic.ConsumeOk(method.consumer_tag),
    spec.Basic.Cancel: lambda method: spec.Basic.CancelOk(method.consumer_tag),
    spec.Exchange.Declare: lambda _: spec.Exchange.DeclareOk(),
    spec.Queue.Declare: lambda method: spec.Queue.DeclareOk(method.queue, 0, 0),
    spec.Queue.Bind: lambda _: spec.Queue.BindOk(),
}


class Seen(NamedTuple):
    """A method that the client sent."""

    channel: int
    method: Any


class Published:
    """A message that the client published."""

    def __init__(self, channel: int, method: spec.Basic.Publish) -> None:
        self.channel = channel
        self.method = method
        self.properties = spec.BasicProperties()
        self.body = b""


class PeerTransport(StringTransport):
    """A transport between a session and a peer.

    Attributes:
        stuck: True if bytes are unsent: the transport can then be aborted, but not closed.
        aborted: True once it was aborted.
    """

    stuck = False
    aborted = False
    no_delay = False
    keep_alive = False
    ended = False

    def __init__(self, clock: Clock, protocol: IProtocol) -> None:
        super().__init__()
        self._clock = clock
        self._protocol = protocol

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802 - Twisted's name
        self.no_delay = enabled

    def setTcpKeepAlive(self, enabled: bool) -> None:  # noqa: N802 - Twisted's name
        self.keep_alive = enabled

    def loseConnection(self) -> None:
        super().loseConnection()
        if not self.stuck:
            self.end(ConnectionDone())

    def abortConnection(self) -> None:  # noqa: N802 - Twisted's name
        self.aborted = True
        self.disconnecting = True
        self.end(ConnectionAborted())

    def end(self, reason: Exception) -> None:
        """Report the end of the connection to the protocol: once, and in a later turn of the clock."""
        if not self.ended:
            self.ended = True
            self._clock.callLater(0, self._protocol.connectionLost, Failure(reason))


class Peer:
    """A broker at the other end of one connection.

    Args:
        protocol: the client's side: a session, or a protocol that wraps a session.

    Attributes:
        seen: every method that the client sent, in order.
        published: every message that the client published, in order.
        answers: the answer to each method, see :data:`ANSWERS`.
        frozen: True while the broker neither reads nor answers.
    """

    def __init__(self, clock: Clock, protocol: Any) -> None:
        self.clock = clock
        self.protocol = protocol
        self.transport = PeerTransport(clock, protocol)
        self.seen: list[Seen] = []
        self.published: list[Published] = []
        self.answers = dict(ANSWERS)
        self.mechanisms = b"PLAIN EXTERNAL"
        self.frozen = False
        self._unread = b""

    def connect(self) -> None:
        """Make the TCP connection; the handshake begins with the next pump."""
        self.protocol.makeConnection(self.transport)

    def pump(self) -> None:
        """Read what the client sent and answer it, until both sides are quiet."""
        self.clock.advance(0)
        while not self.frozen and self._read():
            self.clock.advance(0)

    def send(self, method: Any, channel: int = 0, *content: frame.Frame) -> None:
        """Send a method, with its content if there is some, and pump until both sides are quiet."""
        frames = (frame.Method(channel, method), *content)
        self.receive(b"".join(each.marshal() for each in frames))

    @staticmethod
    def marshal(method: Any, channel: int = 0) -> bytes:
        """The bytes of a method."""
        data: bytes = frame.Method(channel, method).marshal()
        return data

    def receive(self, data: bytes) -> None:
        """Give raw bytes to the client, unless the connection has ended."""
        if not self.transport.ended:
            self.protocol.dataReceived(data)
        self.pump()

    def deliver(
        self,
        body: bytes,
        tag: int,
        properties: spec.BasicProperties | None = None,
        *,
        exchange: str | bytes = "",
        routing_key: str | bytes | None = None,
    ) -> None:
        """Send a message to the consumer that was registered last."""
        channel, consume = [each for each in self.seen if isinstance(each.method, spec.Basic.Consume)][-1]
        key = consume.queue if routing_key is None else routing_key
        method = spec.Basic.Deliver(consume.consumer_tag, tag, False, exchange, key)
        self.send(method, channel, *content(channel, body, properties or spec.BasicProperties()))

    def give_back(self, message: Published) -> None:
        """Return a message as unrouted; its confirm has to be sent apart."""
        method = spec.Basic.Return(312, "NO_ROUTE", message.method.exchange, message.method.routing_key)
        self.send(method, message.channel, *content(message.channel, message.body, message.properties))

    def lose(self, reason: Exception | None = None) -> None:
        """Drop the TCP connection without closing the AMQP connection."""
        self.transport.end(reason or ConnectionDone())
        self.pump()

    def sent(self, kind: type) -> list[Any]:
        """The methods of one kind that the client sent."""
        return [each.method for each in self.seen if isinstance(each.method, kind)]

    def channel_of(self, kind: type) -> int:
        """The channel that the client sent the last method of a kind on."""
        return [each.channel for each in self.seen if isinstance(each.method, kind)][-1]

    def _read(self) -> bool:
        self._unread += self.transport.value()
        self.transport.clear()
        moved = False
        while self._unread:
            consumed, value = frame.decode_frame(self._unread)
            if value is None:
                break
            self._unread = self._unread[consumed:]
            moved = True
            self._take(value)
        return moved

    def _take(self, value: Any) -> None:
        answer = None
        if isinstance(value, frame.ProtocolHeader):
            properties = {"product": "peer", "capabilities": CAPABILITIES}
            answer = spec.Connection.Start(0, 9, properties, self.mechanisms, b"en_US")
        elif isinstance(value, frame.Header):
            self.published[-1].properties = value.properties
        elif isinstance(value, frame.Body):
            self.published[-1].body += value.fragment
        elif isinstance(value, frame.Method):
            self.seen.append(Seen(value.channel_number, value.method))
            if isinstance(value.method, spec.Basic.Publish):
                self.published.append(Published(value.channel_number, value.method))
            respond = self.answers.get(type(value.method))
            answer = respond(value.method) if respond is not None else None
        if answer is not None and not self.transport.ended:
            whole_connection = answer.NAME.startswith("Connection.")
            channel = 0 if whole_connection else value.channel_number
            self.protocol.dataReceived(frame.Method(channel, answer).marshal())


def content(channel: int, body: bytes, properties: spec.BasicProperties) -> list[frame.Frame]:
    """The frames of a message after its method."""
    frames: list[frame.Frame] = [frame.Header(channel, len(body), properties)]
    return [*frames, frame.Body(channel, body)] if body else frames


def new_peer(clock: Clock, **parameters: Any) -> Peer:
    """The peer of a new session; TCP is connected, the handshake has not begun."""
    peer = Peer(clock, Session(pika.ConnectionParameters(heartbeat=HEARTBEAT, **parameters), clock))
    peer.connect()
    return peer


def open_peer(clock: Clock) -> Peer:
    """The peer of a new session that is open."""
    peer = new_peer(clock)
    run(peer, peer.protocol.open())
    return peer


def run(peer: Peer, coroutine: Any) -> Any:
    """Run a coroutine that talks to the broker until it ends.

    Raises:
        Exception: the exception that the coroutine raises.
    """
    outcome: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(outcome.append)
    peer.pump()
    assert outcome, "the coroutine still waits"
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]
