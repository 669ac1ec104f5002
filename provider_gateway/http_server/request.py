"""One request: it receives its body, is routed to a resource, and writes its response."""

from __future__ import annotations

import re
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from twisted.python.failure import Failure
from twisted.web.http import NO_BODY_CODES
from twisted.web.server import Request

from provider_gateway.errors import BadRequest, Forbidden, GatewayError, NotFound, Overloaded
from provider_gateway.http_server.parser import ChunkedParser, body_too_large
from provider_gateway.http_server.problems import error_of, render
from provider_gateway.http_server.received_headers import ReceivedHeaders
from provider_gateway.message.http_headers import text_of
from provider_gateway.message.ids import RQUID, RQUID_BYTES, fresh_rquid, rquid_of
from provider_gateway.net.pieces import Pieces, added, whole

if TYPE_CHECKING:
    from collections.abc import Collection

    from provider_gateway.http_server.channel import Channel
    from provider_gateway.http_server.parser import HeadParser
    from provider_gateway.security.identity import Identity
    from provider_gateway.tracing.span import AnySpan

#: Host and port (RFC 9110, 7.2). Klein's routing fails with other values.
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{0,5})?")
#: Without a version: who wants to know it needs a certificate (GET /v2, GET /openapi.json).
SERVER = b"provider-gateway"
_NO_HEADERS = ReceivedHeaders({})
_NO_PATH: Any = ()


