"""The HTTP client of the model: treq, with connections, bodies and answers as our calls need them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hyperlink import EncodedURL
from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from provider_gateway.http_client.agent import ImmediateBody, PersistentAgent
from provider_gateway.net.tls_transport import TLSClientEndpoint

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint
    from twisted.web.client import URI
    from twisted.web.iweb import IPolicyForHTTPS

#: Seconds that an idle connection is kept: less than the 5 s after which common model servers close theirs.
_KEEP_ALIVE = 4.0
#: Seconds to connect; a busy model queues requests, not connections.
_CONNECT_TIMEOUT = 10.0


class FixedURL(EncodedURL):
    """A URL that is asked for again and again: treq would encode its host name each time, which costs 160 µs.

    Args:
        text: the URL, with a host name in any script.
    """

    _text = ""

    @classmethod
    def of(cls, text: str) -> FixedURL:
        """The URL for a text."""
        url: Any = cls.from_text(EncodedURL.from_text(text).to_uri().to_text())
        url._text = EncodedURL.to_text(url)
        return url  # type: ignore[no-any-return] # hyperlink makes it of our class

    def to_uri(self) -> FixedURL:
        """The URL itself: it is encoded (hyperlink.EncodedURL)."""
        return self

    def to_text(self, with_password: bool = False) -> str:  # noqa: ARG002 - hyperlink's signature; there is none
        """The text that was made once (hyperlink.EncodedURL)."""
        return self._text


@implementer(IAgentEndpointFactory)
class ModelEndpoints:
    """Endpoints for the model's URL.

    Args:
        reactor: provides TCP, host names and time.
        tls: used for ``https``; checks the host name.
    """

    def __init__(self, reactor: Any, tls: IPolicyForHTTPS) -> None:
        self._reactor = reactor
        self._tls = tls
        #: By host and port: each costs 80 µs, for its host name mostly, and is asked for with each request.
        self._endpoints: dict[tuple[bytes, int], IStreamClientEndpoint] = {}

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """The endpoint for a URL (twisted.web.iweb.IAgentEndpointFactory)."""
        endpoint = self._endpoints.get((uri.host, uri.port))
        if endpoint is None:
            # To connect by name leaves 5 KB for the garbage collector, which an address does not need.
            host = uri.host.decode("ascii")
            by: Any = HostnameEndpoint
            if isIPAddress(host):
                by = TCP4ClientEndpoint
            elif isIPv6Address(host):
                by = TCP6ClientEndpoint
            endpoint = by(self._reactor, host, uri.port, timeout=_CONNECT_TIMEOUT)
            self._endpoints[uri.host, uri.port] = endpoint
        if uri.scheme == b"https":
            endpoint = TLSClientEndpoint(self._tls.creatorForNetloc(uri.host, uri.port), endpoint, self._reactor)
        return endpoint


class NoCookies(IndexableCookieJar):
    """Keeps no cookies and sends none. A jar whose policy says so, as Python has it, takes 40 µs to do nothing."""

    def add_cookie_header(self, request: Any) -> None:
        """Send none (http.cookiejar.CookieJar)."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Keep none (http.cookiejar.CookieJar)."""


def model_client(reactor: Any, tls: IPolicyForHTTPS, connections: int) -> HTTPClient:
    """A treq client for the model.

    Args:
        connections: idle ones to keep: as many as there may be calls at a time, or bursts open thousands.
    """
    agent = PersistentAgent(reactor, ModelEndpoints(reactor, tls), connections, _KEEP_ALIVE)
    return HTTPClient(agent, NoCookies(), data_to_body_producer=ImmediateBody)
