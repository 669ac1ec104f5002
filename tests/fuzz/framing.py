"""A second, strict and small parser of HTTP/1.1 requests. It shares no code with the parser that is tested.

Where the two disagree about the end of a request, a proxy and the gateway may, too: requests are smuggled that way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(%s) ([\x21-\x7e]+) (HTTP/1\.[01])" % _TOKEN)
#: Origin form, absolute form without user information, and asterisk form (RFC 9112, 3.2).
_TARGET = re.compile(rb"(?:(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://(?P<host>[^/?#@]+))?(?P<path>[/?].*)?|\*")
_FIELD = re.compile(rb"(%s):[ \t]*((?:[^\0\r\n]*[^\0\r\n \t])?)[ \t]*" % _TOKEN)
#: A line of a trailer is ignored. It must not have bytes that some parsers take for a line end.
_TRAILER = re.compile(rb"[^\0\r\n]*")
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)(;[\t\x20-\x5b\x5d-\x7e\x80-\xff]*)?")
#: Most bytes of a line with the size of a chunk and its extensions.
_MAX_CHUNK_LINE = 1023
_MAX_TRAILER = 65_536
_MAX_LENGTH_DIGITS = 18


class _Rejected(Exception):
    """The bytes are not a request, or a request over a limit."""


class _Incomplete(Exception):
    """More bytes are needed."""


@dataclass(frozen=True)
class Sizes:
    """The limits of a request."""

    body: int
    header_bytes: int = 16_384
    headers: int = 100


@dataclass
class ReadRequest:
    """A request, or as much of it as has arrived."""

    method: bytes = b""
    target: bytes = b""
    version: bytes = b"HTTP/1.1"
    #: Path and query of the target; the host of the target, or else Host.
    path: bytes = b""
    host: bytes | None = None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    def values(self, name: bytes) -> list[bytes]:
        """The values of a header; its name in lower case."""
        return [value for each, value in self.headers if each == name]

    @property
    def closes(self) -> bool:
        """True if the connection ends after this request."""
        options = [each.strip(b" \t").lower() for value in self.values(b"connection") for each in value.split(b",")]
        return b"close" in options or (self.version == b"HTTP/1.0" and b"keep-alive" not in options)

    @property
    def asks_first(self) -> bool:
        """True if the client waits for 100 Continue (RFC 9110, 10.1.1)."""
        return self.version == b"HTTP/1.1" and [each.lower() for each in self.values(b"expect")][:1] == [
            b"100-continue"
        ]


@dataclass
class Reading:
    """The requests in a stream of bytes.

    Attributes:
        requests: the complete requests, up to the last one that is to be served.
        rejected: the request that is malformed or over a limit; None if there is none.
    """

    requests: list[ReadRequest] = field(default_factory=list)
    rejected: ReadRequest | None = None


class _Reader:
    def __init__(self, data: bytes, sizes: Sizes) -> None:
        self._data = data
        self._at = 0
        self._sizes = sizes
        self.request = ReadRequest()
        self._in_head = False

    def read(self) -> bool:
        """Read the next request; False if no byte of it has arrived."""
        self.request, self._in_head = ReadRequest(), True
        if self._data.startswith(b"\r\n", self._at):
            self._at += 2  # RFC 9112, 2.2: at least one empty line is to be ignored
        if self._at == len(self._data):
            return False
        self._read_head()
        self._in_head = False
        self._read_body()
        return True

    def _line(self, most: int) -> bytes:
        end = self._data.find(b"\r\n", self._at)
        line = self._data[self._at : end if end >= 0 else None]
        # An incomplete header line may contain LF alone, or be too long already.
        if len(line) > most + (0 if end >= 0 else 1) or (end < 0 and self._in_head and b"\n" in line):
            raise _Rejected
        if end < 0:
            raise _Incomplete
        self._at = end + 2
        return line

    def _read_head(self) -> None:
        request, sizes = self.request, self._sizes
        match = _REQUEST_LINE.fullmatch(self._line(sizes.header_bytes))
        if match is None:
            raise _Rejected
        method, request.target, request.version = match.groups()
        target = _TARGET.fullmatch(request.target)
        if target is None or request.target.startswith(b"?"):
            raise _Rejected
        request.method = method
        size = 0
        while line := self._line(sizes.header_bytes):
            match = _FIELD.fullmatch(line)
            size += len(line)
            if match is None or size > sizes.header_bytes or len(request.headers) == sizes.headers:
                raise _Rejected
            request.headers.append((match[1].lower(), match[2]))
        hosts, is_old = request.values(b"host"), request.version == b"HTTP/1.0"
        if len(hosts) > 1 or (not hosts and not is_old) or (is_old and request.values(b"transfer-encoding")):
            raise _Rejected
        request.host = target["host"] or (hosts[0] if hosts else None)
        path = target["path"] or (b"/" if target["host"] else b"*")
        request.path = path if path[:1] != b"?" else b"/" + path

    def _read_body(self) -> None:
        lengths, codings = self.request.values(b"content-length"), self.request.values(b"transfer-encoding")
        if len(lengths) + len(codings) > 1 or any(each.lower() != b"chunked" for each in codings):
            raise _Rejected
        if codings:
            self._read_chunks()
        elif lengths:
            (length,) = lengths
            if not length.isdigit() or len(length) > _MAX_LENGTH_DIGITS or int(length) > self._sizes.body:
                raise _Rejected
            self._take(int(length))

    def _take(self, size: int) -> None:
        data = self._data[self._at : self._at + size]
        self.request.body += data
        self._at += len(data)
        if len(self.request.body) > self._sizes.body:
            raise _Rejected
        if len(data) < size:
            raise _Incomplete

    def _read_chunks(self) -> None:
        while True:
            match = _CHUNK.fullmatch(self._chunk_line())
            if match is None:
                raise _Rejected
            size = int(match[1], 16)
            if not size:
                break
            self._take(size)
            end = self._data[self._at : self._at + 2]
            if end != b"\r\n":
                raise _Incomplete if end in (b"", b"\r") else _Rejected
            self._at += 2
        start = self._at
        while line := self._line(_MAX_TRAILER):
            if _TRAILER.fullmatch(line) is None or self._at - start > _MAX_TRAILER:
                raise _Rejected

    def _chunk_line(self) -> bytes:
        end = self._data.find(b"\r\n", self._at)
        if end < 0 and len(self._data) - self._at <= _MAX_CHUNK_LINE + 1:
            raise _Incomplete
        return self._line(_MAX_CHUNK_LINE)


def read_requests(data: bytes, sizes: Sizes) -> Reading:
    """Read the requests of a stream, up to the first one that is rejected or ends the connection."""
    reader, reading = _Reader(data, sizes), Reading()
    try:
        while reader.read():
            reading.requests.append(reader.request)
            if reader.request.closes:
                break
    except _Rejected:
        reading.rejected = reader.request
    except _Incomplete:
        pass
    return reading
