"""The connections of one listener: how many there may be, whose they are, and what they share.

The HTTPS listener and the admin listener each have a site. :mod:`provider_gateway.http_server.channel` is one
connection, :mod:`provider_gateway.http_server.request` one request.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from OpenSSL import crypto
from twisted.internet.defer import succeed
from twisted.internet.interfaces import IProtocolNegotiationFactory, ISSLTransport
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from twisted.web.http import datetimeToString
from twisted.web.resource import getChildForRequest
from zope.interface import implementer

from provider_gateway.clocks import WALL_CLOCK, WallClock
from provider_gateway.deadlines import Deadlines
from provider_gateway.deferreds import Waiters
from provider_gateway.http_server.channel import Channel
from provider_gateway.http_server.problems import problem_document
from provider_gateway.http_server.refused_handshakes import RefusedHandshakes, not_verified
from provider_gateway.http_server.time_limits import SiteLimits
from provider_gateway.security.identity import identity_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IReactorTime
    from twisted.web.resource import IResource

    from provider_gateway.config.limits import Limits
    from provider_gateway.http_server.problems import ErrorForm
    from provider_gateway.http_server.request import BoundedRequest

_log = Logger()


@implementer(IProtocolNegotiationFactory)
class GatewaySite(ServerFactory):
    """Makes the channels of a listener.

    Args:
        resource: serves the requests.
        clock: the reactor, for time limits.
        limits: of time, connections and bytes.
        on_finished: called with each finished request, for the access log.
        on_dropped: called with the reason when a connection is ended without a response; see :meth:`Channel.drop`.
        still_trusts: called with the transport of a TLS connection; True if the client's certificate would be accepted
            in a handshake now.
        wall_clock: has the time for ``Date``, and for the expiry of clients' certificates.
        error_form: makes the bodies of errors for which the resource is not asked.

    Attributes:
        channels: open connections.
        closing: True once no connection is kept for another request.
        buffered: bytes of the bodies that are being received or served.
        idle: the time limit of idle connections.
        time_limits: those of connections that are not idle.
        refused_handshakes: logs them.
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
        wall_clock: WallClock = WALL_CLOCK,
        error_form: ErrorForm = problem_document,
    ) -> None:
        self.resource = resource
        self.reactor: Any = clock
        self._wall_clock = wall_clock
        self.channels: set[Channel] = set()
        self.idle: Deadlines[Channel] = Deadlines(clock, limits.idle_timeout, Channel.idle_time_is_over)
        self.time_limits = SiteLimits(clock, limits)
        self.refused_handshakes = RefusedHandshakes(clock)
        self._in_handshake: dict[Channel, None] = {}
        self._of_identity: Counter[str] = Counter()
        self.closing = False
        self.buffered = 0
        self.limits = limits
        self.error_form = error_form
        self._on_finished = on_finished
        self._still_trusts = still_trusts
        self._on_dropped = on_dropped
        self._waiting_for_end: Waiters[None] = Waiters()
        self._date = (-1, b"")

    def acceptableProtocols(self) -> list[bytes]:
        """The protocols that TLS offers (twisted.internet.interfaces.IProtocolNegotiationFactory): HTTP/1.1 only."""
        return [b"http/1.1"]

    def buildProtocol(self, addr: IAddress | None) -> Channel:  # noqa: ARG002 - Twisted's signature
        """A channel for a new connection (twisted.internet.interfaces.IProtocolFactory)."""
        return Channel(self)

    def getResourceFor(self, request: BoundedRequest) -> IResource:
        """The resource that serves a request."""
        found: IResource = getChildForRequest(self.resource, request)
        return found

    def join(self, channel: Channel) -> bool:
        """Add a new connection.

        Without room, the oldest connection that has not completed its handshake is dropped.

        Returns:
            False if there is no room, and none could be made.
        """
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

    def accepts(self, channel: Channel) -> bool:
        """End a connection when its handshake is complete, unless a full handshake would accept the certificate.

        OpenSSL checks no certificate when a session is resumed.

        Returns:
            False if the connection is ended. It stays a handshake, which is counted and logged as refused.
        """
        is_accepted = self._still_trusts(channel.transport)
        if not is_accepted:
            channel.transport.failVerification(not_verified())
        return is_accepted

    def identify(self, channel: Channel) -> bool:
        """Give a connection its identity, once its handshake is complete.

        Returns:
            False if the identity has as many connections as it may have.
        """
        self._in_handshake.pop(channel, None)
        identity = identity_in(crypto.dump_certificate(crypto.FILETYPE_ASN1, channel.transport.getPeerCertificate()))
        if self._of_identity[str(identity)] >= self.limits.max_connections_per_identity:
            return False
        self._of_identity[str(identity)] += 1
        channel.identity = identity
        return True

    def leave(self, channel: Channel) -> None:
        """Forget a connection that has ended. May be called twice."""
        if channel.identity is not None and channel in self.channels:
            name = str(channel.identity)
            self._of_identity[name] -= 1
            if not self._of_identity[name]:
                del self._of_identity[name]
        self.channels.discard(channel)
        self._in_handshake.pop(channel, None)
        self.idle.stop(channel)
        if not self.channels:
            self._waiting_for_end.fire(None)

    def date(self) -> bytes:
        """The time as HTTP writes it (RFC 9110, 5.6.7). Kept for a second: making it costs 2 µs."""
        seconds = int(self._wall_clock())
        if self._date[0] != seconds:
            self._date = seconds, datetimeToString(seconds)
        return self._date[1]

    def count_dropped(self, reason: str) -> None:
        """Count a connection that is ended without a response."""
        self._on_dropped(reason)

    def trusts(self, channel: Channel) -> bool:
        """True if the certificate of a connection's client would be accepted now; True without TLS."""
        identity = channel.identity
        if identity is None:
            return True
        return self._wall_clock() < identity.expires and self._still_trusts(channel.transport)

    def close_connections(self) -> Deferred[None]:
        """Close every connection. A request that has begun to arrive is served first.

        Returns:
            A Deferred that fires when all connections are closed.
        """
        self.closing = True
        for channel in list(self.channels):
            channel.close_when_answered()
        return self._waiting_for_end.wait() if self.channels else succeed(None)

    def log(self, request: Any) -> None:
        """Record a finished request (twisted.web.http.Request). Its connection goes on even if that fails."""
        if self._on_finished is not None:
            try:
                self._on_finished(request)
            except Exception:  # noqa: BLE001 - such as a full disk
                _log.failure("A request could not be recorded")
