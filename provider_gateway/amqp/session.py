"""One AMQP connection from its first byte to its last, around pika's Twisted protocol.

pika keeps the protocol's state. Added here is what it leaves out: no Nagle delay, the real cause of a loss, an end of
waiting for peers that never close or have gone silent, ``connection.blocked``, a count of unsent bytes, and errors out
of its decoder; and messages, which have channels that they pass pika by on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika import frame, spec
from pika.adapters.twisted_connection import TwistedChannel, TwistedProtocolConnection
from pika.exceptions import AMQPError
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from provider_gateway.amqp.frames import END_MARK, FrameBuffer
from provider_gateway.amqp.message_channel import MessageChannel
from provider_gateway.amqp.turn_writes import TurnWrites
from provider_gateway.deferreds import Waiters, shield
from provider_gateway.net.eager_tcp import send_at_once
from provider_gateway.net.failure_reasons import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import pika
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds that the broker has to finish a close before the transport is aborted.
CLOSE_GRACE = 2.0


class ConnectionLost(Exception):
    """The AMQP connection is gone; the text says why."""


class _Wire:
    """What pika takes for its transport.

    Args:
        write: takes bytes for the real transport.
        drop: called when pika gives the connection up.
    """

    def __init__(self, write: Callable[[bytes], None], drop: Callable[[], None]) -> None:
        self.write = write
        self.loseConnection = drop


class Session(Protocol):
    """One AMQP connection.

    Args:
        clock: times heartbeats and the end of a close.

    Attributes:
        blocked: True while the broker asks publishers to stop.
        unsent: bytes written since the transport's buffer was full; 0 while it is not.
        on_unblocked: called when the broker takes messages again, after either.
    """

    transport: Any  # TCP or TLS over it, which have what ITransport lacks; None once lost
    _log = Logger()

    def __init__(self, parameters: pika.ConnectionParameters, clock: IReactorTime) -> None:
        self._clock = clock
        self._amqp = TwistedProtocolConnection(parameters, custom_reactor=clock)
        assert self._amqp.ready is not None
        self._ready: Deferred[object] = self._amqp.ready
        self._connection: Any = None  # pika's, once it is open
        self._frames: FrameBuffer | None = FrameBuffer()
        self._message_channels: dict[int, MessageChannel] = {}
        self._witness: bytes | None = b""
        self._cause: str | None = None
        self._closing = False
        self._dropped = False
        self._abort_call: IDelayedCall | None = None
        self._silence: IDelayedCall | None = None
        self._heard = clock.seconds()
        self.blocked = False
        self.unsent = 0
        self._paused = False
        self._writes = TurnWrites(clock, self._send)
        self.on_unblocked: Callable[[], None] = lambda: None
        self._lost: ConnectionLost | None = None
        self._waiting_for_loss: Waiters[ConnectionLost] = Waiters()

    def connectionMade(self) -> None:
        """Start the AMQP handshake (twisted.internet.interfaces.IProtocol)."""
        send_at_once(self.transport)
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        self.transport.registerProducer(self, True)
        wire: Any = _Wire(self._write, self._drop)
        self._amqp.makeConnection(wire)

    def pauseProducing(self) -> None:
        """The transport's buffer is full: the broker is slow, or frozen (twisted.internet.interfaces.IPushProducer)."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The transport's buffer is empty again (twisted.internet.interfaces.IPushProducer)."""
        self._paused = False
        self.unsent = 0
        self.on_unblocked()

    def stopProducing(self) -> None:
        """The connection is lost, which :meth:`connectionLost` deals with (twisted.internet.interfaces.IProducer)."""

    async def open(self) -> None:
        """Wait for the end of the AMQP handshake.

        Raises:
            ConnectionLost: the broker refused or went away; says why.
        """
        try:
            await shield(self._ready)
            connection = (await self.channel()).connection
        except (AMQPError, ConnectionLost) as error:
            raise ConnectionLost(str(self._lost or error)) from None
        self._witness = None
        self._connection = connection
        connection.callbacks.add(0, spec.Connection.Close, self._closed_by_broker)
        connection.add_on_connection_blocked_callback(self._block)
        connection.add_on_connection_unblocked_callback(self._unblock)
        heartbeat: Any = connection.params.heartbeat  # what was agreed on with the broker
        if heartbeat:
            self._watch_silence(2.0 * heartbeat)

    async def channel(self) -> TwistedChannel:
        """A new channel."""
        channel: TwistedChannel = await shield(self._amqp.channel())
        return channel

    async def message_channel(self) -> MessageChannel:
        """A new channel for messages."""
        channel = MessageChannel(await self.channel(), self._write)
        number = channel.channel.channel_number
        self._message_channels[number] = channel

        def closed(reason: object) -> object:
            del self._message_channels[number]
            return reason

        channel.channel.on_closed.addCallback(closed)
        return channel

    @property
    def is_open(self) -> bool:
        """True until the transport is gone or :meth:`close` is called."""
        return self._lost is None and not self._closing

    def when_lost(self) -> Deferred[ConnectionLost]:
        """A Deferred that fires with the reason when the transport is gone (at once, if it is)."""
        return self._waiting_for_loss.wait() if self._lost is None else succeed(self._lost)

    def close(self) -> Deferred[ConnectionLost]:
        """End the connection in order (Close, Close-Ok); aborts it if the broker takes too long.

        Returns:
            A Deferred that fires when the transport is gone.
        """
        if self.is_open:
            self._closing = True
            if self._abort_call is None:
                self._abort_call = self._clock.callLater(CLOSE_GRACE, self.abort)
            if self._amqp.is_open:
                self._amqp.close()
            else:
                self.abort()
        return self.when_lost()

    def abort(self) -> None:
        """Drop the connection now, without a word to the broker."""
        if self.transport is not None:
            self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Hand bytes to pika; what its decoder cannot take ends the connection."""
        self._heard = self._clock.seconds()
        if self._witness is not None:
            self._watch_handshake(data)
        try:
            self._hand_on(data)
        except Exception as error:  # noqa: BLE001 - pika raises whatever its decoder stumbles on
            self._log.failure("pika could not handle the broker's data; the connection is dropped")
            self._cause = f"undecodable data: {type(error).__name__}: {error}"
            self.abort()

    def _hand_on(self, data: bytes) -> None:
        """Hand the frames of messages to their channels, and all others to pika, in order."""
        if self._frames is None:
            self._amqp.dataReceived(data)
            return
        if self._connection is not None:
            self._connection.bytes_received += len(data)  # or pika would find the broker silent
        for each in self._frames.add(data):
            if not each.kind:
                self._frames = None  # pika says what is wrong with it
            channel = self._message_channels.get(each.channel)
            # pika finds fault with a frame that has no end, too.
            if channel is None or not each.data.endswith(END_MARK) or not channel.take(each):
                self._amqp.dataReceived(each.data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell pika, and whoever asked :meth:`when_lost`, with the real cause."""
        for call in (self._abort_call, self._silence):
            if call is not None and call.active():
                call.cancel()
        cause = self._cause
        if cause is None and self._closing:
            cause = "closed by us"
        elif cause is None and self._dropped and self._witness is not None:
            cause = "no agreement in the AMQP handshake; does the broker offer our SASL mechanism?"
        error = self._lost = ConnectionLost(cause or reason_of(reason.value))
        self.transport = None
        self._ready.addErrback(lambda _: None)  # nobody waits for the handshake any more
        self._amqp.connectionLost(Failure(error))
        self._waiting_for_loss.fire(error)

    def _watch_handshake(self, data: bytes) -> None:
        """Find the broker's reason for refusing us, which pika drops; later there is a channel to be told through."""
        assert self._witness is not None
        self._witness += data
        while self._witness:
            try:
                consumed, value = frame.decode_frame(self._witness)
            except Exception:  # noqa: BLE001 - pika will meet the same bytes and say so
                return
            if value is None or not consumed:
                return
            self._witness = self._witness[consumed:]
            if isinstance(value, frame.Method) and isinstance(value.method, spec.Connection.Close):
                self._cause = f"refused by the broker: {value.method.reply_code} {value.method.reply_text}"

    def _watch_silence(self, limit: float) -> None:
        """Drop the connection after so many seconds without a byte, as AMQP 0-9-1 (4.2.7) says; pika takes longer."""
        left = self._heard + limit - self._clock.seconds()
        if left > 0:
            self._silence = self._clock.callLater(left, self._watch_silence, limit)
        else:
            self._cause = f"no heartbeat from the broker for {limit:g} s"
            self.abort()

    def _closed_by_broker(self, method: frame.Method[Any]) -> None:
        self._cause = f"closed by the broker: {method.method.reply_code} {method.method.reply_text}"

    def _block(self, _connection: Any, method: frame.Method[Any]) -> None:
        self.blocked = True
        self._log.warn("The broker blocks publishers: {reason}", reason=str(method.method.reason))

    def _unblock(self, _connection: Any, _method: frame.Method[Any]) -> None:
        self.blocked = False
        self._log.info("The broker accepts messages again")
        self.on_unblocked()

    def _write(self, data: bytes) -> None:
        if self._paused:
            self.unsent += len(data)
        self._writes.write(data)

    def _send(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def _drop(self) -> None:
        """Pika is done with the connection: close it, and abort if the peer does not react.

        A frozen peer never answers a TLS close, and unsent bytes hold up a TCP one.
        """
        self._dropped = True
        if self.transport is None:
            return
        self._writes.flush()
        self.transport.unregisterProducer()  # or TLS would wait for it
        self.transport.loseConnection()
        if self._abort_call is None:
            self._abort_call = self._clock.callLater(CLOSE_GRACE, self.abort)
