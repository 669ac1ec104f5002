"""One HTTP connection and its limits: who is at the other end, and how long it may take for what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from twisted.internet.interfaces import IHandshakeListener, ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from zope.interface import implementer

from provider_gateway.errors import RequestTimeout
from provider_gateway.http_server.parser import LINGER, StrictChannel
from provider_gateway.net.eager_tcp import send_at_once

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure
    from twisted.web.server import Request

    from provider_gateway.security.identity import Identity

_log = Logger()

#: What the client is doing, or we are: its handshake, nothing, sending, waiting for our answer.
State = Literal["handshake", "idle", "headers", "body", "serving"]
_LIMIT_OF = {"handshake": "handshake_timeout", "headers": "headers_timeout", "body": "body_timeout"}


@implementer(IHandshakeListener)
class Channel(StrictChannel):
    """One HTTP connection of a site.

    Attributes:
        identity: who the client is, by its certificate; None without TLS.
        buffered: bytes of the body that is being received or served.
    """

    __slots__ = ("_deadline", "_held", "_state", "_timed", "_write_deadline", "buffered", "identity")

    #: Twisted would wait this long after the idle time; see :meth:`loseConnection`.
    abortTimeout = 2

    def __init__(self) -> None:
        super().__init__()
        self.identity: Identity | None = None
        self.buffered = 0
        self._state: State = "idle"
        self._timed: State = "idle"
        self._deadline: IDelayedCall | None = None
        self._write_deadline: IDelayedCall | None = None
        #: What the client has sent behind a request whose answer it does not read.
        self._held: bytes | None = None

    def connectionMade(self) -> None:
        """Join the site, if it has room (twisted.internet.interfaces.IProtocol)."""
        # Nagle's algorithm off: a reply in two segments would wait 40 ms for a delayed ACK.
        self.transport.setTcpNoDelay(True)
        send_at_once(self.transport)
        self.MAX_LENGTH = self.site.limits.max_header_bytes
        if ISSLTransport.providedBy(self.transport):
            self._state = "handshake"
        super().connectionMade()
        if self.site.join(self):
            self._time_state()
        else:
            self.drop("limit")

    def handshakeCompleted(self) -> None:
        """Learn who the client is (twisted.internet.interfaces.IHandshakeListener)."""
        self._state = "idle"
        self._time_state()
        if not self.site.identify(self):
            self.drop("identity-limit")

    def drop(self, reason: str) -> None:
        """End the connection without an answer.

        Args:
            reason: is counted: "handshake", "limit", "identity-limit" or "timeout".
        """
        self._state = "idle"
        self.site.count_dropped(reason)
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Take bytes (twisted.internet.interfaces.IProtocol)."""
        if self._held is not None:
            self._held += data
            return
        if not self.persistent and self._state == "idle":
            return  # behind the last answer
        if self._state == "idle" and not self.refused:
            self._state = "headers"
            if not (self._buffer or self._busyReceiving or self.transport.disconnecting):
                data = self.read_plain(data)
        if data:
            super().dataReceived(data)
        if self._busyReceiving:
            return  # called from within itself, for what was pipelined; it is parsed when it comes back
        if self._state == "idle" and self._buffer and self.persistent and not self.refused:
            self._state = "headers"  # behind a request that is answered, the beginning of a line
        if self._state == "headers" and self._buffer.endswith(b"\n\n"):
            # Lines that end without CR: another parser may take them for a request.
            self._respondToBadRequestAndDisconnect()
        self._time_state()

    def _time_state(self) -> None:
        """Set the time limit of the state that the client is in now; the limits run from the state's beginning."""
        state = "idle" if self.refused else self._state
        if state == self._timed:
            return
        self._timed = state
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        if state in _LIMIT_OF:
            seconds: float = getattr(self.site.limits, _LIMIT_OF[state])
            self._deadline = self.site.reactor.callLater(seconds, self._too_slow, state, seconds)

    def _too_slow(self, state: State, seconds: float) -> None:
        if state == "handshake":
            self.drop("timeout")
        else:
            self.refuse(RequestTimeout(f"The request's {state} did not arrive within {seconds:g} s."))

    def close_when_answered(self) -> None:
        """Close now if no request is being served, else when its answer is sent."""
        if self.requests:
            self.persistent = 0
            if not self.requests[0].startedWriting:
                self.requests[0].responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return
        # An idle client may not read, and so never answer a TLS close.
        self._linger_for(LINGER)
        self.loseConnection()

    def loseConnection(self) -> None:
        """Close when everything is sent, or the client has had its time to read it (twisted.web.http.HTTPChannel)."""
        self._linger_for(self.site.limits.write_timeout)
        super().loseConnection()

    def setTimeout(self, period: Any) -> Any:
        """Begin, or with None end, the idle time; it has one length (twisted.protocols.policies.TimeoutMixin).

        Returns:
            Its length before.
        """
        before = self.timeOut
        self.timeOut = period
        if period is None:
            self.site.idle.stop(self)
        else:
            self.site.idle.start(self)
        return before

    def resetTimeout(self) -> None:
        """Begin the idle time anew, if it runs (twisted.protocols.policies.TimeoutMixin)."""
        if self.timeOut is not None:
            self.site.idle.start(self)

    def timeoutConnection(self) -> None:
        """Close an idle connection; other states have limits of their own (twisted.web.http.HTTPChannel)."""
        if self._timed in _LIMIT_OF:
            self.site.idle.start(self)
        else:
            self.timeOut = None
            super().timeoutConnection()

    def pauseProducing(self) -> None:
        """Give a client that does not read its time to do so (twisted.internet.interfaces.IPushProducer)."""
        if self._write_deadline is None:
            seconds = self.site.limits.write_timeout
            self._write_deadline = self.site.reactor.callLater(seconds, self.drop, "timeout")
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """Go on: everything was read (twisted.internet.interfaces.IPushProducer)."""
        if self._write_deadline is not None and self._write_deadline.active():
            self._write_deadline.cancel()
        self._write_deadline = None
        super().resumeProducing()
        held, self._held = self._held, None
        if held:
            self.dataReceived(held)

    def setLineMode(self, extra: bytes = b"") -> Any:
        """Parse what came behind a request, not before its answer is read (twisted.protocols.basic.LineReceiver)."""
        if self._write_deadline is None:
            return super().setLineMode(extra)
        self._networkProducer.pauseProducing()
        self._held = extra
        return super().setLineMode()

    def lineReceived(self, line: bytes) -> None:
        """Parse a line (twisted.protocols.basic.LineReceiver)."""
        if self._state == "idle":
            self._state = "headers"
        super().lineReceived(line)

    def allHeadersReceived(self) -> None:
        """Go on with the body (twisted.web.http.HTTPChannel)."""
        self._state = "body"
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        """Have the request served (twisted.web.http.HTTPChannel)."""
        if self.refused:
            return
        # Twisted throws trailers away, whatever is in them: CR or LF alone, which end a line for others, or NUL.
        trailers = getattr(self._transferDecoder, "_trailerHeaders", ())
        if any(each.translate(None, b"\x00\r\n") != each for each in trailers):
            self._respondToBadRequestAndDisconnect()
            return
        self._state = "serving"
        super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        """Go on with what the client has sent in the meantime (twisted.web.http.HTTPChannel)."""
        self._state = "idle"
        self._release()
        self._time_state()
        super().requestDone(request)
        self._time_state()

    def _release(self) -> None:
        """Count the request's body no more."""
        self.site.buffered -= self.buffered
        self.buffered = 0

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the connection."""
        for timer in (self._deadline, self._write_deadline, self._linger):
            if timer is not None and timer.active():
                timer.cancel()
        if self._state == "handshake":
            self.site.count_dropped("handshake")
            _log.debug("TLS handshake failed: {reason}", reason=reason.getErrorMessage())
        self._release()
        self.site.leave(self)
        super().connectionLost(reason)
