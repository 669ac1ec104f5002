"""The methods that Twisted's ``Request`` calls on its channel to write and to ask for addresses.

Twisted does not document this interface. Its own second implementation are the streams of HTTP/2.
Methods that Twisted calls on every connection, and that have nothing to do, are here, too.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Protocol

if TYPE_CHECKING:
    from twisted.web.http_headers import Headers

    from provider_gateway.http_server.time_limits import TimeLimits


@lru_cache(64)
def _shared(address: Any) -> Any:
    """One object for equal addresses: it takes 140 bytes, and there are few addresses of ours."""
    return address


class RequestTransport(Protocol):
    """A connection as its requests use it."""

    transport: Any  # TCP, or TLS over TCP: ITransport lacks methods that both have
    _time: TimeLimits

    def __init__(self) -> None:
        # Addresses are kept: the transport makes a system call for each.
        self._peer: Any = None
        self._host: Any = None

    @property
    def is_congested(self) -> bool:
        """True while the client has not read what was sent, and the transport's buffer is full."""
        return self._time.is_writing

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
        """The client's address."""
        if self._peer is None:
            self._peer = self.transport.getPeer()
        return self._peer

    def getHost(self) -> Any:
        """Our address of this connection."""
        if self._host is None:
            self._host = _shared(self.transport.getHost())
        return self._host

    def isSecure(self) -> bool:
        """True with TLS."""
        return ISSLTransport.providedBy(self.transport)

    def writeConnectionLost(self) -> None:
        """Do nothing: we never half-close (twisted.internet.interfaces.IHalfCloseableProtocol)."""

    def stopProducing(self) -> None:
        """Do nothing: ``connectionLost`` follows (twisted.internet.interfaces.IPushProducer)."""
