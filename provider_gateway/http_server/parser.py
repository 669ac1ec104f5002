"""Strict parser of HTTP/1.1 and HTTP/1.0 requests (RFC 9112). Pure: bytes in, values or an error out.

Input that two parsers could read in two ways is rejected: line ends other than CR LF, folded headers, white space
before a colon, several lengths, any transfer coding but ``chunked``. RFC 9112 lets a server accept some of it, but that
is how requests are smuggled past a proxy.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from provider_gateway.errors import BadRequest, BodyTooLarge, HeadersTooLarge
from provider_gateway.http_server.received_headers import ReceivedHeaders, canonical_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.config.limits import Limits

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(%s) ([\x21-\x7e]+) (HTTP/1\.[01])" % _TOKEN)
#: A URL (RFC 9112, 3.2.2), without user information (RFC 9110, 4.2.4).
_ABSOLUTE_FORM = re.compile(rb"(?i:https?)://([^/?#@]+)((?:[/?].*)?)")
#: Longer numbers are over every limit. Python raises an error for thousands of digits.
_MAX_LENGTH_DIGITS = 18
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]+)(?:;[\t\x20-\x5b\x5d-\x7e\x80-\xff]*)?")
#: Most bytes of a header's name, as in AMQP. We and Twisted remember names, Twisted 10,000 of them.
_MAX_NAME = 255
#: Most bytes of a line with the size of a chunk and its extensions, and of a trailer.
_MAX_CHUNK_LINE, _MAX_TRAILER = 1023, 65_536


def malformed() -> BadRequest:
    """The error for a request that is not well-formed."""
    return BadRequest("The request is not HTTP/1.1 as RFC 9112 has it.")


def body_too_large(limits: Limits) -> BodyTooLarge:
    """The error for a body over ``max_body_bytes``."""
    return BodyTooLarge(f"The body is larger than {limits.max_body_bytes} bytes (MAX_BODY_BYTES).")


class HeadParser:
    """Parses the head of one request, which may arrive in pieces.

    Each line is checked as soon as it is complete.

    Attributes:
        method: empty until the request line is complete and well-formed.
        target: as it was sent.
        path: path and query of the target: begins with a slash, or is ``*``.
        authority: host and port of an absolute-form target; else None.
        version: ``HTTP/1.1`` or ``HTTP/1.0``.
        headers: the headers so far.
        length: bytes of the body; None if it is chunked. Valid once the head is complete.
        has_request_line: True once the request line is complete, well-formed or not.
    """

    __slots__ = (
        "_count",
        "_limits",
        "_may_skip_line",
        "_rest",
        "_size",
        "authority",
        "has_request_line",
        "headers",
        "length",
        "method",
        "path",
        "target",
        "version",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        #: The incomplete line, behind the CR LF of the line before.
        self._rest = b""
        #: Number and bytes of the header lines so far.
        self._count = self._size = 0
        self._may_skip_line = True
        self.has_request_line = False
        self.method = self.target = self.path = self.version = b""
        self.authority: bytes | None = None
        self.headers = ReceivedHeaders({})
        self.length: int | None = 0

    @property
    def has_begun(self) -> bool:
        """True once something else than an empty line has arrived."""
        return self.has_request_line or bool(self._rest)

    def feed(self, data: bytes) -> bytes | None:
        """Parse more bytes.

        Returns:
            The bytes behind the head; None while the head is incomplete.

        Raises:
            BadRequest: the head is malformed.
            HeadersTooLarge: the head is over ``max_header_bytes`` or ``max_headers``.
            BodyTooLarge: the declared length has more than 18 digits.
        """
        data = self._rest + data
        if self._may_skip_line and data.startswith(b"\r\n"):
            # RFC 9112, 2.2: ignore at least one empty line before a request.
            self._may_skip_line = False
            data = data[2:]
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            self._read_lines(data[:end])
            self._finish()
            return data[end + 4 :]
        end = data.rfind(b"\r\n")
        if end > 0 or (end == 0 and not self.has_request_line):
            self._read_lines(data[:end])
            data = data[end:]
        self._check_rest(data[2:] if self.has_request_line else data)
        self._rest = data
        return None

    def _check_rest(self, line: bytes) -> None:
        """Check an incomplete line."""
        if b"\n" in line:
            raise malformed()
        if len(line) > self._limits.max_header_bytes + line.endswith(b"\r"):
            raise self._line_too_long()

    def _read_lines(self, block: bytes) -> None:
        """Parse complete lines.

        Args:
            block: the lines, without the last CR LF. The first one is the request line, or empty if that was parsed.
        """
        limits = self._limits
        lines = block.split(b"\r\n")
        first = lines.pop(0)
        if not self.has_request_line:
            self._read_request_line(first)
        headers = self.headers.values
        size = len(block) - len(first) - 2 * len(lines)
        is_odd = (
            self._size + size > limits.max_header_bytes
            or self._count + len(lines) > limits.max_headers
            # Is there a CR, LF or NUL that is not part of a line end?
            or len(block) - len(block.translate(None, b"\0\r\n")) != 2 * len(lines)
        )
        for line in lines:
            if is_odd:
                self._check_line(line)
            sent, colon, value = line.partition(b":")
            if not colon:
                raise malformed()
            if len(sent) > _MAX_NAME:
                raise HeadersTooLarge(f"The name of a header is longer than {_MAX_NAME} bytes.")
            name = canonical_name(sent)
            if not name:
                raise malformed()
            if name in headers:
                headers[name].append(value.strip(b" \t"))
            else:
                headers[name] = [value.strip(b" \t")]
        if not is_odd:
            self._count += len(lines)
            self._size += size

    def _read_request_line(self, line: bytes) -> None:
        self.has_request_line, self._may_skip_line = True, False
        if len(line) > self._limits.max_header_bytes:
            raise self._line_too_long()
        match = _REQUEST_LINE.fullmatch(line)
        if match is None:
            raise malformed()
        method, target, self.version = match.groups()
        self.target = self.path = target
        if not target.startswith(b"/") and target != b"*":
            absolute = _ABSOLUTE_FORM.fullmatch(target)
            if absolute is None:
                raise malformed()
            self.authority, path = absolute.groups()
            self.path = path if path.startswith(b"/") else b"/" + path
        self.method = method

    def _check_line(self, line: bytes) -> None:
        """Check a header line against the limits, and for bytes that some parsers take for a line end."""
        limits = self._limits
        self._count += 1
        self._size += len(line)
        if len(line) > limits.max_header_bytes:
            raise self._line_too_long()
        if self._size > limits.max_header_bytes:
            raise HeadersTooLarge(f"The headers are larger than {limits.max_header_bytes} bytes.")
        if self._count > limits.max_headers:
            raise HeadersTooLarge(f"There are more than {limits.max_headers} headers.")
        if line.translate(None, b"\0\r\n") != line:
            raise malformed()

    def _line_too_long(self) -> HeadersTooLarge:
        return HeadersTooLarge(f"A line of the headers is longer than {self._limits.max_header_bytes} bytes.")

    def _finish(self) -> None:
        """Check ``Host``, and find the length of the body (RFC 9112, 6.3)."""
        headers = self.headers.values
        hosts = headers.get(b"Host", ())
        codings, lengths = headers.get(b"Transfer-Encoding"), headers.get(b"Content-Length")
        is_old = self.version == b"HTTP/1.0"
        if len(hosts) > 1 or not (hosts or is_old):
            raise malformed()  # RFC 9112, 3.2
        if codings is not None:
            if is_old or lengths or len(codings) > 1 or codings[0].lower() != b"chunked":
                raise malformed()  # RFC 9112, 6.1
            self.length = None
        elif lengths is not None:
            (length, *others) = lengths
            if others or not length.isdigit():
                raise malformed()
            if len(length) > _MAX_LENGTH_DIGITS:
                raise body_too_large(self._limits)
            self.length = int(length)


class ChunkedParser:
    """Parses one chunked body (RFC 9112, 7.1). Extensions and trailer are checked and ignored."""

    __slots__ = ("_is_behind_chunk", "_is_in_trailer", "_missing", "_rest", "_trailer_size")

    def __init__(self) -> None:
        self._rest = b""
        #: Bytes of the current chunk that have not arrived.
        self._missing = 0
        self._is_behind_chunk = self._is_in_trailer = False
        self._trailer_size = 0

    def feed(self, data: bytes, take: Callable[[bytes], None]) -> bytes | None:
        """Parse more bytes.

        Args:
            take: called with each piece of the body. An error that it raises ends the parsing.

        Returns:
            The bytes behind the body; None while the body is incomplete.

        Raises:
            BadRequest: the body is malformed.
        """
        data, at = self._rest + data, 0
        while True:
            if self._missing:
                piece = data[at : at + self._missing]
                at += len(piece)
                self._missing -= len(piece)
                if piece:
                    take(piece)
                if self._missing:
                    break
            if self._is_behind_chunk:
                end_of_chunk = data[at : at + 2]
                if not b"\r\n".startswith(end_of_chunk):
                    raise malformed()
                if len(end_of_chunk) < 2:
                    break
                self._is_behind_chunk = False
                at += 2
            end = data.find(b"\r\n", at)
            # The last byte of an incomplete line may be its CR.
            size = (end if end >= 0 else len(data) - 1) - at
            if size > (_MAX_TRAILER - self._trailer_size if self._is_in_trailer else _MAX_CHUNK_LINE):
                raise malformed()
            if end < 0:
                break
            line, at = data[at:end], end + 2
            if not self._is_in_trailer:
                self._read_size(line)
            elif line:
                self._check_trailer(line)
            else:
                return data[at:]
        self._rest = data[at:]
        return None

    def _read_size(self, line: bytes) -> None:
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise malformed()
        self._missing = int(match[1], 16)
        self._is_behind_chunk = self._missing > 0
        self._is_in_trailer = self._missing == 0

    def _check_trailer(self, line: bytes) -> None:
        self._trailer_size += len(line) + 2
        if self._trailer_size > _MAX_TRAILER or line.translate(None, b"\0\r\n") != line:
            raise malformed()
