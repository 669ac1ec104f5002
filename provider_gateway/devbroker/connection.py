"""One connection: handshake, heartbeats, channels, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika import frame, spec
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger

from provider_gateway.devbroker.channel import Channel, Client
from provider_gateway.devbroker.frames import PROTOCOL_HEADER, FrameReader
from provider_gateway.devbroker.refusals import Refused
from provider_gateway.devbroker.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from provider_gateway.devbroker.faults import Faults
    from provider_gateway.devbroker.login import Login
    from provider_gateway.devbroker.vhost import VirtualHost

CHANNEL_MAX, FRAME_MAX, HEARTBEAT = 2047, 131_072, 60
#: Seconds for the handshake (RabbitMQ's default), and for the client to finish a close.
HANDSHAKE_TIMEOUT, CLOSE_TIMEOUT = 10.0, 2.0
_PROPERTIES = {
    "product": "provider-gateway development broker",
    "information": "In memory, for development and tests only",
    "capabilities": {
        "publisher_confirms": True,
        "exchange_exchange_bindings": False,
        "basic.nack": True,
        "consumer_cancel_notify": True,
        "connection.blocked": True,
        "consumer_priorities": False,
        "authentication_failure_close": True,
        "per_consumer_qos": True,
        "direct_reply_to": False,
    },
}


class Connection(Protocol):
    """A connection of a client."""

    transport: Any  # TCP or TLS over it, which have what ITransport lacks
    _log = Logger()

    def __init__(self, vhost: VirtualHost, login: Login, faults: Faults, clock: IReactorTime) -> None:
        self._vhost = vhost
        self._login = login
        self._faults = faults
        self._clock = clock
        self._reader = FrameReader()
        self._wire: Wire
        #: RabbitMQ's names, which its texts have: starting, tuning, opening, running, closing; "" before the header.
        self._state = ""
        self._channels: dict[int, Channel] = {}
        #: Channels that we closed and the client did not confirm yet.
        self._closing: set[int] = set()
        self._capabilities: dict[Any, Any] = {}
        self._user = ""
        self._client: Client | None = None
        self._channel_max = CHANNEL_MAX
        self._heartbeat = 0
        self._heard = clock.seconds()
        self._is_held = False
        self._timers: dict[str, IDelayedCall] = {}
        self._answers: dict[str, tuple[type, Callable[[Any], None]]] = {
            "starting": (spec.Connection.StartOk, self._start),
            "tuning": (spec.Connection.TuneOk, self._tune),
            "opening": (spec.Connection.Open, self._open),
        }

    def connectionMade(self) -> None:
        """Wait for the client's header (twisted.internet.interfaces.IProtocol)."""
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self._wire = Wire(self.transport, self._clock, self._faults)
        self._after(HANDSHAKE_TIMEOUT, "end", self._wire.abort)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes (twisted.internet.interfaces.IProtocol)."""
        self._heard = self._clock.seconds()
        self._reader.feed(data)
        if not self._state:
            self._begin()
        if self._state:
            self._read()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        """Give back what the client had (twisted.internet.interfaces.IProtocol)."""
        self._wire.stop()
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        self._release()
        self._state = "closing"

    def _begin(self) -> None:
        header = self._reader.next_header()
        if header is None:
            return
        if header != PROTOCOL_HEADER:
            self._wire.send_bytes(PROTOCOL_HEADER)
            self._wire.close()
            self._state = "closing"
            return
        self._state = "starting"
        self._send(spec.Connection.Start(0, 9, _PROPERTIES, self._login.mechanisms, "en_US"))

    def _read(self) -> None:
        while not self._is_held:
            try:
                value = self._reader.next_frame()
                if value is None:
                    break
                self._take(value)
            except Refused as refusal:
                self._close(refusal)
            except Exception:  # noqa: BLE001 - a bug of ours ends this connection, not the broker
                self._log.failure("The development broker failed; the connection is closed")
                self._close(Refused(541, "the development broker failed, see its log"))
        for channel in list(self._channels.values()):
            channel.flush()

    def _take(self, value: Any) -> None:
        number = value.channel_number
        if isinstance(value, frame.Heartbeat):
            return
        if number == 0 or self._state != "running":
            self._take_method(value)
        elif isinstance(value, frame.Method) and isinstance(value.method, (spec.Channel.Close, spec.Channel.CloseOk)):
            self._take_close(number, value.method)
        elif isinstance(value, frame.Method) and isinstance(value.method, spec.Channel.Open):
            self._open_channel(number, value.method)
        elif number in self._channels:
            self._take_on_channel(number, value)
        elif number not in self._closing:
            raise Refused(504, "expected 'channel.open'", value.method.INDEX if isinstance(value, frame.Method) else 0)

    def _take_method(self, value: Any) -> None:
        """A method of the connection itself."""
        method: Any = value.method if isinstance(value, frame.Method) else None
        index: int = getattr(method, "INDEX", 0)
        expected, answer = self._answers.get(self._state, (None, None))
        if isinstance(method, spec.Connection.CloseOk) and self._state == "closing":
            self._wire.close()
        elif isinstance(method, spec.Connection.Close):
            self._release()
            self._send(spec.Connection.CloseOk())
            self._state = "closing"
            self._wire.close()
        elif self._state == "closing":
            return
        elif answer is not None and type(method) is expected:
            try:
                answer(method)
            except Refused as refusal:
                refusal.index = refusal.index or (0 if refusal.code == 403 else index)
                raise
        else:
            raise Refused(504, f"unexpected method in connection state {self._state}", index)

    def _start(self, method: spec.Connection.StartOk) -> None:
        properties = method.client_properties or {}
        capabilities = properties.get("capabilities")
        self._capabilities = capabilities if isinstance(capabilities, dict) else {}
        try:
            self._user = self._login.user(str(method.mechanism), bytes(method.response), self.transport)
        except Refused:
            if self._capabilities.get("authentication_failure_close"):
                raise
            self._state = "closing"
            self._wire.close()
            return
        self._state = "tuning"
        self._send(spec.Connection.Tune(CHANNEL_MAX, FRAME_MAX, HEARTBEAT))

    def _tune(self, method: spec.Connection.TuneOk) -> None:
        least = {"frame_max": spec.FRAME_MIN_SIZE, "channel_max": 1}
        for name, most in (("frame_max", FRAME_MAX), ("channel_max", CHANNEL_MAX)):
            asked = getattr(method, name)
            if not asked or asked > most:
                raise Refused(530, f"negotiated {name} = {asked} is higher than the maximum allowed value ({most})")
            if asked < least[name]:
                raise Refused(
                    530, f"negotiated {name} = {asked} is lower than the minimum allowed value ({least[name]})"
                )
        self._channel_max = method.channel_max
        self._reader.frame_max = method.frame_max
        hears_cancels = bool(self._capabilities.get("consumer_cancel_notify"))
        self._client = Client(self._user, method.frame_max, hears_cancels)
        self._heartbeat = method.heartbeat
        self._state = "opening"

    def _open(self, method: spec.Connection.Open) -> None:
        if method.virtual_host != "/":
            raise Refused(530, f"vhost {method.virtual_host!s} not found")
        self._timers.pop("end").cancel()
        self._state = "running"
        self._send(spec.Connection.OpenOk())
        self._faults.listeners.append(self._tell_blocked)
        if self._faults.blocked is not None:
            self._tell_blocked()
        if self._heartbeat:
            self._beat()

    def _beat(self) -> None:
        """Send a heartbeat if nothing else was sent, and drop a client that has gone silent."""
        now = self._clock.seconds()
        if now - self._heard >= 2 * self._heartbeat:
            self._log.warn("No heartbeat from the client for {limit} s", limit=2 * self._heartbeat)
            self._wire.abort()
            return
        if now - self._wire.last_sent >= self._heartbeat / 2:
            self._wire.send(frame.Heartbeat())
        self._after(self._heartbeat / 2, "heartbeat", self._beat)

    def _tell_blocked(self) -> None:
        reason = self._faults.blocked
        if self._capabilities.get("connection.blocked"):
            self._send(spec.Connection.Unblocked() if reason is None else spec.Connection.Blocked(reason))
        if reason is None and self._is_held:
            self._is_held = False
            self._read()

    def _open_channel(self, number: int, method: spec.Channel.Open) -> None:
        assert self._client is not None
        if number in self._channels:
            raise Refused(504, "second 'channel.open' seen", method.INDEX)
        if number in self._closing:
            return
        count = len(self._channels)
        if count >= self._channel_max:
            msg = f"number of channels opened ({count}) has reached the negotiated channel_max ({self._channel_max})"
            raise Refused(530, msg)
        self._channels[number] = Channel(number, self._wire.send, self._vhost, self._client, self._faults)
        self._send(spec.Channel.OpenOk(), number)

    def _take_close(self, number: int, method: spec.Channel.Close | spec.Channel.CloseOk) -> None:
        if isinstance(method, spec.Channel.CloseOk):
            if number in self._channels:
                raise Refused(503, "unimplemented method", method.INDEX)
            self._closing.discard(number)
            return
        if number in self._channels:
            self._channels.pop(number).close()
        elif number not in self._closing:
            raise Refused(504, "expected 'channel.open'", method.INDEX)
        self._send(spec.Channel.CloseOk(), number)

    def _take_on_channel(self, number: int, value: frame.Frame) -> None:
        try:
            published = self._channels[number].take(value)
        except Refused as refusal:
            if refusal.closes_connection:
                raise
            self._closing.add(number)
            self._channels.pop(number).close()
            self._send(refusal.close(), number)
        else:
            # As RabbitMQ: the publish counts, and nothing more is read.
            self._is_held = published and self._faults.blocked is not None

    def _close(self, refusal: Refused) -> None:
        if self._state == "closing":
            return
        self._log.info("A connection is closed: {reason}", reason=str(refusal))
        self._release()
        self._state = "closing"
        method = refusal.close()
        code, text, index = method.reply_code, method.reply_text, refusal.index
        self._send(spec.Connection.Close(code, text, index >> 16, index & 0xFFFF))
        self._after(CLOSE_TIMEOUT, "end", self._wire.close)

    def _release(self) -> None:
        """Give back what the client had: its channels, then its exclusive queues."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.close()
        if self._client is not None:
            self._vhost.release(self._client)
        if self._tell_blocked in self._faults.listeners:
            self._faults.listeners.remove(self._tell_blocked)

    def _send(self, method: Any, channel: int = 0) -> None:
        self._wire.send(frame.Method(channel, method))

    def _after(self, seconds: float, what: str, call: Callable[[], None]) -> None:
        if what in self._timers and self._timers[what].active():
            self._timers[what].cancel()
        self._timers[what] = self._clock.callLater(seconds, call)
