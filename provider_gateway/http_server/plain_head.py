"""The head of a plain request, read in one go; whatever is odd about a head is left to the strict parser.

Pure: bytes in, values out. What is read here is exactly what :mod:`provider_gateway.http_server.parser` reads line by
line, and what that would refuse is not read here.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from twisted.web.http_headers import Headers

_REQUEST_LINE = re.compile(rb"([A-Z]+) ([\x21-\x7e]+) HTTP/1\.1")
#: Digits of a length: the strict parser answers those who send more.
_LENGTH_DIGITS = 18
#: Names that are remembered; clients of one kind all send the same few.
_NAMES = 1000


class Head(NamedTuple):
    """The head of a request.

    Attributes:
        headers: values by name, which is written as Twisted writes names.
        length: bytes of the body.
        size: bytes of the head, the empty line included.
    """

    method: bytes
    target: bytes
    headers: dict[bytes, list[bytes]]
    length: int
    size: int


class HeadersRead(Headers):
    """Headers that need no more checks: values, in lists, by name as Twisted writes it."""

    __slots__ = ()

    def __init__(self, headers: dict[bytes, list[bytes]]) -> None:
        # Without Twisted's way through addRawHeader(): that costs 1 µs a header.
        self._rawHeaders = headers


@lru_cache(_NAMES)
def _written(name: bytes) -> bytes | None:
    """A header's name as Twisted writes it; None if it is no token."""
    headers = Headers()
    try:
        headers.addRawHeader(name, b"")
    except ValueError:
        return None
    ((written, _),) = headers.getAllRawHeaders()
    return written


def read_head(data: bytes, max_bytes: int, max_headers: int) -> Head | None:
    """The head that some bytes begin with; None if it is not whole, or not plain.

    Plain is HTTP/1.1 in lines that end with CR LF, with at most one ``Content-Length``, and not chunked.

    Args:
        max_bytes: of the head.
        max_headers: header lines.
    """
    end = data.find(b"\r\n\r\n", 0, max_bytes)
    if end < 0:
        return None
    head = data[:end]
    first, *lines = head.split(b"\r\n")
    request_line = _REQUEST_LINE.fullmatch(first)
    # All CR and LF are ends of lines, and there is no NUL, if no more than those ends are left out here.
    is_clean = len(head) - len(head.translate(None, b"\0\r\n")) == 2 * len(lines)
    if request_line is None or not is_clean or len(lines) > max_headers:
        return None
    headers: dict[bytes, list[bytes]] = {}
    for line in lines:
        sent, colon, value = line.partition(b":")
        name = _written(sent)
        if name is None or not colon:
            return None
        headers.setdefault(name, []).append(value.strip(b" \t"))
    lengths = headers.get(b"Content-Length", (b"0",))
    is_framed = len(lengths) == 1 and lengths[0].isdigit() and len(lengths[0]) <= _LENGTH_DIGITS
    if not is_framed or b"Transfer-Encoding" in headers:
        return None
    return Head(request_line[1], request_line[2], headers, int(lengths[0]), end + 4)