class BoundedRequest(Request):
    """A request whose body is limited as it arrives, and whose errors are problem documents.

    Args:
        channel: the connection that received it.
        head: the head of the request. It is incomplete if the request is about to be rejected.

    Attributes:
        correlation_id: set by the API, for the access log.
        routing_key: likewise; None for requests that have none, and for those that were not let in.
        received_at: time of the site's monotonic clock at which the request was complete, in seconds; None before.
        rquid: the request id, once it is known.
        served_by: a Deferred, or a coroutine that runs; it is cancelled if the client leaves.
        span: its step in a trace; None without traces, and until it is admitted.
        is_lost: True once the client has left.
        operator: who asks, for the workbench, if that is known by other means than a certificate; else None.
        beside: further paths that the listener of this request has.
        authority: the host of an absolute-form target, which replaces ``Host`` (RFC 9112, 3.2.2); else None.
    """

    channel: Any  # a Channel; Twisted declares its own class
    site: Any
    content: Any
    requestHeaders: Any
    correlation_id: str | None = None
    routing_key: str | None = None
    received_at: float | None = None
    rquid: str | None = None
    served_by: Any = None
    span: AnySpan | None = None
    is_lost = False
    operator: object = None
    beside: Collection[bytes] = ()
    #: Twisted's default is HTML.
    defaultContentType = None

    def __init__(self, channel: Channel, head: HeadParser) -> None:
        super().__init__(channel, parsePOSTFormSubmission=False)
        self.requestHeaders = head.headers
        self.method, self.uri, self.clientproto = head.method, head.target, head.version
        self.path = head.path.partition(b"?")[0]
        self.authority = head.authority
        self._body: bytes | Pieces = b""
        #: Bytes of a body of known length that have not arrived.
        self._missing = head.length or 0
        self._chunks = ChunkedParser() if head.length is None else None

    @property
    def identity(self) -> Identity | None:
        """The name in the client's certificate; None without TLS."""
        identity: Identity | None = self.channel.identity
        return identity

    @property
    def body_size(self) -> int:
        """Bytes of the body that have arrived."""
        size: int = self.channel.buffered
        return size

    @property
    def waits_for_continue(self) -> bool:
        """True if the client sends the body only after ``100 Continue`` (RFC 9110, 10.1.1)."""
        expectations = self.requestHeaders.values.get(b"Expect")
        return bool(expectations and expectations[0].lower() == b"100-continue" and self.clientproto == b"HTTP/1.1")

    @property
    def may_get_continue(self) -> bool:
        """True if the client discards ``100 Continue``. In the midst of a response it would be read as part of it."""
        return self.clientproto == b"HTTP/1.1" and not self.startedWriting

    def keeps_connection(self) -> bool:
        """Decide whether the connection is kept after this request, and say so in the response (RFC 9112, 9.3).

        HTTP/1.0 connections are kept if the client asks for it: all our responses have a Content-Length.
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
            BodyTooLarge: it is over ``max_body_bytes``.
            Overloaded: with it, all bodies would be over ``max_buffered_bytes``.
        """
        self._check_size(self._missing, self._missing)

    def receive(self, data: bytes) -> bytes | None:
        """Receive bytes of the body.

        Returns:
            The bytes behind the body; None while the body is incomplete.

        Raises:
            BadRequest: the chunks of the body are malformed.
            BodyTooLarge: the body is over ``max_body_bytes``.
            Overloaded: all bodies together are over ``max_buffered_bytes``.
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
        self._body = added(self._body, data) if self._body else data

    def _check_size(self, size: int, more: int) -> None:
        """Check the size of this body, and that of all bodies with ``more`` bytes."""
        limits, buffered = self.channel.site.limits, self.channel.site.buffered
        if size > limits.max_body_bytes:
            raise body_too_large(limits)
        if buffered + more > limits.max_buffered_bytes:
            raise Overloaded(f"Bodies of {buffered} bytes are being served (MAX_BUFFERED_BYTES).")

    def begin_without_length(self) -> None:
        """Prepare for a response whose length is not known: HTTP/1.0 has no chunks, and the connection ends with it."""
        self.responseHeaders.removeHeader(b"Content-Length")
        if self.clientproto != b"HTTP/1.1":
            self.channel.persistent = False
            self.responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def rejection(self, error: GatewayError) -> bytes:
        """The response to a request that is rejected before it is complete, as bytes.

        Method and path are not recorded: they may be malformed.
        """
        rquid = self.rquid = self.rquid_sent()
        site = self.channel.site
        content_type, body = site.error_form(self.path, error, rquid)
        self.received_at = site.reactor.seconds()
        lines = [
            b"HTTP/1.1 %d %s" % (error.status, error.title.encode()),
            b"Content-Type: " + content_type.encode(),
            b"Content-Length: %d" % len(body),
            b"%s: %s" % (RQUID_BYTES, rquid.encode()),
            *([] if error.retry_after is None else [b"Retry-After: %d" % error.retry_after]),
            b"Connection: close",
            b"Server: " + SERVER,
            b"Date: " + site.date(),
        ]
        # RFC 9110, 9.3.2: the response to HEAD has no body.
        is_head = self.method == b"HEAD"
        self.method = self.path = b"-"
        self.code = error.status
        return b"\r\n".join((*lines, b"", b"" if is_head else body))

    def rquid_sent(self) -> str:
        """The request id that the client sent, or a fresh one if it sent none, or an invalid one."""
        (sent, *_) = self.requestHeaders.getRawHeaders(RQUID_BYTES, (b"",))
        return rquid_of({RQUID: text_of(sent)}) if sent else fresh_rquid()

    def lose(self, reason: Failure) -> None:
        """Cancel the request: its client has left.

        A request that was being served is recorded with status 499, as nginx does.
        """
        if self.received_at is not None:
            self.code = 499
            self.channel.site.log(self)
        self.is_lost = True
        self.connectionLost(reason)
        if self.served_by is not None:
            self.served_by.cancel()

    def forget_content(self) -> None:
        """Free headers, body and path, 2 KB and more. The message has them by now."""
        self.requestHeaders = _NO_HEADERS
        self.prepath = self.postpath = self.cookies = _NO_PATH
        self.content = None

    def serve(self) -> None:
        """Have the request served by its resource, or answer why it is not."""
        site = self.site = self.channel.site
        self.received_at = site.reactor.seconds()
        self.content, self._body = BytesIO(whole(self._body)), b""
        if not site.trusts(self.channel):
            self.channel.persistent = False
            self.setHeader(b"Connection", b"close")
            self.answer(Forbidden("The client certificate has expired, or is no longer trusted."))
            return
        if self.path == b"*":
            self.answer(NotFound("The target * stands for the server as a whole; there is no resource for it."))
            return
        if self.method != self.method.upper():
            self.answer(BadRequest("Methods are written in capitals (RFC 9110, 9.1)."))
            return
        (host, *_) = self.requestHeaders.getRawHeaders(b"Host", (b"-",))
        if not _HOST.fullmatch(host) or not _HOST.fullmatch(self.authority or b"-"):
            self.answer(BadRequest("The Host header is not a host name."))
            return
        host = self.authority or host
        if self.authority is not None or host.endswith(b":"):  # RFC 3986, 3.2.3: the port may be empty
            self.requestHeaders.setRawHeaders(b"Host", [host.rstrip(b":")])
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
        except Exception:  # noqa: BLE001 - every error gets a response
            self.processingFailed(Failure())

    def write(self, data: bytes) -> None:
        """Write the response (twisted.web.server.Request).

        Head and body are one write: two writes would be two TLS records, which cost 7 µs more.
        """
        if self.startedWriting or self.is_lost:
            super().write(data)
            return
        # Set now, not before: in a waiting request these headers would take 500 bytes.
        usual = [(b"Server", SERVER), (b"Date", self.site.date())]
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
        """Answer with an error, and finish."""
        if self.rquid is None:
            self.rquid = self.rquid_sent()
        self.write(render(self, error, self.rquid, self.channel.site.error_form))
        self.finish()

    def processingFailed(self, reason: Failure) -> None:
        """Log the cause and answer with 500, which does not tell it (twisted.web.server.Request)."""
        error = error_of(reason)
        if not self.startedWriting:
            self.answer(error)
