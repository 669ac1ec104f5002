"""Twisted's HTTP server with our rules: bodies are capped as they arrive, failures are problem documents, no HTML.

HTTP/1.1 only. Used by the HTTPS listener and by the admin listener.
"""

from __future__ import annotations

import contextlib
import re
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.web.http import HTTPChannel
from twisted.web.server import Request, Site

from provider_gateway.errors import BadRequest, BodyTooLarge, GatewayError, HeadersTooLarge
from provider_gateway.messages import PROBLEM_JSON, RQUID, rquid_of, text_of
from provider_gateway.problems import error_of, problem_body, render

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure
    from twisted.web.resource import IResource

#: Seconds that a refused client has to read the answer and close; what it still sends is thrown away.
_LINGER = 2.0
#: Seconds that a connection may be idle, between requests or within one.
IDLE_TIMEOUT = 60
#: Bytes of a request's header lines together, and of one of them.
MAX_HEADER_BYTES = 16_384
#: RFC 9110, 7.2: host and port as in a URI; the rest would make URL routing fail.
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


class _RefusedError(Exception):
    """Leaves the decoder of a chunked body that has been refused."""


class Channel(HTTPChannel):
    """One HTTP connection: no Nagle delay, and a way to refuse a request before its body is read."""

    transport: Any  # TCP or TLS over it; both have what the interface lacks
    site: GatewaySite
    #: Twisted's own limit would answer 400 without a body.
    totalHeadersSize = 4 * MAX_HEADER_BYTES
    refused = False
    _header_bytes = 0
    _linger: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Switch Nagle's algorithm off: a reply in two segments would wait 40 ms for a delayed ACK."""
        self.transport.setTcpNoDelay(True)
        self.site.channels.add(self)
        super().connectionMade()

    def refuse(self, error: GatewayError) -> None:
        """Answer the request that is being read, ignore everything that follows, and close."""
        if self.refused:
            return
        self.refused = True
        request = self.requests[-1]
        rquid = rquid_sent(request)
        body = problem_body(error, rquid)
        self.transport.write(
            b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s: %s\r\nConnection: close\r\n\r\n%s"
            % (
                error.status,
                error.title.encode(),
                PROBLEM_JSON.encode(),
                len(body),
                RQUID.encode(),
                rquid.encode(),
                body,
            )
        )
        request.note_refusal(error.status, rquid)
        self.site.log(request)
        # Closing at once would reset the connection while the client sends, and it would not read the answer.
        self._linger = self.callLater(_LINGER, self.transport.abortConnection)

    def close_when_answered(self) -> None:
        """Close now if no request is being served, else when its answer is sent."""
        if self.requests:
            self.persistent = 0
            if not self.requests[0].startedWriting:
                self.requests[0].responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return
        self.loseConnection()
        if self._linger is None:
            # An idle client may not read, and so never answer a TLS close.
            self._linger = self.callLater(_LINGER, self.transport.abortConnection)

    def lineLengthExceeded(self, _line: bytes) -> None:
        """Refuse a header that is too long (twisted.protocols.basic.LineReceiver)."""
        self._refuse_headers()

    def headerReceived(self, line: bytes) -> bool:
        """Take one header, unless there have been too many bytes of them (twisted.web.http.HTTPChannel)."""
        self._header_bytes += len(line)
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse_headers()
            return False
        return bool(super().headerReceived(line))

    def _refuse_headers(self) -> None:
        if self.requests:
            self.refuse(HeadersTooLarge(f"The headers are larger than {MAX_HEADER_BYTES} bytes."))
        else:
            self.loseConnection()  # not even a request line

    def allHeadersReceived(self) -> None:
        """Go on with the body (twisted.web.http.HTTPChannel)."""
        self._header_bytes = 0
        super().allHeadersReceived()

    def lineReceived(self, line: bytes) -> None:
        """Parse a line, unless the request was refused."""
        if not self.refused:
            super().lineReceived(line)

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        """Keep HTTP/1.0 connections that ask for it, too: all our answers have a Content-Length."""
        wishes = request.requestHeaders.getRawHeaders(b"Connection", [b""])[0].lower()
        if self.site.closing:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        if version == b"HTTP/1.0" and wishes == b"keep-alive":
            request.responseHeaders.setRawHeaders(b"Connection", [b"keep-alive"])
            return True
        return bool(super().checkPersistence(request, version))

    def rawDataReceived(self, data: bytes) -> None:
        """Take a piece of body, unless the request was refused."""
        if not self.refused:
            with contextlib.suppress(_RefusedError):
                super().rawDataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the connection."""
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self.site.channel_closed(self)
        super().connectionLost(reason)


class BoundedRequest(Request):
    """A request whose body is refused as soon as it is known to be too large."""

    channel: Channel
    #: Set by the API, for the access log.
    correlation_id: str | None = None
    #: Seconds of the site's clock at which the whole request was there.
    received_at: float | None = None
    _received = 0

    def gotLength(self, length: int | None) -> None:
        """Refuse a declared length over the limit; in memory otherwise, where the message is published from."""
        self.content = BytesIO()
        if length is not None and length > self.channel.site.max_body_bytes:
            self._refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        """Refuse a chunked body that grows over the limit."""
        self._received += len(data)
        if self._received > self.channel.site.max_body_bytes:
            self._refuse_body()
            # The decoder would go on with what it has, to the end of the body or to an answer of its own.
            raise _RefusedError
        super().handleContentChunk(data)

    def _refuse_body(self) -> None:
        # A client that asks first ("Expect: 100-continue") must get the refusal, not the go-ahead.
        self.requestHeaders.removeHeader(b"Expect")
        limit = self.channel.site.max_body_bytes
        self.channel.refuse(BodyTooLarge(f"The body is larger than {limit} bytes (MAX_BODY_BYTES)."))

    def note_refusal(self, status: int, rquid: str) -> None:
        """Remember, for the record of finished requests, how the channel answered."""
        self.method = self.path = b"-"
        self.code = status
        self.received_at = self.channel.site.reactor.seconds()
        self.setHeader(RQUID, rquid)

    def connectionLost(self, reason: Failure) -> None:
        """Record a request whose client left before the answer, with the status that nginx made usual for it."""
        if self.received_at is not None and not self.channel.refused:
            self.code = 499
            self.channel.site.log(self)
        super().connectionLost(reason)

    def process(self) -> None:
        """Route the request, if its target can be routed."""
        self.received_at = self.channel.site.reactor.seconds()
        host = self.requestHeaders.getRawHeaders(b"Host", [b"-"])[0]
        if not _HOST.fullmatch(host):
            self.answer(BadRequest("The Host header is not a host name."))
            return
        try:
            unquote_to_bytes(self.path).decode("utf-8")
        except UnicodeDecodeError:
            self.answer(BadRequest("The path is not valid UTF-8."))
            return
        super().process()

    def answer(self, error: GatewayError) -> None:
        """Answer with a problem document and be done."""
        rquid = rquid_sent(self)
        self.setHeader(RQUID, rquid)
        self.write(render(self, error, rquid))
        self.finish()

    def processingFailed(self, reason: Failure) -> None:
        """Answer 500 without a word about the cause, which is logged (twisted.web.server.Request)."""
        error = error_of(reason)
        if not self.startedWriting:
            self.answer(error)


def rquid_sent(request: Request) -> str:
    """The request id that a client sent, or a fresh one if there is none that is valid."""
    values = request.requestHeaders.getRawHeaders(RQUID.encode(), [b""])
    return rquid_of({RQUID: text_of(values[0])})


class GatewaySite(Site):
    """The factory of a listener.

    Args:
        resource: gets the requests.
        clock: times idle connections.
        max_body_bytes: larger bodies are refused with 413.
        on_finished: is told each finished request, for an access log.

    Attributes:
        channels: open connections.
        closing: True once connections are no longer kept for another request.
    """

    displayTracebacks = False
    noisy = False

    def __init__(
        self,
        resource: IResource,
        clock: IReactorTime,
        max_body_bytes: int,
        on_finished: Callable[[BoundedRequest], object] | None = None,
    ) -> None:
        # Form parsing off: bodies are JSON, and parsing would cost 50 µs for each.
        super().__init__(
            resource,
            requestFactory=BoundedRequest,
            timeout=IDLE_TIMEOUT,
            reactor=clock,
            parsePOSTFormSubmission=False,
        )
        self.channels: set[Channel] = set()
        self.closing = False
        self.protocol = Channel  # type: ignore[method-assign,assignment] # HTTP/1.1 without a choice
        self.max_body_bytes = max_body_bytes
        self._on_finished = on_finished
        self._closed: list[Deferred[None]] = []

    def close_connections(self) -> Deferred[None]:
        """Close every connection, those with a request in work when its answer is sent.

        Returns:
            A Deferred that fires when all are closed.
        """
        self.closing = True
        closed: Deferred[None] = Deferred()
        self._closed.append(closed)
        for channel in list(self.channels):
            channel.close_when_answered()
        self._tell_closed()
        return closed

    def channel_closed(self, channel: Channel) -> None:
        """Forget a connection."""
        self.channels.discard(channel)
        self._tell_closed()

    def _tell_closed(self) -> None:
        if not self.channels:
            waiting, self._closed = self._closed, []
            for each in waiting:
                each.callback(None)

    def log(self, request: Any) -> None:
        """Tell of a finished request (twisted.web.http.HTTPFactory)."""
        if self._on_finished is not None:
            self._on_finished(request)
