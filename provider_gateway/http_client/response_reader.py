"""Reads HTTP responses with llhttp, which is in C, and checks what llhttp leaves to its user."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from twisted.web.http_headers import Headers

from provider_gateway.content_codings import canonical, codings_of
from provider_gateway.http_client.errors import HeadTooLarge, InvalidResponse, UnrequestedCoding
from provider_gateway.http_client.treq_post import CodedHeaders

if TYPE_CHECKING:
    from collections.abc import Collection

#: Limit in bytes of everything between pieces of bodies: responses with a status of 1xx, status line and headers
#: together; chunk sizes and extensions; trailers.
MAX_HEAD_BYTES = 65_536
#: Codings of one body: what one message has room for.
_MAX_CODINGS = 8
#: How many readers are kept. There are more only while more responses arrive at the same time.
_MAX_FREE = 16
#: For how many seconds a server keeps an idle connection, in a Keep-Alive header (RFC 2068, 19.7.1.1; the syntax is in
#: draft-thomson-hybi-http-timeout-03). More digits than these are as good as no limit.
_TIMEOUT = re.compile(rb"(?:^|[,;])\s*timeout\s*=\s*(\"?)([0-9]{1,9})\1\s*(?=$|[,;])", re.IGNORECASE)


def checked_for_codings(status: int, headers: Headers, asked_for: Collection[str]) -> Headers:
    """Check that a response has no content coding but those that were asked for.

    Args:
        asked_for: codings in canonical form.

    Returns:
        The headers; CodedHeaders if the body has codings.

    Raises:
        UnrequestedCoding: it has another one, or more than anybody uses.
    """
    values = headers.getRawHeaders(b"content-encoding")
    if values is None:
        return headers
    codings = codings_of(b",".join(values).decode("latin-1"))
    if len(codings) > _MAX_CODINGS or any(canonical(coding) not in asked_for for coding in codings):
        raise UnrequestedCoding(values, status, headers)
    return CodedHeaders(headers, ", ".join(codings)) if codings else headers


class ResponseReader:
    """Reads one response after the other, from bytes in any segments. Responses with a status of 1xx are skipped.

    It is stricter than Twisted's client where a response could be misread: no folded headers, no control characters in
    values, at most one Content-Length, none together with a Transfer-Encoding, and no transfer coding but ``chunked``.
    Like Twisted's client it accepts lines of the head that end without CR. Bytes after a complete response end the
    connection, except for line ends, which llhttp skips.

    Attributes:
        status: status code of the response. None until its headers are complete.
        headers: headers of the response. Trailers are dropped.
        is_complete: the response was read to its end.
        is_persistent: another response may follow on the connection.
        keep_alive: seconds for which the server keeps the connection when it is idle, by ``Keep-Alive: timeout``. None
            if it has not said so, or not in whole seconds.
    """

    __slots__ = ("_overhead", "_parser", "_pieces", "headers", "is_complete", "is_persistent", "keep_alive", "status")

    def __init__(self) -> None:
        self.begin()
        self._parser = HttpResponseParser(self)
        self._allow_lone_line_feeds(True)

    def begin(self) -> None:
        """Expect a response. The previous one, if any, must be complete and :attr:`is_persistent`."""
        self.status: int | None = None
        self.headers = Headers()
        self.is_complete = False
        self.is_persistent = False
        self.keep_alive: int | None = None
        self._pieces: list[bytes] = []
        #: Bytes that arrived since the last byte of a body.
        self._overhead = 0

    @property
    def ends_with_connection(self) -> bool:
        """True if the end of the connection is the end of the body (RFC 9112, 6.3)."""
        has = self.headers.hasHeader
        return self.status is not None and not has(b"content-length") and not has(b"transfer-encoding")

    @property
    def missing(self) -> str:
        """What is missing of a response whose connection ended before it, in words for its caller."""
        if self.headers.hasHeader(b"transfer-encoding"):
            return "its last chunk did not arrive"
        if self.headers.hasHeader(b"content-length"):
            return "fewer bytes than its Content-Length arrived"
        return "it has no length, and its connection was reset, or ended without TLS's close_notify"

    def feed(self, data: bytes) -> list[bytes]:
        """Read bytes that arrived.

        Returns:
            The pieces of the body among them.

        Raises:
            InvalidResponse: the response cannot be read to its end. If :attr:`status` is set, its headers are valid.
        """
        had_head = self.status is not None
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.is_complete:
                raise InvalidResponse(str(error)) from None
            self.is_persistent = False
        if self._overhead > MAX_HEAD_BYTES and self._overhead - sum(map(len, self._pieces)) > MAX_HEAD_BYTES:
            if not had_head:
                self.status = None
            raise HeadTooLarge
        pieces = self._pieces
        if self.status is not None and pieces:
            self._pieces = []
            self._overhead = 0
        return pieces

    def _allow_lone_line_feeds(self, allow: bool) -> None:
        """Accept line ends without CR, or not.

        RFC 9112, 2.2 allows them in the head. After a chunk they would hide that its size was wrong.
        """
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=allow)

    # Callbacks of llhttp. An exception ends the parsing, and feed_data raises it.

    def on_message_begin(self) -> None:
        """A response begins."""
        if self.is_complete:
            msg = "data after the response"
            raise InvalidResponse(msg)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or a trailer was read."""
        if self.status is None:
            self.headers.addRawHeader(name, value.rstrip(b" \t"))
            if len(name) == 10 and name.lower() == b"keep-alive":
                self._note_keep_alive(value)

    def _note_keep_alive(self, value: bytes) -> None:
        """Note the shortest time that the server names."""
        for match in _TIMEOUT.finditer(value):
            seconds = int(match[2])
            self.keep_alive = seconds if self.keep_alive is None else min(self.keep_alive, seconds)

    def on_headers_complete(self) -> None:
        """The headers were read."""
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            return
        if codings := self.headers.getRawHeaders(b"transfer-encoding"):
            # llhttp would deliver a body with another coding as if it had none.
            if any(coding.lower() != b"chunked" for coding in codings):
                msg = "a transfer coding other than chunked"
                raise InvalidResponse(msg)
            self._allow_lone_line_feeds(False)
        self.status = status
        self.is_persistent = self._parser.should_keep_alive() and self.keep_alive != 0

    def on_body(self, data: bytes) -> None:
        """A piece of the body was read."""
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        """The response was read to its end."""
        if self.status is not None:
            self.is_complete = True
            self._allow_lone_line_feeds(True)
        elif self._pieces:
            msg = "a body in a response with a status of 1xx"
            raise InvalidResponse(msg)
        else:
            self.headers = Headers()
            self.keep_alive = None


class Readers:
    """Lends a reader for each response. A reader takes 1 KB, and a connection waits most of the time without one."""

    def __init__(self) -> None:
        self._free: list[ResponseReader] = []

    def take(self) -> ResponseReader:
        """A reader that expects a response."""
        return self._free.pop() if self._free else ResponseReader()

    def give_back(self, reader: ResponseReader) -> None:
        """Take back a reader whose response was complete, and :attr:`~ResponseReader.is_persistent`."""
        if len(self._free) < _MAX_FREE:
            reader.begin()
            self._free.append(reader)
