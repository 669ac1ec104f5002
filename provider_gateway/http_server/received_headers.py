"""The headers of a request."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from twisted.web.http_headers import Headers

#: Number of names whose canonical spelling is kept: clients send the same few again and again.
_REMEMBERED_NAMES = 1000


@lru_cache(_REMEMBERED_NAMES)
def canonical_name(name: bytes) -> bytes:
    """A header name in Twisted's spelling, such as ``Content-Type``; empty if it is not a token (RFC 9110, 5.6.2)."""
    headers = Headers()
    try:
        headers.addRawHeader(name, b"")
    except ValueError:
        return b""
    ((spelled, _),) = headers.getAllRawHeaders()
    return spelled


class ReceivedHeaders:
    """The headers of a request. Has the methods of Twisted's ``Headers`` that Twisted, Klein and we call.

    Twisted's class checks every header that is added, which takes 1 µs. The parser has checked these headers already.
    """

    __slots__ = ("values",)

    def __init__(self, values: dict[bytes, list[bytes]]) -> None:
        #: Values by canonical name, without white space around them.
        self.values = values

    def getRawHeaders(self, name: bytes | str, default: Any = None) -> Any:
        """The values of a header (twisted.web.http_headers.Headers).

        Returns:
            Bytes, or text if the name is text; ``default`` without such a header.
        """
        if isinstance(name, str):
            values = self.values.get(canonical_name(name.encode("iso-8859-1")))
            return default if values is None else [value.decode("utf-8") for value in values]
        return self.values.get(canonical_name(name), default)

    def hasHeader(self, name: bytes) -> bool:
        """True if there is such a header (twisted.web.http_headers.Headers)."""
        return canonical_name(name) in self.values

    def setRawHeaders(self, name: bytes, values: list[bytes]) -> None:
        """Replace a header (twisted.web.http_headers.Headers)."""
        self.values[canonical_name(name)] = values

    def getAllRawHeaders(self) -> Any:
        """Canonical names with their values (twisted.web.http_headers.Headers)."""
        return self.values.items()
