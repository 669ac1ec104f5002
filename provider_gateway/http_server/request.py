"""One request of a site: its body is capped as it arrives, and what is wrong with it is answered as a problem."""

from __future__ import annotations

import re
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from twisted.python.failure import Failure
from twisted.web.http import NO_BODY_CODES
from twisted.web.http_headers import Headers
from twisted.web.server import Request, version

from provider_gateway.errors import BadRequest, BodyTooLarge, Forbidden, GatewayError, NotFound, Overloaded
from provider_gateway.http_server.parser import RefusedError, rquid_sent
from provider_gateway.http_server.problems import error_of, render

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from provider_gateway.http_server.channel import Channel
    from provider_gateway.security.identity import Identity

#: RFC 9110, 7.2: host and port as in a URI; the rest would make URL routing fail.
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_NO_HEADERS = Headers()
#: As Twisted writes it.
_RQUID = b"Rquid"
_NO_PATH: Any = ()


class BoundedRequest(Request):
    """A request whose body is refused as soon as it is known to be too large.

    Attributes:
        correlation_id: is set by the API, for the access log.
        received_at: seconds of the site's clock at which the whole request was there.
        rquid: the request id of its answer, if that is known.
        served_by: is cancelled if the client leaves.
    """

    channel: Channel
    site: Any
    correlation_id: str | None = None
    received_at: float | None = None
    rquid: str | None = None
    served_by: Deferred[Any] | None = None
    #: That are sent; we have none.
    cookies: Any = ()

    def __init__(self, channel: Channel, *_: object) -> None:
        # In place of Twisted's, which costs 5 µs more: it asks for addresses, with a system call, and for cookies.
        self.channel = channel
        self.transport = channel.transport
        self.requestHeaders = Headers()
        self.responseHeaders = Headers()
        self.notifications = []
        self.queued = False
        self._adapterCache: dict[Any, Any] = {}

    @property
    def identity(self) -> Identity | None:
        """Who sent it; None without TLS."""
        return self.channel.identity

    @property
    def is_lost(self) -> bool:
        """True if its client has left."""
        return self._disconnected

    def getHost(self) -> Any:
        """Where it was sent to (twisted.web.iweb.IRequest)."""
        return self.channel.getHost()

    def getClientAddress(self) -> Any:
        """Where it came from (twisted.web.iweb.IRequest)."""
        return self.channel.getPeer()

    def parseCookies(self) -> None:
        """Leave cookies alone (twisted.web.http.Request)."""

    def gotLength(self, length: int | None) -> None:
        """Refuse a declared length over the limit; in memory otherwise, where the message is published from."""
        self.content = BytesIO()
        if length is not None:
            self._check_size(length, length)

    def handleContentChunk(self, data: bytes) -> None:
        """Refuse a chunked body that grows over the limit."""
        channel = self.channel
        channel.buffered += len(data)
        channel.site.buffered += len(data)
        self._check_size(channel.buffered, 0)
        if channel.refused:
            # The decoder would go on with what it has, to the end of the body or to an answer of its own.
            raise RefusedError
        super().handleContentChunk(data)

    def _check_size(self, size: int, more: int) -> None:
        """Refuse a body of some size, or if there is no room for more."""
        limits, buffered = self.channel.site.limits, self.channel.site.buffered
        if size > limits.max_body_bytes:
            self._refuse(BodyTooLarge(f"The body is larger than {limits.max_body_bytes} bytes (MAX_BODY_BYTES)."))
        elif buffered + more > limits.max_buffered_bytes:
            self._refuse(Overloaded(f"Bodies of {buffered} bytes are being served (MAX_BUFFERED_BYTES)."))

    def _refuse(self, error: GatewayError) -> None:
        # A client that asks first ("Expect: 100-continue") must get the refusal, not the go-ahead.
        self.requestHeaders.removeHeader(b"Expect")
        self.channel.refuse(error)

    def note_refusal(self, status: int, rquid: str) -> None:
        """Remember, for the record of finished requests, how the channel answered."""
        self.method = self.path = b"-"
        self.code = status
        self.received_at = self.channel.site.reactor.seconds()
        self.rquid = rquid

    def connectionLost(self, reason: Failure) -> None:
        """Record a request whose client left before the answer, with the status that nginx made usual for it."""
        if self.received_at is not None and not self.channel.refused:
            self.code = 499
            self.channel.site.log(self)
        super().connectionLost(reason)
        if self.served_by is not None:
            self.served_by.cancel()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Serve it (twisted.web.http.Request); neither its query nor its body is parsed as a form."""
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        assert self.content is not None
        self.content.seek(0)
        self.process()

    def forget_content(self) -> None:
        """Let go of headers, body and path, 2 KB and more, which whoever serves the request has taken over."""
        self.requestHeaders = _NO_HEADERS
        self.prepath = self.postpath = _NO_PATH
        self.content = None

    def process(self) -> None:
        """Route the request, if its client is still trusted and its target can be routed."""
        site = self.site = self.channel.site
        self.received_at = site.reactor.seconds()
        if not site.trusts(self.channel):
            self.channel.persistent = 0
            self.setHeader(b"Connection", b"close")
            self.answer(Forbidden("The client certificate has expired, or is no longer trusted."))
            return
        if self.path == b"*":
            self.answer(NotFound("The target * is the server as a whole, of which there is nothing to be asked."))
            return
        if self.method != self.method.upper():
            self.answer(BadRequest("Methods are written in capitals (RFC 9110, 9.1)."))
            return
        host = self.requestHeaders.getRawHeaders(b"Host", [b"-"])[0]
        if not _HOST.fullmatch(host):
            self.answer(BadRequest("The Host header is not a host name."))
            return
        parts = self.path[1:].split(b"/")
        if b"%" in self.path:
            try:
                unquote_to_bytes(self.path).decode("utf-8")
            except UnicodeDecodeError:
                self.answer(BadRequest("The path is not valid UTF-8."))
                return
            parts = [unquote_to_bytes(part) for part in parts]
        self.prepath, self.postpath = [], parts
        try:
            self.render(site.getResourceFor(self))
        except Exception:  # noqa: BLE001 - whatever it is, it is answered
            self.processingFailed(Failure())

    def write(self, data: bytes) -> None:
        """Write the answer (twisted.web.server.Request).

        A whole one is one piece, head and body: two would be two TLS records, for 7 µs more.
        """
        headers = self.responseHeaders._rawHeaders
        if self.site is not None and not self.startedWriting:
            # Not when it begins: while the request waits for its answer, they would be 500 bytes.
            headers[b"Server"] = [version]
            headers[b"Date"] = [self.site.date(self.received_at)]
            if self.rquid is not None:
                headers[_RQUID] = [self.rquid.encode()]
        is_whole = b"Content-Length" in headers and b"Content-Type" in headers
        if not is_whole or self.startedWriting or self.is_lost or self.method == b"HEAD" or self.code in NO_BODY_CODES:
            super().write(data)
            return
        self.startedWriting = 1
        self.sentLength = len(data)
        lines = [b"%s %d %s" % (self.clientproto, self.code, self.code_message)]
        lines += [b"%s: %s" % (name, value) for name, values in headers.items() for value in values]
        self.channel.write(b"\r\n".join((*lines, b"", data)))

    def answer(self, error: GatewayError) -> None:
        """Answer with a problem document and be done."""
        if self.rquid is None:
            self.rquid = rquid_sent(self)
        self.write(render(self, error, self.rquid))
        self.finish()

    def processingFailed(self, reason: Failure) -> None:
        """Answer 500 without a word about the cause, which is logged (twisted.web.server.Request)."""
        error = error_of(reason)
        if not self.startedWriting:
            self.answer(error)
