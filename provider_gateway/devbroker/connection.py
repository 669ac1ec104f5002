"""One connection: handshake, heartbeats, channels, back-pressure and close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika import frame, spec
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from provider_gateway.devbroker.channel import Channel
from provider_gateway.devbroker.frames import PROTOCOL_HEADER, FrameReader
from provider_gateway.devbroker.refusals import Refused
from provider_gateway.devbroker.wire import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from provider_gateway.devbroker.faults import Faults
    from provider_gateway.devbroker.limits import Limits
    from provider_gateway.devbroker.login import Login
    from provider_gateway.devbroker.vhost import VirtualHost

HEARTBEAT = 60
#: Stands for a limit of 0, which is none.
_NO_LIMIT = 2**63
#: Seconds for the handshake (RabbitMQ's default), and for the client to finish a close.
HANDSHAKE_TIMEOUT, CLOSE_TIMEOUT = 10.0, 2.0
_HEARTBEAT_FRAME: bytes = frame.Heartbeat().marshal()
_CAPABILITIES = (
    "publisher_confirms", "basic.nack", "consumer_cancel_notify", "connection.blocked", "authentication_failure_close",
    "per_consumer_qos",
)  # fmt: skip
#: The version of RabbitMQ whose behaviour this broker has: a client may choose by it.
_IMITATED = "3.10.8"
_PROPERTIES = {
    "product": "provider-gateway development broker",
    "version": _IMITATED,
    "information": "In memory, for development and tests only",
    "capabilities": dict.fromkeys(_CAPABILITIES, True),
}


@implementer(IPushProducer)
class Connection(Protocol):
    """A connection of a client."""

    transport: Any  # TCP or TLS over it, which have what ITransport lacks
    _log = Logger()

    def __init__(self, vhost: VirtualHost, login: Login, faults: Faults, limits: Limits, clock: IReactorTime) -> None:
        self._vhost = vhost
        self._login = login
        self._faults = faults
        self._limits = limits
        self._frame_max, self._channel_max = limits.frame_max, limits.channel_max
        self._clock = clock
        self._reader = FrameReader()
        self._client: Client
        #: In RabbitMQ's words, which are in its error texts: starting, tuning, opening, running, closing, closed; ""
        #: before the protocol header.
        self._state = ""
        self._channels: dict[int, Channel] = {}
        #: Seconds without a byte after which a client is dropped; None for no limit.
        self._max_silence: float | None = None
        self._deadline: IDelayedCall | None = None
        self._is_held = False
        self._heartbeats = LoopingCall(lambda: self._client.write(_HEARTBEAT_FRAME))
        self._heartbeats.clock = clock
        self._answers: dict[tuple[str, type], Callable[[Any], None]] = {
            ("starting", spec.Connection.StartOk): self._start,
            ("tuning", spec.Connection.TuneOk): self._tune,
            ("opening", spec.Connection.Open): self._open,
            ("closing", spec.Connection.CloseOk): lambda _: self._end(),
        }

    def connectionMade(self) -> None:
        """Wait for the client's protocol header (twisted.internet.interfaces.IProtocol)."""
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self._client = Client(self.transport, self._clock, self._faults, self._end)
        self._set_deadline(HANDSHAKE_TIMEOUT)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes of the client (twisted.internet.interfaces.IProtocol)."""
        if self._state == "running" and not self._is_held:
            self._set_deadline(self._max_silence)
        self._reader.feed(data)
        if not self._state and (header := self._reader.next_header()) is not None:
            self._begin(header)
        if self._state:
            self._read()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        """Release what the client held (twisted.internet.interfaces.IProtocol)."""
        self._release()
        self._state = "closed"
        self._set_deadline(None)

    def pauseProducing(self) -> None:
        """Stop reading and delivering: the transport's buffer is full (twisted.internet.interfaces.IPushProducer)."""
        self._client.is_full = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read and deliver again (twisted.internet.interfaces.IPushProducer)."""
        self._client.is_full = False
        for channel in list(self._channels.values()):
            channel.resume()
        self._read_on()

    def stopProducing(self) -> None:
        """Do nothing: :meth:`connectionLost` follows (twisted.internet.interfaces.IProducer)."""

    def _read_on(self) -> None:
        if not (self._is_held or self._client.is_full or self._state == "closed"):
            self.transport.resumeProducing()
            self._read()

    def _begin(self, header: bytes) -> None:
        if header == PROTOCOL_HEADER:
            self._state = "starting"
            self._send(spec.Connection.Start(0, 9, _PROPERTIES, self._login.mechanisms, "en_US"))
        else:
            self._client.write(PROTOCOL_HEADER)
            self._end()

    def _read(self) -> None:
        while not (self._is_held or self._client.is_full or self._state == "closed"):
            try:
                value = self._reader.next_frame()
                if value is None:
                    return
                self._take(value)
            except Refused as refusal:
                self._close(refusal)
            except Exception:  # noqa: BLE001 - a bug of ours ends this connection, not the broker
                self._log.failure("The development broker failed; the connection is closed")
                self._close(Refused(541, "the development broker failed, see its log"))

    def _take(self, value: Any) -> None:
        number, method = value.channel_number, getattr(value, "method", None)
        answer = None if number else self._answers.get((self._state, type(method)))
        if number and self._state == "running":
            self._take_on_channel(number, value)
        elif isinstance(method, spec.Connection.Close) and not number:
            self._release()
            self._send(spec.Connection.CloseOk())
            self._end()
        elif answer is not None:
            answer(method)
        elif self._state != "closing" and not isinstance(value, frame.Heartbeat):
            msg = f"unexpected method in connection state {self._state}"
            raise Refused(504, msg, getattr(method, "INDEX", 0))

    def _take_on_channel(self, number: int, value: Any) -> None:
        if number not in self._channels:
            count, most = len(self._channels), self._channel_max
            if count >= most:
                msg = f"number of channels opened ({count}) has reached the negotiated channel_max ({most})"
                raise Refused(530, msg)
            self._channels[number] = Channel(number, self._client, self._vhost, self._faults, self._limits)
        channel = self._channels[number]
        if channel.take(value) and self._faults.blocked is not None and self._state == "running":
            # As RabbitMQ: the publish is accepted, then the connection is not read, and silence is not noticed.
            self._is_held = True
            self._set_deadline(None)
            self.transport.pauseProducing()
        if channel.state == "closed":
            del self._channels[number]

    def _start(self, method: spec.Connection.StartOk) -> None:
        capabilities = (method.client_properties or {}).get("capabilities")
        self._client.capabilities = capabilities if isinstance(capabilities, dict) else {}
        mechanism = method.mechanism
        if mechanism not in self._login.mechanisms.split():
            raise Refused(503, f"unknown authentication mechanism '{mechanism}'", method.INDEX)
        user = self._login.user(mechanism, bytes(method.response), self.transport)
        if user is not None:
            self._client.user = user
            self._state = "tuning"
            self._send(spec.Connection.Tune(self._channel_max, self._frame_max, HEARTBEAT))
        elif self._client.capabilities.get("authentication_failure_close"):
            msg = f"Login was refused using authentication mechanism {mechanism}. For details see the broker logfile."
            raise Refused(403, msg)
        else:
            self._end()

    def _tune(self, method: spec.Connection.TuneOk) -> None:
        for name, least, most in (
            ("frame_max", spec.FRAME_MIN_SIZE, self._frame_max),
            ("channel_max", 1, self._channel_max),
        ):
            asked = getattr(method, name)
            if 0 < asked < least:
                msg = f"negotiated {name} = {asked} is lower than the minimum allowed value ({least})"
                raise Refused(530, msg, method.INDEX)
            if most and not 0 < asked <= most:
                msg = f"negotiated {name} = {asked} is higher than the maximum allowed value ({most})"
                raise Refused(530, msg, method.INDEX)
        self._channel_max = method.channel_max or _NO_LIMIT
        self._reader.frame_max = self._client.frame_max = method.frame_max or _NO_LIMIT
        self._max_silence = 2 * method.heartbeat or None
        self._state = "opening"

    def _open(self, method: spec.Connection.Open) -> None:
        if method.virtual_host != "/":
            raise Refused(530, f"vhost {method.virtual_host!s} not found", method.INDEX)
        self._state = "running"
        self._set_deadline(self._max_silence)
        if self._max_silence is not None:
            self._heartbeats.start(self._max_silence / 4, now=False)
        self._faults.listeners.append(self._send_blocked)
        self._send(spec.Connection.OpenOk())
        if self._faults.blocked is not None:
            self._send_blocked()

    def _send_blocked(self) -> None:
        reason = self._faults.blocked
        if self._client.capabilities.get("connection.blocked"):
            self._send(spec.Connection.Unblocked() if reason is None else spec.Connection.Blocked(reason))
        if reason is None and self._is_held:
            self._is_held = False
            self._set_deadline(self._max_silence)
            self._read_on()

    def _set_deadline(self, seconds: float | None) -> None:
        """Drop the connection after some seconds, unless another deadline is set until then; None for no deadline."""
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None if seconds is None else self._clock.callLater(seconds, self._drop)

    def _drop(self) -> None:
        self._log.info("A connection is dropped, its client is silent; it was {state}", state=self._state or "new")
        self.transport.abortConnection()

    def _close(self, refusal: Refused) -> None:
        """Send Connection.Close, and wait for Close-Ok."""
        if self._state in ("closing", "closed"):
            return
        self._log.info("A connection is closed: {reason}", reason=str(refusal))
        self._release()
        self._send(refusal.close(spec.Connection.Close))

    def _release(self) -> None:
        """Close the client's channels, then delete its exclusive queues."""
        self._state = "closing"
        self._set_deadline(CLOSE_TIMEOUT)
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.close()
        self._vhost.release(self._client)
        if self._heartbeats.running:
            self._heartbeats.stop()
        if self._send_blocked in self._faults.listeners:
            self._faults.listeners.remove(self._send_blocked)

    def _end(self) -> None:
        """Close the connection when everything is written, or after :data:`CLOSE_TIMEOUT` at the latest."""
        if self._state == "closed":
            return
        self._state = "closed"
        self._set_deadline(CLOSE_TIMEOUT)
        self.transport.unregisterProducer()
        self._client.close()

    def _send(self, method: Any) -> None:
        self._client.send(0, method)
