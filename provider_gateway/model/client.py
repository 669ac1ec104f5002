"""The HTTP client for calls of the model: treq on top of http_client, connected by TCP or TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from provider_gateway.http_client.agent import PersistentAgent
from provider_gateway.http_client.treq_post import TreqClient
from provider_gateway.net.host_endpoint import host_endpoint
from provider_gateway.net.tls_transport import TLSClientEndpoint

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint
    from twisted.web.client import URI
    from twisted.web.iweb import IPolicyForHTTPS

#: Seconds to keep an idle connection. Common model servers close theirs after 5 s, which would race with a request.
_KEEP_ALIVE = 4.0
#: Time limit in seconds to connect. It can be short: a busy model queues requests, not connections.
_CONNECT_TIMEOUT = 10.0


@implementer(IAgentEndpointFactory)
class ModelEndpoints:
    """Endpoints for the model's URL.

    Args:
        reactor: provides TCP, name resolution and time.
        tls: is used for ``https``. It checks the host name.
    """

    def __init__(self, reactor: Any, tls: IPolicyForHTTPS) -> None:
        self._reactor = reactor
        self._tls = tls
        #: Endpoints for TCP, by host and port. Making one takes 80 µs, mostly for the host name.
        self._endpoints: dict[tuple[bytes, int], IStreamClientEndpoint] = {}

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """The endpoint for a URL (twisted.web.iweb.IAgentEndpointFactory)."""
        endpoint = self._endpoints.get((uri.host, uri.port))
        if endpoint is None:
            endpoint = host_endpoint(self._reactor, uri.host.decode("ascii"), uri.port, _CONNECT_TIMEOUT)
            self._endpoints[uri.host, uri.port] = endpoint
        if uri.scheme == b"https":
            endpoint = TLSClientEndpoint(self._tls.creatorForNetloc(uri.host, uri.port), endpoint, self._reactor)
        return endpoint


def model_client(reactor: Any, tls: IPolicyForHTTPS, connections: int) -> TreqClient:
    """A treq client for the model.

    Args:
        connections: how many idle connections to keep. With fewer than there are calls at a time, bursts of calls
            would open thousands of connections.
    """
    agent = PersistentAgent(reactor, ModelEndpoints(reactor, tls), connections=connections, keep_alive=_KEEP_ALIVE)
    return TreqClient(agent)
