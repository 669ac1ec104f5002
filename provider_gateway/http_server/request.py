"""One request of a site: its body is capped as it arrives, and what is wrong with it is answered as a problem."""

from __future__ import annotations

import re
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from twisted.python.failure import Failure
from twisted.web.http import NO_BODY_CODES
from twisted.web.server import Request, version

from provider_gateway.errors import BadRequest, Forbidden, GatewayError, NotFound, Overloaded
from provider_gateway.http_server.parser import ChunkedParser, body_too_large
from provider_gateway.http_server.problems import error_of, render
from provider_gateway.http_server.received_headers import ReceivedHeaders
from provider_gateway.message.http_headers import text_of
from provider_gateway.message.ids import RQUID, RQUID_BYTES, fresh_rquid, rquid_of
from provider_gateway.message.problem import PROBLEM_JSON, problem_body

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from provider_gateway.http_server.channel import Channel
    from provider_gateway.http_server.parser import HeadParser
    from provider_gateway.security.identity import Identity

#: RFC 9110, 7.2: host and port as in a URI; the rest would make URL routing fail.
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_NO_HEADERS = ReceivedHeaders({})
_NO_PATH: Any = ()


class BoundedRequest(Request):
    """A request whose body is rejected as soon as it is known to be too large.

    Args:
        channel: received it.
        head: its head, which is complete unless the request is to be rejected.

    Attributes:
        correlation_id: is set by the API, for the access log.
        received_at: seconds of the site's clock at which the whole request was there.
        rquid: the request id of its response, if that is known.
        served_by: is cancelled if the client leaves.
        is_lost: the client has left.
        authority: replaces ``Host`` (RFC 9112, 3.2.2), if the target has one.
    """

    channel: Any  # of our class; Twisted declares its own
    site: Any
    content: Any
    requestHeaders: Any
    correlation_id: str | None = None
    received_at: float | None = None
    rquid: str | None = None
    served_by: Deferred[Any] | None = None
    is_lost = False
    #: Twisted's is HTML.
    defaultContentType = None

    def __init__(self, channel: Channel, head: HeadParser) -> None:
        super().__init__(channel, parsePOSTFormSubmission=False)
        self.requestHeaders = head.headers
        self.method, self.uri, self.path, self.clientproto = head.method, head.target, head.path, head.version
        self.authority = head.authority
        self.content = BytesIO()
        #: Bytes of a body of known length that have not arrived.
        self._missing = head.length or 0
        self._chunks = ChunkedParser() if head.length is None else None

    @property
    def identity(self) -> Identity | None:
        """Who sent it; None without TLS."""
        identity: Identity | None = self.channel.identity
        return identity

    @property
    def waits_for_continue(self) -> bool:
        """True if the client asks before it sends the body (RFC 9110, 10.1.1)."""
        expectations = self.requestHeaders.values.get(b"Expect")
        return bool(expectations and expectations[0].lower() == b"100-continue" and self.clientproto == b"HTTP/1.1")

    def keeps_connection(self) -> bool:
        """Say in the response whether the connection is kept (RFC 9112, 9.3).

        HTTP/1.0 connections that ask for it are kept, too: all our responses have a Content-Length.

        Returns:
            True if it is.
        """
        values = self.requestHeaders.values.get(b"Connection", ())
        wishes = {token.strip(b" \t").lower() for value in values for token in value.split(b",")}
        if self.channel.site.closing or b"close" in wishes:
            self.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        if self.clientproto == b"HTTP/1.0" and b"keep-alive" in wishes:
            self.responseHeaders.setRawHeaders(b"Connection", [b"keep-alive"])
            return True
        return bool(self.clientproto == b"HTTP/1.1")

    def check_length(self) -> None:
        """Check the declared length of the body.

        Raises:
            BodyTooLarge: it is over the limit.
            Overloaded: there is no room for it now.
        """
        self._check_size(self._missing, self._missing)

    def receive(self, data: bytes) -> bytes | None:
        """Take bytes of the body.

        Returns:
            What follows the body; None if the body is not complete.

        Raises:
            BadRequest: the body is malformed.
            BodyTooLarge: it has grown over the limit.
            Overloaded: there is no room for it.
        """
        if self._chunks is not None:
            return self._chunks.feed(data, self._take)
        missing = self._missing
        if data and missing:
            self._take(data[:missing])
        if missing > len(data):
            self._missing -= len(data)
            return None
        return data[missing:]

    def _take(self, data: bytes) -> None:
        channel = self.channel
        channel.buffered += len(data)
        channel.site.buffered += len(data)
        self._check_size(channel.buffered, 0)
        self.content.write(data)

    def _check_size(self, size: int, more: int) -> None:
        """Check a size, and that there is room for more."""
        limits, buffered = self.channel.site.limits, self.channel.site.buffered
        if size > limits.max_body_bytes:
            raise body_too_large(limits)
        if buffered + more > limits.max_buffered_bytes:
            raise Overloaded(f"Bodies of {buffered} bytes are being served (MAX_BUFFERED_BYTES).")

    def rejection(self, error: GatewayError) -> bytes:
        """The response to a request that is rejected while it is received, as bytes.

        Of the request only status and id are recorded: the rest may be malformed.
        """
        rquid = self.rquid = self._rquid_sent()
        body = problem_body(error, rquid)
        lines = [
            b"HTTP/1.1 %d %s" % (error.status, error.title.encode()),
            b"Content-Type: " + PROBLEM_JSON.encode(),
            b"Content-Length: %d" % len(body),
            b"%s: %s" % (RQUID_BYTES, rquid.encode()),
            *([] if error.retry_after is None else [b"Retry-After: %d" % error.retry_after]),
            b"Connection: close",
        ]
        # RFC 9110, 9.3.2: the response to HEAD has no body.
        is_head = self.method == b"HEAD"
        self.method = self.path = b"-"
        self.code = error.status
        self.received_at = self.channel.site.reactor.seconds()
        return b"\r\n".join((*lines, b"", b"" if is_head else body))

    def _rquid_sent(self) -> str:
        """The request id that the client sent; a fresh one if there is none that is valid."""
        (sent, *_) = self.requestHeaders.getRawHeaders(RQUID_BYTES, (b"",))
        return rquid_of({RQUID: text_of(sent)}) if sent else fresh_rquid()

    def lose(self, reason: Failure) -> None:
        """Note that the client has left; if the request was being served, record that.

        The status is the one that nginx made usual for this.
        """
        if self.received_at is not None:
            self.code = 499
            self.channel.site.log(self)
        self.is_lost = True
        self.connectionLost(reason)
        if self.served_by is not None:
            self.served_by.cancel()

    def forget_content(self) -> None:
        """Let go of headers, body and path, 2 KB and more, which whoever serves the request has taken over."""
        self.requestHeaders = _NO_HEADERS
        self.prepath = self.postpath = _NO_PATH
        self.content = None

    def serve(self) -> None:
        """Route the request, if its client is still trusted and its target can be routed."""
        site = self.site = self.channel.site
        self.received_at = site.reactor.seconds()
        self.content.seek(0)
        if not site.trusts(self.channel):
            self.channel.persistent = False
            self.setHeader(b"Connection", b"close")
            self.answer(Forbidden("The client certificate has expired, or is no longer trusted."))
            return
        if self.path == b"*":
            self.answer(NotFound("The target * is the server as a whole, of which there is nothing to be asked."))
            return
        if self.method != self.method.upper():
            self.answer(BadRequest("Methods are written in capitals (RFC 9110, 9.1)."))
            return
        (host, *_) = self.requestHeaders.getRawHeaders(b"Host", (b"-",))
        if not _HOST.fullmatch(host) or not _HOST.fullmatch(self.authority or b"-"):
            self.answer(BadRequest("The Host header is not a host name."))
            return
        if self.authority is not None:
            self.requestHeaders.setRawHeaders(b"Host", [self.authority])
        path = self.path = self.path.partition(b"?")[0]
        parts = path[1:].split(b"/")
        if b"%" in path:
            try:
                unquote_to_bytes(path).decode("utf-8")
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
        """Write the response (twisted.web.server.Request).

        A whole one is one piece, head and body: two would be two TLS records, for 7 µs more.
        """
        if self.startedWriting or self.is_lost:
            super().write(data)
            return
        # Not set when the request begins: while it waits for its response, they would be 500 bytes.
        usual = [(b"Server", version), (b"Date", self.site.date(self.received_at))]
        if self.rquid is not None:
            usual.append((RQUID_BYTES, self.rquid.encode()))
        headers = self.responseHeaders
        if not headers.hasHeader(b"Content-Length") or self.method == b"HEAD" or self.code in NO_BODY_CODES:
            for name, value in usual:
                headers.setRawHeaders(name, [value])
            super().write(data)
            return
        self.startedWriting = 1
        self.sentLength = len(data)
        lines = [b"%s %d %s" % (self.clientproto, self.code, self.code_message)]
        lines += [b"%s: %s" % (name, value) for name, values in headers.getAllRawHeaders() for value in values]
        lines += [b"%s: %s" % each for each in usual]
        self.channel.write(b"\r\n".join((*lines, b"", data)))

    def answer(self, error: GatewayError) -> None:
        """Answer with a problem document and be done."""
        if self.rquid is None:
            self.rquid = self._rquid_sent()
        self.write(render(self, error, self.rquid))
        self.finish()

    def processingFailed(self, reason: Failure) -> None:
        """Answer 500 without a word about the cause, which is logged (twisted.web.server.Request)."""
        error = error_of(reason)
        if not self.startedWriting:
            self.answer(error)
