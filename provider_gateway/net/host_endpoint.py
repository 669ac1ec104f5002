"""TCP connections to a host: a name that the system's resolver knows, whatever its characters, or an address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import HostnameAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import (
        IAddress,
        IHostResolution,
        IProtocol,
        IProtocolFactory,
        IResolutionReceiver,
    )

#: Stands for the host in Twisted's endpoint.
_PLACEHOLDER = "host.invalid"


def host_endpoint(reactor: Any, host: str, port: int, timeout: float) -> IStreamClientEndpoint:
    """The endpoint for a host.

    Args:
        reactor: provides TCP, host names and time.
        host: a name in ASCII, or an address without brackets.
        timeout: seconds for each address to connect.
    """
    # Endpoints for addresses need no resolver, which leaves 5 KB for the garbage collector at each connect.
    by: Any = _NameEndpoint
    if isIPAddress(host):
        by = TCP4ClientEndpoint
    elif isIPv6Address(host):
        by = TCP6ClientEndpoint
    endpoint: IStreamClientEndpoint = by(reactor, host, port, timeout=timeout)
    return endpoint


@implementer(IHostnameResolver)
class _Resolver:
    """Looks up one host, whatever it is asked for."""

    def __init__(self, reactor: Any, host: str) -> None:
        self._reactor = reactor
        self._host = host

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,  # noqa: ARG002 - the placeholder
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        resolution: IHostResolution = self._reactor.nameResolver.resolveHostName(
            resolutionReceiver, self._host, portNumber, addressTypes, transportSemantics
        )
        return resolution


@implementer(IReactorPluggableNameResolver)
class _Reactor:
    """The reactor with another resolver."""

    def __init__(self, reactor: Any, host: str) -> None:
        self._reactor = reactor
        self.nameResolver: IHostnameResolver = _Resolver(reactor, host)

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        previous, self.nameResolver = self.nameResolver, resolver
        return previous

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


@implementer(IStreamClientEndpoint)
class _NameEndpoint:
    """Twisted's endpoint for names, which tries all addresses of a name (RFC 8305), for any name.

    Twisted encodes the name for IDNA, and so refuses underscores, which names in Compose and elsewhere have. Here it
    is given a placeholder, and a resolver that looks up the name itself.
    """

    def __init__(self, reactor: Any, host: str, port: int, timeout: float) -> None:
        self._host = host
        self._port = port
        self._endpoint = HostnameEndpoint(_Reactor(reactor, host), _PLACEHOLDER, port, timeout=timeout)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect (twisted.internet.interfaces.IStreamClientEndpoint)."""

        def cancel(connecting: Deferred[IProtocol]) -> None:
            # Twisted reports a cancelled look-up like a name without addresses.
            connecting.errback(ConnectingCancelledError(HostnameAddress(self._host.encode("ascii"), self._port)))
            attempt.cancel()

        def connected(protocol: IProtocol) -> None:
            connecting.callback(protocol)

        def failed(failure: Failure) -> None:
            if not connecting.called:
                connecting.errback(self._with_host(failure))

        connecting: Deferred[IProtocol] = Deferred(cancel)
        attempt = self._endpoint.connect(protocolFactory)
        attempt.addCallbacks(connected, failed)
        return connecting

    def _with_host(self, failure: Failure) -> Failure:
        """Name the host in the error of a name without addresses."""
        if not failure.check(DNSLookupError):
            return failure
        msg = f"there is no address for the host name {self._host!r}"
        return Failure(DNSLookupError(msg))
