"""The HTTP client of the model: treq, with connections, bodies and answers as our calls need them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from provider_gateway.http_client.agent import PersistentAgent
from provider_gateway.http_client.treq_post import treq_client
from provider_gateway.net.tls_transport import TLSClientEndpoint

if TYPE_CHECKING:
    from treq.client import HTTPClient
    from twisted.internet.interfaces import IStreamClientEndpoint
    from twisted.web.client import URI
    from twisted.web.iweb import IPolicyForHTTPS

#: Seconds that an idle connection is kept: less than the 5 s after which common model servers close theirs.
_KEEP_ALIVE = 4.0
#: Seconds to connect; a busy model queues requests, not connections.
_CONNECT_TIMEOUT = 10.0


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


def model_client(reactor: Any, tls: IPolicyForHTTPS, connections: int) -> HTTPClient:
    """A treq client for the model.

    Args:
        connections: idle ones to keep: as many as there may be calls at a time, or bursts open thousands.
    """
    agent = PersistentAgent(reactor, ModelEndpoints(reactor, tls), connections=connections, keep_alive=_KEEP_ALIVE)
    return treq_client(agent)
