"""Twisted's HTTP server with our rules: bodies are capped as they arrive, failures are problem documents, no HTML.

Used by the HTTPS listener and by the admin listener. :mod:`provider_gateway.http_channel` is one connection of it.
"""

from __future__ import annotations

import re
from collections import Counter
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.web.server import Request, Site

from provider_gateway.errors import BadRequest, BodyTooLarge, Forbidden, GatewayError, NotFound, Overloaded
from provider_gateway.http_channel import Channel
from provider_gateway.http_parser import RefusedError, rquid_sent
from provider_gateway.identity import Identity
from provider_gateway.messages import RQUID
from provider_gateway.problems import error_of, render

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IAddress, IReactorTime
    from twisted.python.failure import Failure
    from twisted.web.resource import IResource

    from provider_gateway.limits import Limits

#: RFC 9110, 7.2: host and port as in a URI; the rest would make URL routing fail.
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


class BoundedRequest(Request):
    """A request whose body is refused as soon as it is known to be too large."""

    channel: Channel
    #: Set by the API, for the access log.
    correlation_id: str | None = None
    #: Seconds of the site's clock at which the whole request was there.
    received_at: float | None = None

    @property
    def identity(self) -> Identity | None:
        """Who sent it; None without TLS."""
        return self.channel.identity

    def gotLength(self, length: int | None) -> None:
        """Refuse a declared length over the limit; in memory otherwise, where the message is published from."""
        self.content = BytesIO()
        if length is not None:
            self._check_size(length, length)

    def handleContentChunk(self, data: bytes) -> None:
        """Refuse a chunked body that grows over the limit."""
        channel = self.channel
        channel.buffered += len(data)
        channel.site.buffered += len(data)
        self._check_size(channel.buffered, 0)
        if channel.refused:
            # The decoder would go on with what it has, to the end of the body or to an answer of its own.
            raise RefusedError
        super().handleContentChunk(data)

    def _check_size(self, size: int, more: int) -> None:
        """Refuse a body of some size, or if there is no room for more."""
        limits, buffered = self.channel.site.limits, self.channel.site.buffered
        if size > limits.max_body_bytes:
            self._refuse(BodyTooLarge(f"The body is larger than {limits.max_body_bytes} bytes (MAX_BODY_BYTES)."))
        elif buffered + more > limits.max_buffered_bytes:
            self._refuse(Overloaded(f"Bodies of {buffered} bytes are being served (MAX_BUFFERED_BYTES)."))

    def _refuse(self, error: GatewayError) -> None:
        # A client that asks first ("Expect: 100-continue") must get the refusal, not the go-ahead.
        self.requestHeaders.removeHeader(b"Expect")
        self.channel.refuse(error)

    def note_refusal(self, status: int, rquid: str) -> None:
        """Remember, for the record of finished requests, how the channel answered."""
        self.method = self.path = b"-"
        self.code = status
        self.received_at = self.channel.site.reactor.seconds()
        self.setHeader(RQUID, rquid)

    def connectionLost(self, reason: Failure) -> None:
        """Record a request whose client left before the answer, with the status that nginx made usual for it."""
        if self.received_at is not None and not self.channel.refused:
            self.code = 499
            self.channel.site.log(self)
        super().connectionLost(reason)

    def process(self) -> None:
        """Route the request, if its client is still trusted and its target can be routed."""
        self.received_at = self.channel.site.reactor.seconds()
        if not self.channel.site.trusts(self.channel):
            self.channel.persistent = 0
            self.setHeader(b"Connection", b"close")
            self.answer(Forbidden("The client certificate has expired, or is no longer trusted."))
            return
        if self.path == b"*":
            self.answer(NotFound("The target * is the server as a whole, of which there is nothing to be asked."))
            return
        if self.method != self.method.upper():
            self.answer(BadRequest("Methods are written in capitals (RFC 9110, 9.1)."))
            return
        host = self.requestHeaders.getRawHeaders(b"Host", [b"-"])[0]
        if not _HOST.fullmatch(host):
            self.answer(BadRequest("The Host header is not a host name."))
            return
        try:
            unquote_to_bytes(self.path).decode("utf-8")
        except UnicodeDecodeError:
            self.answer(BadRequest("The path is not valid UTF-8."))
            return
        super().process()

    def answer(self, error: GatewayError) -> None:
        """Answer with a problem document and be done."""
        rquid = rquid_sent(self)
        self.setHeader(RQUID, rquid)
        self.write(render(self, error, rquid))
        self.finish()

    def processingFailed(self, reason: Failure) -> None:
        """Answer 500 without a word about the cause, which is logged (twisted.web.server.Request)."""
        error = error_of(reason)
        if not self.startedWriting:
            self.answer(error)


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
        self._tell_closed()

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
