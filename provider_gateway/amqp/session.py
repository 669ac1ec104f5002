"""One AMQP connection from its first byte to its last, around pika's Twisted protocol.

pika keeps the protocol's state. The session adds what pika leaves out:

- Nagle's algorithm is off.
- The cause of a loss is known: the broker's words, or the error of TCP or TLS.
- A close that the broker does not answer is aborted. So is the connection of a silent broker.
- ``connection.blocked``, and a count of unsent bytes (:class:`.Outbox`).
- An error in pika's decoder ends this connection only.
- Messages bypass pika: :class:`.MessageChannel` writes and reads their frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika import spec
from pika.adapters.twisted_connection import TwistedProtocolConnection
from pika.exceptions import AMQPError
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from provider_gateway.amqp.channels import Channels
from provider_gateway.amqp.frames import END_MARK, FrameBuffer
from provider_gateway.amqp.handshake import Handshake
from provider_gateway.amqp.outbox import Outbox
from provider_gateway.amqp.silence import Silence
from provider_gateway.deferreds import Waiters, shield
from provider_gateway.net.eager_tcp import send_at_once
from provider_gateway.net.failure_reasons import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import pika
    from pika.adapters.twisted_connection import TwistedChannel
    from pika.frame import Method
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from provider_gateway.amqp.message_channel import MessageChannel

#: Seconds from the begin of a close until the transport is aborted.
CLOSE_GRACE = 2.0


class ConnectionLost(Exception):
    """The AMQP connection is gone; the text says why.

    Attributes:
        close: the method with which the broker closed it; None if it was lost in another way.
    """

    def __init__(self, text: str, close: spec.Connection.Close | None = None) -> None:
        super().__init__(text)
        self.close = close


class _TransportForPika:
    """The transport that pika sees.

    Args:
        write: called with bytes to send.
        drop: called when pika loses the connection on purpose.
    """

    def __init__(self, write: Callable[[bytes], None], drop: Callable[[], None]) -> None:
        self.write = write
        self.loseConnection = drop


class Session(Protocol):
    """One AMQP connection.

    Args:
        parameters: pika's: login, virtual host, heartbeat.
        clock: times the broker's silence and the end of a close.

    Attributes:
        channels: the channels of this connection.
        blocked: True while the broker blocks publishing (``connection.blocked``).
        outbox: what is to be sent.
        max_body: the broker's ``max_message_size``, once it has named it; more than any body before.
        on_unblocked: called when ``blocked`` becomes False, and when the transport's buffer is empty again.
    """

    transport: Any  # TCP, or TLS over TCP, with methods that ITransport lacks; None once lost
    _log = Logger()

    def __init__(self, parameters: pika.ConnectionParameters, clock: IReactorTime) -> None:
        self._clock = clock
        self._amqp = TwistedProtocolConnection(parameters, custom_reactor=clock)
        assert self._amqp.ready is not None
        self._ready: Deferred[object] = self._amqp.ready
        self._connection: Any = None  # pika's, once it is open
        self._frames: FrameBuffer | None = FrameBuffer()
        #: None once the handshake is over.
        self._handshake: Handshake | None = Handshake()
        self._cause: str | None = None
        #: The broker's Close, once the connection was open.
        self._close: spec.Connection.Close | None = None
        self._closing = False
        self._dropped = False
        self._abort_call: IDelayedCall | None = None
        self._silence = Silence(clock, self._is_silent)
        self.blocked = False
        self.outbox = Outbox(clock, self._send)
        self.channels = Channels(self._amqp, self.outbox)
        self._message_channels = self.channels.with_messages
        self.max_body = 2**63
        self.on_unblocked: Callable[[], None] = lambda: None
        self._lost: ConnectionLost | None = None
        self._waiting_for_loss: Waiters[ConnectionLost] = Waiters()

    def connectionMade(self) -> None:
        """Start the AMQP handshake (twisted.internet.interfaces.IProtocol)."""
        send_at_once(self.transport)
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        self.transport.registerProducer(self, True)
        wire: Any = _TransportForPika(self.outbox.write, self._drop)
        self._amqp.makeConnection(wire)

    def pauseProducing(self) -> None:
        """The transport's buffer is full: the broker is slow or frozen (twisted.internet.interfaces.IPushProducer)."""
        self.outbox.pause()

    def resumeProducing(self) -> None:
        """The transport's buffer is empty again (twisted.internet.interfaces.IPushProducer)."""
        self.outbox.resume()
        self.on_unblocked()

    def stopProducing(self) -> None:
        """The connection is lost; :meth:`connectionLost` does the rest (twisted.internet.interfaces.IProducer)."""

    async def open(self) -> None:
        """Wait for the end of the AMQP handshake.

        Raises:
            ConnectionLost: the broker refused the login, or the connection is gone; the text says why.
        """
        try:
            await shield(self._ready)
            connection = await self.channels.begin()
        except (AMQPError, ConnectionLost) as error:
            raise ConnectionLost(str(self._lost or error)) from None
        self._handshake = None
        self._connection = connection
        connection.callbacks.add(0, spec.Connection.Close, self._closed_by_broker)
        connection.add_on_connection_blocked_callback(self._block)
        connection.add_on_connection_unblocked_callback(self._unblock)
        heartbeat: Any = connection.params.heartbeat  # as agreed on with the broker
        if heartbeat:
            self._silence.watch(2.0 * heartbeat)

    async def channel(self) -> TwistedChannel:
        """Open a channel."""
        return await self.channels.open()

    async def message_channel(self) -> MessageChannel:
        """Open a channel for messages."""
        return await self.channels.open_with_messages()

    @property
    def offered(self) -> tuple[str, ...]:
        """The SASL mechanisms that the broker offers; empty before it has said so, and once the connection is open."""
        return () if self._handshake is None else self._handshake.mechanisms

    @property
    def is_open(self) -> bool:
        """True until the transport is lost or :meth:`close` is called."""
        return self._lost is None and not self._closing

    def when_lost(self) -> Deferred[ConnectionLost]:
        """A Deferred that fires with the reason when the transport is lost (at once, if it is)."""
        return self._waiting_for_loss.wait() if self._lost is None else succeed(self._lost)

    def close(self) -> Deferred[ConnectionLost]:
        """Close the connection in order (Close, Close-Ok). Abort it after ``CLOSE_GRACE`` seconds.

        Returns:
            A Deferred that fires when the transport is lost.
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
        """Drop the connection now, without telling the broker."""
        if self.transport is not None:
            self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Take the broker's bytes; an error in them ends the connection (twisted.internet.interfaces.IProtocol)."""
        self._silence.heard = self._clock.seconds()
        if self._lost is not None:
            return  # closed by the broker
        if self._handshake is not None:
            self._handshake.add(data)
            if self._handshake.is_impossible:
                self.abort()
                return
        try:
            self._dispatch(data)
        except Exception as error:  # noqa: BLE001 - pika's decoder may raise anything
            self._log.failure("pika could not handle the broker's data; the connection is dropped")
            self._cause = f"undecodable data: {type(error).__name__}: {error}"
            self.abort()

    def _dispatch(self, data: bytes) -> None:
        """Give the frames of messages to their channels and all others to pika, in the order of their arrival."""
        if self._frames is None:
            self._amqp.dataReceived(data)
            return
        if self._connection is not None:
            self._connection.bytes_received += len(data)  # pika looks at it to find out if the broker is silent
        for each in self._frames.add(data, self._message_channels):
            if not each.kind:
                self._frames = None  # from here on, pika finds out what is wrong
            channel = self._message_channels.get(each.channel)
            # A frame without its end mark is for pika, too: it raises the error.
            if channel is None or each.data[-1:] != END_MARK or not channel.take(each):
                self._amqp.dataReceived(bytes(each.data))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone, and with it the session, if not before (twisted.internet.interfaces.IProtocol)."""
        if self._abort_call is not None and self._abort_call.active():
            self._abort_call.cancel()
        self.transport = None
        self._end(reason.value)

    def _end(self, reason: BaseException | None) -> None:
        """Tell pika and those who wait (:meth:`when_lost`) the cause, once."""
        if self._lost is not None:
            return
        self._silence.stop()
        cause = self._cause
        if cause is None and self._handshake is not None:
            cause = self._handshake.refusal
        if cause is None and self._closing:
            cause = "closed by us"
        if cause is None and self._handshake is not None:
            cause = self._handshake.why_ended(reason, was_dropped=self._dropped)
        error = self._lost = ConnectionLost(cause or reason_of(reason), self._close)
        self.outbox.clear()
        self._ready.addErrback(lambda _: None)  # nobody waits for the handshake any more
        self._amqp.connectionLost(Failure(error))
        self._waiting_for_loss.fire(error)

    def _is_silent(self, seconds: float) -> None:
        self._cause = f"no heartbeat from the broker for {seconds:g} s"
        self.abort()

    def _closed_by_broker(self, method: Method[Any]) -> None:
        self._close = method.method
        self._cause = f"closed by the broker: {method.method.reply_code} {method.method.reply_text}"
        # Not when the transport is lost: with TLS that takes seconds, and nothing can be sent or received any more.
        self._clock.callLater(0, self._end, ConnectionDone())

    def _block(self, _connection: Any, method: Method[Any]) -> None:
        self.blocked = True
        self._log.warn("The broker blocks publishers: {reason}", reason=str(method.method.reason))

    def _unblock(self, _connection: Any, _method: Method[Any]) -> None:
        self.blocked = False
        self._log.info("The broker accepts messages again")
        self.on_unblocked()

    def _send(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def _drop(self) -> None:
        """Close the transport, as pika asks. Abort it after ``CLOSE_GRACE`` seconds.

        A frozen broker never answers a close of TLS. A close of TCP waits for unsent bytes.
        """
        self._dropped = True
        if self.transport is None:
            return
        self.outbox.flush()
        self.transport.unregisterProducer()  # else TLS would wait for the producer to finish
        self.transport.loseConnection()
        if self._abort_call is None:
            self._abort_call = self._clock.callLater(CLOSE_GRACE, self.abort)
