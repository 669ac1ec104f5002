"""One HTTP connection: it receives requests and has them served, one after another.

This protocol replaces Twisted's ``HTTPChannel``. A connection has one of these states::

    handshake -> idle -> headers -> body -> serving -> idle, or closing
                         headers, body -> rejected

**Half-close.** A client that sends no more may wait for its response (RFC 9112, 9.6), or be gone. TLS tells which:
``close_notify`` means that the client sends no more; the end of the TCP connection means that it is gone, and cancels
the request. Without TLS, FIN means either. The channel then sends ``100 Continue`` twice. A waiting client discards it
(RFC 9110, 15.2.1); the TCP stack of a client that is gone answers with a reset. HTTP/1.0 has no ``100 Continue``, and
the client is assumed to wait.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IPushProducer
from twisted.internet.protocol import connectionDone
from zope.interface import implementer

from provider_gateway.errors import GatewayError, RequestTimeout
from provider_gateway.http_server.parser import HeadParser
from provider_gateway.http_server.request import BoundedRequest
from provider_gateway.http_server.request_transport import RequestTransport
from provider_gateway.http_server.time_limits import TimeLimits
from provider_gateway.net.eager_tcp import send_at_once

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from provider_gateway.http_server.site import GatewaySite
    from provider_gateway.security.identity import Identity

State = Literal["handshake", "idle", "headers", "body", "serving", "rejected", "closing"]
_RECEIVING = ("idle", "headers", "body")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

#: Seconds that a rejected or idle client has to close the connection. A reset could overtake the response.
LINGER = 2.0
#: Bytes that are read ahead while a request is served. Reading pauses beyond that.
_READ_AHEAD = 16_384
#: Requests of a connection that are read in one turn of the reactor. Others have their turn before the next ones.
_AT_ONCE = 64
#: Seconds after FIN at which ``100 Continue`` is sent: the first one provokes a reset, the second one finds it.
_ASK_AFTER = (1.0, 2.0)


@implementer(IHandshakeListener, IHalfCloseableProtocol, IPushProducer)
class Channel(RequestTransport):
    """One HTTP connection of a site.

    Attributes:
        state: what the connection is doing.
        identity: the name in the client's certificate; None without TLS, and during the handshake.
        buffered: bytes of the body that is being received or served.
        persistent: False if the connection ends after the current request.
        request: the request whose body is being received, or that is being served; else None.
    """

    def __init__(self, site: GatewaySite) -> None:
        super().__init__()
        # All attributes but _time are set here: CPython's instances share their keys only if all set them in one order.
        self.site = self.factory = site
        self.state: State = "idle"
        self.identity: Identity | None = None
        self.buffered = 0
        self.persistent = True
        self.request: BoundedRequest | None = None
        self._head: HeadParser | None = None
        self._unread = b""
        self._is_reading = False
        self._is_paused = False
        #: True once the client has said that it sends no more.
        self._has_ended = False

    def connectionMade(self) -> None:
        """Join the site, or drop the connection if there is no room (twisted.internet.interfaces.IProtocol)."""
        # Nagle's algorithm off: a response in two segments would wait 40 ms for a delayed ACK.
        self.transport.setTcpNoDelay(True)
        send_at_once(self.transport)
        self.transport.registerProducer(self, True)
        self._time = TimeLimits(self.site.time_limits, self)
        if self.isSecure():
            self.state = "handshake"
        else:
            self.site.idle.start(self)
        if self.site.join(self):
            self._time.enter(self.state)
        else:
            self.drop("limit")

    def handshakeCompleted(self) -> None:
        """Get the client's identity (twisted.internet.interfaces.IHandshakeListener)."""
        if self.state != "handshake" or not self.site.accepts(self):
            return
        self.state = "idle"
        self.site.idle.start(self)
        self._time.enter(self.state)
        if not self.site.identify(self):
            self.drop("identity-limit")

    def drop(self, reason: str) -> None:
        """End the connection without a response.

        Args:
            reason: label of the metric: "limit", "identity-limit" or "timeout".
        """
        self.state = "closing"
        self.site.count_dropped(reason)
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Receive bytes (twisted.internet.interfaces.IProtocol)."""
        if self.state not in ("rejected", "closing"):
            self._unread += data
            self._read()

    def _read(self, *, goes_on: bool = False) -> None:
        """Parse and serve requests, until one must be waited for or the client must read a response first."""
        if self._is_reading and not goes_on:
            return  # called by a request that was served at once, in the loop below; or it is not our turn
        self._is_reading, more = True, _AT_ONCE
        try:
            while self._unread and self.state in _RECEIVING and not self._time.is_writing and more:
                if self.state == "idle":
                    more -= 1
                    self.state = "headers"
                    self._head = self._head or HeadParser(self.site.limits)
                data, self._unread = self._unread, b""
                if self.state == "headers":
                    self._read_head(data)
                else:
                    self._read_body(data)
        except GatewayError as error:
            self.reject(error)
        finally:
            self._is_reading = False
        if not more and self._unread and self.state == "idle":
            self._is_reading = True
            self._time.call_after((0,), partial(self._read, goes_on=True))
        elif self._has_ended and self.state != "serving" and not self._time.is_writing:
            self.loseConnection()
        if self._unread or self._is_paused:
            self._pause_or_resume()
        self._time.enter(self.state)

    def _read_head(self, data: bytes) -> None:
        head = self._head
        assert head is not None
        rest = head.feed(data)
        if rest is None:
            self.state = "headers" if head.has_begun else "idle"
            return
        self.state = "body"
        request = self.request = BoundedRequest(self, head)
        request.check_length()
        self.persistent = request.keeps_connection()
        if request.waits_for_continue:
            self.transport.write(_CONTINUE)
        self._read_body(rest)

    def _read_body(self, data: bytes) -> None:
        request = self.request
        assert request is not None
        rest = request.receive(data)
        if rest is not None:
            self._unread = rest
            self._head = None
            self.state = "serving"
            request.serve()

    def reject(self, error: GatewayError) -> None:
        """Answer the request that is being received with an error. What the client still sends is ignored."""
        head = self._head
        assert head is not None
        self.state = "rejected"
        request = self.request or BoundedRequest(self, head)
        self.transport.write(request.rejection(error))
        if head.has_request_line:
            self.site.log(request)
        self._let_go()
        self._time.abort_after(LINGER)

    def _let_go(self) -> None:
        """Forget the current request."""
        self.site.buffered -= self.buffered
        self.buffered = 0
        self.request = self._head = None

    def readConnectionLost(self) -> None:
        """Serve the requests that have arrived, then close (twisted.internet.interfaces.IHalfCloseableProtocol)."""
        self._has_ended = True
        if self.state == "idle" and not self._unread and not self._time.is_writing:
            self.site.leave(self)  # another connection may take its place before the reactor has closed it
        self._read()
        if self.state == "serving" and not self.isSecure():
            self._time.call_after(_ASK_AFTER, self._ask)

    def _ask(self) -> None:
        """Provoke a reset from the TCP stack of a client that is gone."""
        if self.request is not None and self.request.may_get_continue:
            self.transport.write(_CONTINUE)

    def too_slow(self, state: str, seconds: float) -> None:
        """End the connection, with a response unless this is the handshake."""
        if state == "handshake":
            self.drop("timeout")
        else:
            self.reject(RequestTimeout(f"The request's {state} did not arrive within {seconds:g} s."))

    def not_read(self) -> None:
        """End the connection: the client has not read in time what was sent."""
        self.drop("timeout")

    def idle_time_is_over(self) -> None:
        """Close the connection if it is idle. Other states, and reading a response, have other time limits."""
        if self.state == "idle" and not self._time.is_writing:
            self.close_when_answered()

    def pauseProducing(self) -> None:
        """Begin the time limit for reading: the buffer is full (twisted.internet.interfaces.IPushProducer)."""
        self._time.begin_writing()
        self._pause_or_resume()

    def resumeProducing(self) -> None:
        """Continue: the buffer is empty (twisted.internet.interfaces.IPushProducer)."""
        self._time.end_writing()
        if self.state == "idle":
            self.site.idle.start(self)
        self._pause_or_resume()
        self._read()

    def _pause_or_resume(self) -> None:
        """Stop reading from the client while nothing can be done with what it sends, and resume reading later.

        While a request is served, some bytes are read ahead: without reading, it is not noticed that the client leaves.
        """
        must_wait = self._time.is_writing or self._is_reading
        is_enough = len(self._unread) > _READ_AHEAD if self.state == "serving" else must_wait
        if is_enough != self._is_paused and (self.isSecure() or not self._has_ended):
            self._is_paused = is_enough
            if is_enough:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def requestDone(self, _: BoundedRequest) -> None:
        """Continue with what the client has sent meanwhile, or close (twisted.web.http.Request)."""
        self._let_go()
        if not self.persistent or self.state == "closing":
            self.loseConnection()
            return
        self.state = "idle"
        self.site.idle.start(self)
        if self._time.state is not None:
            self._time.enter(self.state)
        self._read()

    def close_when_answered(self) -> None:
        """Close the connection: at once, or after the response if a request is being received or served."""
        if self.state in ("headers", "body", "serving"):
            self.persistent = False
            if self.request is not None and not self.request.startedWriting:
                self.request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        elif self.state in ("handshake", "idle"):
            if not self._time.is_writing:
                self._time.abort_after(LINGER)  # it may not read, and then never answers close_notify
            self.loseConnection()

    def loseConnection(self) -> None:
        """Close when everything is sent, or when the client's time to read it is over (twisted.web.http.Request)."""
        if self.state != "closing":
            self.state, self._unread = "closing", b""
            self._time.abort_after(self.site.limits.write_timeout)
            self.transport.unregisterProducer()
            if self._is_paused:
                self._is_paused = False
                self.transport.resumeProducing()  # TLS waits for the client's close_notify
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancel the request that is being served (twisted.internet.interfaces.IProtocol)."""
        self._time.close()
        if self.state == "handshake":
            self.site.count_dropped("handshake")
            self.site.refused_handshakes.failed(self.transport, reason.value)
        request = self.request
        self.state = "closing"
        self._let_go()
        self.site.leave(self)
        if request is not None:
            request.lose(reason)
