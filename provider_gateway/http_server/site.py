"""Twisted's HTTP server with our rules: bodies are capped as they arrive, failures are problem documents, no HTML.

Used by the HTTPS listener and by the admin listener. :mod:`provider_gateway.http_server.channel` is one connection,
:mod:`provider_gateway.http_server.request` one request.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.web.http import datetimeToString
from twisted.web.server import Site

from provider_gateway.deadlines import Deadlines
from provider_gateway.http_server.channel import Channel
from provider_gateway.http_server.request import BoundedRequest
from provider_gateway.security.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IAddress, IReactorTime
    from twisted.web.resource import IResource

    from provider_gateway.config.limits import Limits


class GatewaySite(Site):
    """The factory of a listener.

    Args:
        resource: gets the requests.
        clock: times what the limits limit.
        on_finished: is told each finished request, for an access log.
        on_dropped: is told why a connection was ended without an answer, see :meth:`Channel.drop`.
        still_trusts: is asked, of the transport of a TLS connection, whether its client's certificate is one of
            those that would be let in now.

    Attributes:
        channels: open connections.
        closing: True once connections are no longer kept for another request.
        buffered: bytes of the bodies that are being received or served.
        idle: the connections whose idle time runs.
    """

    displayTracebacks = False
    noisy = False

    def __init__(
        self,
        resource: IResource,
        clock: IReactorTime,
        limits: Limits,
        on_finished: Callable[[BoundedRequest], object] | None = None,
        *,
        on_dropped: Callable[[str], object] = lambda _: None,
        still_trusts: Callable[[Any], bool] = lambda _: True,
    ) -> None:
        # Form parsing off: bodies are JSON, and parsing would cost 50 µs for each.
        super().__init__(
            resource,
            requestFactory=BoundedRequest,
            timeout=limits.idle_timeout,
            reactor=clock,
            parsePOSTFormSubmission=False,
        )
        self.channels: set[Channel] = set()
        self.idle: Deadlines[Channel] = Deadlines(clock, limits.idle_timeout, Channel.timeoutConnection)
        self._in_handshake: dict[Channel, None] = {}
        self._of_identity: Counter[str] = Counter()
        self.closing = False
        self.buffered = 0
        self.protocol = Channel  # type: ignore[method-assign,assignment] # HTTP/1.1 without a choice
        self.limits = limits
        self._on_finished = on_finished
        self._still_trusts = still_trusts
        self._on_dropped = on_dropped
        self._closed: list[Deferred[None]] = []
        self._date = (-1, b"")

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 only, on purpose: Twisted offers HTTP/2 as soon as the package h2 happens to be there."""
        return [b"http/1.1"]

    def buildProtocol(self, addr: IAddress | None) -> Any:  # Twisted declares a class that we do not use
        """A channel that takes its time from our clock (twisted.internet.interfaces.IProtocolFactory)."""
        channel: Any = super().buildProtocol(addr)
        channel.callLater = self.reactor.callLater
        return channel

    def join(self, channel: Channel) -> bool:
        """Take a new connection, at the expense of the oldest that has not shown a certificate; False without room."""
        if len(self.channels) >= self.limits.max_connections:
            oldest = next(iter(self._in_handshake), None)
            if oldest is None:
                return False
            del self._in_handshake[oldest]
            oldest.drop("limit")
        self.channels.add(channel)
        if ISSLTransport.providedBy(channel.transport):
            self._in_handshake[channel] = None
        return True

    def identify(self, channel: Channel) -> bool:
        """Give a connection its identity after the handshake; False if that one has its share of connections."""
        self._in_handshake.pop(channel, None)
        identity = Identity.of(channel.transport.getPeerCertificate().to_cryptography())
        if self._of_identity[str(identity)] >= self.limits.max_connections_per_identity:
            return False
        self._of_identity[str(identity)] += 1
        channel.identity = identity
        return True

    def leave(self, channel: Channel) -> None:
        """Forget a connection."""
        self.channels.discard(channel)
        self._in_handshake.pop(channel, None)
        if channel.identity is not None:
            name = str(channel.identity)
            self._of_identity[name] -= 1
            if not self._of_identity[name]:
                del self._of_identity[name]
        if not self.channels:
            self.idle.close()
        self._tell_closed()

    def date(self, seconds: float) -> bytes:
        """A time of the clock as HTTP writes it; written once a second, for that costs 2 µs."""
        if self._date[0] != int(seconds):
            self._date = int(seconds), datetimeToString(seconds)
        return self._date[1]

    def count_dropped(self, reason: str) -> None:
        """Count a connection that is ended without an answer."""
        self._on_dropped(reason)

    def trusts(self, channel: Channel) -> bool:
        """True if a connection that was let in would be let in now, too."""
        identity = channel.identity
        if identity is None:
            return True
        return self.reactor.seconds() < identity.expires and self._still_trusts(channel.transport)

    def close_connections(self) -> Deferred[None]:
        """Close every connection, those with a request in work when its answer is sent.

        Returns:
            A Deferred that fires when all are closed.
        """
        self.closing = True
        closed: Deferred[None] = Deferred()
        self._closed.append(closed)
        for channel in list(self.channels):
            channel.close_when_answered()
        self._tell_closed()
        return closed

    def _tell_closed(self) -> None:
        if not self.channels:
            waiting, self._closed = self._closed, []
            for each in waiting:
                each.callback(None)

    def log(self, request: Any) -> None:
        """Tell of a finished request (twisted.web.http.HTTPFactory)."""
        if self._on_finished is not None:
            self._on_finished(request)
