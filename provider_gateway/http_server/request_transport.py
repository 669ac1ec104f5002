"""What Twisted's ``Request`` calls of its channel, but for the end of a request.

Twisted documents no such interface. Its HTTP/2 streams offer the same to requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Protocol

if TYPE_CHECKING:
    from twisted.web.http_headers import Headers


class RequestTransport(Protocol):
    """A connection as its requests see it: they write to it, and ask for its addresses."""

    transport: Any  # TCP or TLS over it; both have what the interface lacks

    def __init__(self) -> None:
        # The transport asks the system for its addresses each time.
        self._peer: Any = None
        self._host: Any = None

    def write(self, data: bytes) -> None:
        """Send bytes of a response."""
        self.transport.write(data)

    def writeSequence(self, pieces: list[bytes]) -> None:
        """Send bytes of a response."""
        self.transport.write(b"".join(pieces))

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Send the head of a response."""
        lines = [b"%s: %s" % (name, value) for name, values in headers.getAllRawHeaders() for value in values]
        self.transport.write(b"\r\n".join((b"%s %s %s" % (version, code, reason), *lines, b"", b"")))

    def getPeer(self) -> Any:
        """Where the connection comes from."""
        if self._peer is None:
            self._peer = self.transport.getPeer()
        return self._peer

    def getHost(self) -> Any:
        """Where the connection was made to."""
        if self._host is None:
            self._host = self.transport.getHost()
        return self._host

    def isSecure(self) -> bool:
        """True with TLS."""
        return ISSLTransport.providedBy(self.transport)
