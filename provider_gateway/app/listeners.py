"""The listeners of a process, admin and HTTPS, on TCP ports of its own."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from provider_gateway.app.admin import Admin
from provider_gateway.config.host import bracketed
from provider_gateway.http_server.site import GatewaySite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import Metric
    from twisted.internet.interfaces import IListeningPort

    from provider_gateway.app.admin import Collect, Reasons
    from provider_gateway.config.settings import Settings

_ADMIN_MAX_BODY_BYTES = 1024
_log = Logger()


class Port(Protocol):
    """An open listener."""

    def stopListening(self) -> Any:
        """Stop accepting; connections that are open stay open."""


class Listeners(Protocol):
    """Opens the listeners of a process."""

    def open_admin(
        self,
        collect: Callable[[], Iterable[Metric]],
        waiting_for: Callable[[], list[str]],
        degraded: Callable[[], list[str]],
    ) -> Port:
        """Open the admin listener. The arguments are those of :class:`provider_gateway.app.admin.Admin`."""

    def open_http(self, factory: Any, connections: Callable[[], int]) -> Port:
        """Open the HTTPS listener, which serves plain HTTP if ``HTTP_TLS`` is off.

        Args:
            connections: returns the number of open connections.
        """


class TCPListeners:
    """Opens listeners on the addresses of the settings.

    Raises:
        CannotListenError: raised when a listener is opened: its address is in use, or not of this machine.
    """

    def __init__(self, reactor: Any, settings: Settings) -> None:
        self._reactor = reactor
        self._settings = settings

    def open_admin(self, collect: Collect, waiting_for: Reasons, degraded: Reasons) -> IListeningPort:
        """Open the admin listener (Listeners)."""
        limits = replace(self._settings.limits, max_body_bytes=_ADMIN_MAX_BODY_BYTES)
        site = GatewaySite(Admin(collect, waiting_for, degraded).app.resource(), self._reactor, limits)
        return self._listen("admin", self._settings.admin_addr, self._settings.admin_port, site)

    def open_http(self, factory: Any, connections: Callable[[], int]) -> IListeningPort:  # noqa: ARG002 - Listeners
        """Open the HTTPS listener (Listeners)."""
        return self._listen(self._settings.scheme, self._settings.http_addr, self._settings.http_port, factory)

    def _listen(self, what: str, address: str, port: int, factory: Any) -> IListeningPort:
        number = numeric(address, port)
        try:
            bound: IListeningPort = self._reactor.listenTCP(port, factory, interface=number, backlog=socket.SOMAXCONN)
        except CannotListenError as error:
            raise CannotListenError(bracketed(address), port, error.socketError) from None
        host: Any = bound.getHost()
        say_where(what, host.host, host.port)
        return bound


def numeric(address: str, port: int) -> str:
    """The address to listen on, as a number. A name is looked up, while the process waits: this is for its start.

    Raises:
        CannotListenError: the name has no address.
    """
    if isIPAddress(address) or isIPv6Address(address):
        return address
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CannotListenError(address, port, error) from None
    # IPv4 first: localhost is 127.0.0.1 on every machine.
    return str(min(found, key=lambda each: each[0] != socket.AF_INET)[4][0])


def say_where(what: str, host: str, port: int) -> None:
    """Log the address of a listener. With port 0 the log is the only place that says which port it is."""
    where = f"{bracketed(host)}:{port}"
    _log.info("{what} listener on {where}", what=what, where=where, host=host, port=port)
