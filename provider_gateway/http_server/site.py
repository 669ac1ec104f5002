"""Twisted's HTTP server with our rules: bodies are capped as they arrive, failures are problem documents, no HTML.

Used by the HTTPS listener and by the admin listener. :mod:`provider_gateway.http_server.channel` is one connection,
:mod:`provider_gateway.http_server.request` one request.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import succeed
from twisted.internet.interfaces import IProtocolNegotiationFactory, ISSLTransport
from twisted.internet.protocol import ServerFactory
from twisted.web.http import datetimeToString
from twisted.web.resource import getChildForRequest
from zope.interface import implementer

from provider_gateway.deadlines import Deadlines
from provider_gateway.deferreds import Waiters
from provider_gateway.http_server.channel import Channel
from provider_gateway.security.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IReactorTime
    from twisted.web.resource import IResource

    from provider_gateway.config.limits import Limits
    from provider_gateway.http_server.request import BoundedRequest


@implementer(IProtocolNegotiationFactory)
class GatewaySite(ServerFactory):
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
        self.resource = resource
        self.reactor: Any = clock
        self.channels: set[Channel] = set()
        self.idle: Deadlines[Channel] = Deadlines(clock, limits.idle_timeout, Channel.idle_time_is_over)
        self._in_handshake: dict[Channel, None] = {}
        self._of_identity: Counter[str] = Counter()
        self.closing = False
        self.buffered = 0
        self.limits = limits
        self._on_finished = on_finished
        self._still_trusts = still_trusts
        self._on_dropped = on_dropped
        self._waiting_for_end: Waiters[None] = Waiters()
        self._date = (-1, b"")

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 only, on purpose: Twisted offers HTTP/2 as soon as the package h2 happens to be there."""
        return [b"http/1.1"]

    def buildProtocol(self, addr: IAddress | None) -> Channel:  # noqa: ARG002 - Twisted's signature
        """A channel for a new connection (twisted.internet.interfaces.IProtocolFactory)."""
        return Channel(self)

    def getResourceFor(self, request: BoundedRequest) -> IResource:
        """The resource that serves a request."""
        found: IResource = getChildForRequest(self.resource, request)
        return found

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
        self.idle.stop(channel)
        if not self.channels:
            self._waiting_for_end.fire(None)

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
        for channel in list(self.channels):
            channel.close_when_answered()
        return self._waiting_for_end.wait() if self.channels else succeed(None)

    def log(self, request: Any) -> None:
        """Tell of a finished request (twisted.web.http.HTTPFactory)."""
        if self._on_finished is not None:
            self._on_finished(request)
