"""HTTP/1.1 on Twisted's parser, made as strict as RFC 9112 allows.

What two readers could read in two ways, or is too large, is refused with an answer, and nothing behind it is parsed.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Protocol

from twisted.web.http import HTTPChannel

from provider_gateway.errors import BadRequest, BodyTooLarge, HeadersTooLarge
from provider_gateway.http_server.plain_head import HeadersRead, read_head
from provider_gateway.message.http_headers import text_of
from provider_gateway.message.ids import RQUID, fresh_rquid, rquid_of
from provider_gateway.message.problem import PROBLEM_JSON, problem_body

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall
    from twisted.web.server import Request

    from provider_gateway.config.limits import Limits
    from provider_gateway.deadlines import Deadlines
    from provider_gateway.errors import GatewayError

#: Seconds that a refused client has to read the answer and close; what it still sends is thrown away.
LINGER = 2.0
_NOT_IN_TARGET = re.compile(rb"[^\x21-\x7e]")
#: Digits of a length that is not worth reading; Python refuses to convert thousands of them.
_LENGTH_DIGITS = 18


class RefusedError(Exception):
    """Leaves the decoder of a chunked body that has been refused."""


class Listener(Protocol):
    """What a connection needs of its site, :class:`provider_gateway.http_server.site.GatewaySite`."""

    limits: Limits
    reactor: Any
    closing: bool
    buffered: int
    idle: Deadlines[Any]

    def join(self, channel: StrictChannel) -> bool:
        """Take a new connection; False without room for it."""

    def identify(self, channel: StrictChannel) -> bool:
        """Give a connection its identity; False if that one has too many connections."""

    def leave(self, channel: StrictChannel) -> None:
        """Forget a connection."""

    def trusts(self, channel: StrictChannel) -> bool:
        """True if a connection that was let in would be let in now, too."""

    def date(self, seconds: float) -> bytes:
        """A time of the clock as HTTP writes it."""

    def getResourceFor(self, request: Any) -> Any:
        """The resource that serves a request."""

    def count_dropped(self, reason: str) -> object:
        """Count a connection that is ended without an answer."""

    def log(self, request: Any) -> None:
        """Record a finished request."""


class StrictChannel(HTTPChannel):
    """The parser of one HTTP connection.

    Attributes:
        refused: it was refused something: nothing that it sends is read any more.
    """

    # Twisted deletes some of them after each request. In the instance's dict, that would give it keys of its own, which
    # are 800 bytes; so would too many others.
    __slots__ = ("_command", "_header_bytes", "_header_count", "_linger", "_path", "_version", "refused")

    transport: Any  # TCP or TLS over it; both have what the interface lacks
    site: Listener
    requests: list[Any]
    #: Twisted's own limits would answer 400; ours are smaller.
    totalHeadersSize = maxHeaders = 2**62

    def __init__(self) -> None:
        super().__init__()
        self.refused = False
        self._header_bytes = self._header_count = 0
        self._linger: IDelayedCall | None = None
        # What Twisted sets at the first request, as the class has it. Instances share the keys of attributes that the
        # first thirty of them have, and there may be as many connections before there is a request.
        self._buffer, self._busyReceiving, self.line_mode = b"", False, 1
        self.length, self.persistent, self._savedTimeOut = 0, 1, None
        self._receivedHeaderCount = self._receivedHeaderSize = 0
        self._HTTPChannel__first_line = 1

    def refuse(self, error: GatewayError) -> None:
        """Answer the request that is being read, ignore everything that follows, and close."""
        if self.refused:
            return
        self.refused = True
        request = self.requests[-1] if self.requests else None
        rquid = fresh_rquid() if request is None else rquid_sent(request)
        body = problem_body(error, rquid)
        # RFC 9110, 9.3.2: the answer to HEAD has no body.
        sent = b"" if getattr(self, "_command", b"") == b"HEAD" else body
        retry = b"" if error.retry_after is None else b"Retry-After: %d\r\n" % error.retry_after
        self.transport.write(
            b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s: %s\r\n%sConnection: close\r\n\r\n%s"
            % (
                error.status,
                error.title.encode(),
                PROBLEM_JSON.encode(),
                len(body),
                RQUID.encode(),
                rquid.encode(),
                retry,
                sent,
            )
        )
        if request is not None:
            request.note_refusal(error.status, rquid)
            self.site.log(request)
        # Closing at once would reset the connection while the client sends, and it would not read the answer.
        self._linger_for(LINGER)

    def _linger_for(self, seconds: float) -> None:
        """Abort the connection if it is not closed by then."""
        if self._linger is None:
            self._linger = self.site.reactor.callLater(seconds, self.transport.abortConnection)

    def read_plain(self, data: bytes) -> bytes:
        """Read a plain request, or the head of one, in one go: line by line costs 20 µs more.

        Args:
            data: begins with a request.

        Returns:
            What is still to be parsed: the body, or the part of it that is there; or everything, if the request is not
            plain, or there is something behind it: then nothing was read.
        """
        limits = self.site.limits
        head = read_head(data, limits.max_header_bytes, limits.max_headers)
        if head is None or len(data) > head.size + head.length:
            return data
        request = self.requestFactory(self)
        request.requestHeaders = HeadersRead(head.headers)
        self.requests.append(request)
        self._command, self._path, self._version = head.method, head.target, b"HTTP/1.1"
        self.length = head.length
        body = data[head.size :]
        self.allHeadersReceived()
        if self.refused:
            return b""
        if len(body) == head.length:
            if body:
                request.handleContentChunk(body)
            if not self.refused:
                self.allContentReceived()
            return b""
        self._maybeChooseTransferDecoder(b"Content-Length", b"%d" % head.length)
        self.setRawMode()
        self.resetTimeout()
        return body

    def lineReceived(self, line: bytes) -> None:
        """Parse a line, unless the request was refused (twisted.protocols.basic.LineReceiver)."""
        if self.refused:
            return
        if line[:1] in (b" ", b"\t"):
            # RFC 9112, 5.2: a folded header. Who joins it and who does not see different headers.
            self._respondToBadRequestAndDisconnect()
            return
        super().lineReceived(line)

    def lineLengthExceeded(self, _line: bytes) -> None:
        """Refuse a line that is too long (twisted.protocols.basic.LineReceiver)."""
        self._refuse_headers(f"A line of the headers is longer than {self.site.limits.max_header_bytes} bytes.")

    def headerReceived(self, line: bytes) -> bool:
        """Take one header, unless it is malformed or there have been too many (twisted.web.http.HTTPChannel)."""
        limits = self.site.limits
        self._header_count += 1
        self._header_bytes += len(line)
        name, _, value = line.partition(b":")
        if self._header_bytes > limits.max_header_bytes:
            self._refuse_headers(f"The headers are larger than {limits.max_header_bytes} bytes.")
        elif self._header_count > limits.max_headers:
            self._refuse_headers(f"There are more than {limits.max_headers} headers.")
        elif name.lower() == b"transfer-encoding" and value.strip().lower() != b"chunked":
            self._respondToBadRequestAndDisconnect()
        elif name.lower() == b"content-length" and len(value.strip()) > _LENGTH_DIGITS and value.strip().isdigit():
            self.refuse(BodyTooLarge(f"The body is larger than {limits.max_body_bytes} bytes (MAX_BODY_BYTES)."))
        else:
            return bool(super().headerReceived(line))
        return False

    def _refuse_headers(self, detail: str) -> None:
        self.refuse(HeadersTooLarge(detail))

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Refuse what is no HTTP with a problem document; Twisted's own answer has no body."""
        self.refuse(BadRequest("The request is not HTTP/1.1 as RFC 9112 has it."))

    def allHeadersReceived(self) -> None:
        """Go on with the body (twisted.web.http.HTTPChannel)."""
        self._header_bytes = self._header_count = 0
        headers = self.requests[-1].requestHeaders
        hosts = len(headers.getRawHeaders(b"Host", []))
        is_old = self._version == b"HTTP/1.0"
        # RFC 9112, 3, 3.2 and 6.1
        is_wrong = hosts > 1 or not (hosts or is_old) or (is_old and headers.hasHeader(b"Transfer-Encoding"))
        if is_wrong or _NOT_IN_TARGET.search(self._path):
            self._respondToBadRequestAndDisconnect()
            return
        super().allHeadersReceived()

    def rawDataReceived(self, data: bytes) -> None:
        """Take a piece of body, unless the request was refused."""
        if not self.refused:
            with contextlib.suppress(RefusedError):
                super().rawDataReceived(data)

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        """Keep HTTP/1.0 connections that ask for it, too: all our answers have a Content-Length."""
        values = request.requestHeaders.getRawHeaders(b"Connection", [])
        wishes = {token.strip().lower() for value in values for token in value.split(b",")}
        if self.site.closing or b"close" in wishes:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        if version == b"HTTP/1.0" and b"keep-alive" in wishes:
            request.responseHeaders.setRawHeaders(b"Connection", [b"keep-alive"])
            return True
        return version == b"HTTP/1.1"


def rquid_sent(request: Request) -> str:
    """The request id that a client sent, or a fresh one if there is none that is valid."""
    values = request.requestHeaders.getRawHeaders(RQUID.encode(), [b""])
    return rquid_of({RQUID: text_of(values[0])})
