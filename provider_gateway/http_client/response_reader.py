"""Reads the answers on the connections of our HTTP client: with llhttp, in C, and the rules that it leaves to us."""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from twisted.web.http_headers import Headers

from provider_gateway.http_client.errors import HeadTooLarge, InvalidResponse, UnrequestedCoding

#: Bytes of status line and headers, of trailers, and of anything else that is no body and does not end.
MAX_HEAD_BYTES = 65_536
#: Readers that are kept; there are more only while as many answers are read at a time.
_MAX_FREE = 16


def check_not_coded(headers: Headers) -> None:
    """Check that a response has no content coding.

    Raises:
        UnrequestedCoding: it has one.
    """
    codings = headers.getRawHeaders(b"content-encoding")
    if codings is not None and any(coding.lower() != b"identity" for coding in codings):
        raise UnrequestedCoding(codings)


class ResponseReader:
    """Reads one answer after the other, from bytes in any pieces; answers with a status of 1xx are skipped.

    Stricter than Twisted's client where an answer could be misread: no folded headers, no control characters in
    values, one Content-Length at most and none beside a Transfer-Encoding, which can only be "chunked". As lenient as
    it where lines of the head end without CR. What is behind a complete answer ends the connection; line ends alone,
    which llhttp skips, do not.

    Attributes:
        status: of the answer that is being read; None until its headers are complete.
        headers: of that answer; what is in its trailers is dropped.
        is_complete: the answer has been read to its end.
        is_persistent: another answer may follow on the connection.
    """

    __slots__ = ("_overhead", "_parser", "_pieces", "headers", "is_complete", "is_persistent", "status")

    def __init__(self) -> None:
        self.begin()
        self._parser = HttpResponseParser(self)
        self._allow_lone_line_feeds(True)

    def begin(self) -> None:
        """Expect an answer; the one before it, if any, is complete and :attr:`is_persistent`."""
        self.status: int | None = None
        self.headers = Headers()
        self.is_complete = False
        self.is_persistent = False
        self._pieces: list[bytes] = []
        #: Bytes since the last ones of the body.
        self._overhead = 0

    @property
    def ends_with_connection(self) -> bool:
        """True if the end of the connection is the end of the answer's body (RFC 9112, 6.3)."""
        has = self.headers.hasHeader
        return self.status is not None and not has(b"content-length") and not has(b"transfer-encoding")

    def feed(self, data: bytes) -> list[bytes]:
        """Read what was received.

        Returns:
            The pieces of the body within.

        Raises:
            InvalidResponse: the answer cannot be read to its end. If :attr:`status` is set, its headers are right.
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
        """RFC 9112, 2.2 allows them in the head; behind a chunk, they would hide that its size was wrong."""
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=allow)

    # What llhttp finds. An exception ends the parsing, and is raised out of feed_data.

    def on_message_begin(self) -> None:
        """An answer begins."""
        if self.is_complete:
            msg = "data behind the answer"
            raise InvalidResponse(msg)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header was read, or a trailer."""
        if self.status is None:
            self.headers.addRawHeader(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        """The headers were read."""
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            return
        if codings := self.headers.getRawHeaders(b"transfer-encoding"):
            # llhttp would hand out a body that is coded in other ways, too, as if it were not.
            if any(coding.lower() != b"chunked" for coding in codings):
                msg = "a transfer coding other than chunked"
                raise InvalidResponse(msg)
            self._allow_lone_line_feeds(False)
        self.status = status
        self.is_persistent = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """A piece of the body was read."""
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        """The answer was read to its end."""
        if self.status is not None:
            self.is_complete = True
            self._allow_lone_line_feeds(True)
        elif self._pieces:
            msg = "a body in an answer with a status of 1xx"
            raise InvalidResponse(msg)
        else:
            self.headers = Headers()


class Readers:
    """Readers that are lent for an answer each, since connections wait most of the time: one has 1 KB."""

    def __init__(self) -> None:
        self._free: list[ResponseReader] = []

    def take(self) -> ResponseReader:
        """A reader that expects an answer."""
        return self._free.pop() if self._free else ResponseReader()

    def give_back(self, reader: ResponseReader) -> None:
        """Take a reader back whose answer was complete, and :attr:`~ResponseReader.is_persistent`."""
        if len(self._free) < _MAX_FREE:
            reader.begin()
            self._free.append(reader)
