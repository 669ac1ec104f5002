"""The listeners of a process, admin and HTTPS, on TCP ports of its own."""

from __future__ import annotations

import contextlib
import errno
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from provider_gateway.app.admin import Admin
from provider_gateway.config.host import bracketed
from provider_gateway.config.settings import name_used
from provider_gateway.errors import SettingsError
from provider_gateway.http_server.site import GatewaySite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client import Metric
    from twisted.internet.interfaces import IListeningPort

    from provider_gateway.app.admin import Collect, Reasons
    from provider_gateway.config.settings import Settings

#: How the variables of a listener begin.
Side = Literal["HTTP", "ADMIN"]
_ADMIN_MAX_BODY_BYTES = 1024
#: Another port would do; otherwise the address is wrong.
_OF_PORT = (errno.EADDRINUSE, errno.EACCES)
_log = Logger()


class ListenerError(CannotListenError):
    """A listener cannot be opened. The text is one line that names the variable.

    Args:
        address: as the variable has it.
        error: the reason.
    """

    def __init__(self, side: Side, address: str, port: int, error: OSError) -> None:
        super().__init__(bracketed(address), port, error)  # type: ignore[no-untyped-call]
        self._variable = name_used(f"{side}_{'PORT' if error.errno in _OF_PORT else 'ADDR'}")

    def __str__(self) -> str:
        """The line."""
        reason = self.socketError.strerror or self.socketError
        return f"{self._variable}: cannot listen on {self.interface}:{self.port}: {reason}"


@contextlib.contextmanager
def listening(side: Side, address: str, port: int) -> Iterator[None]:
    """Raises a :class:`ListenerError` in place of a CannotListenError or OSError."""
    try:
        yield
    except CannotListenError as error:
        raise ListenerError(side, address, port, error.socketError) from None
    except OSError as error:
        raise ListenerError(side, address, port, error) from None


def check_listeners(settings: Settings) -> None:
    """Check that the listeners of a process with the gateway role do not need the same port.

    Raises:
        SettingsError: they do.
    """
    port = settings.http_port
    if port != 0 and port == settings.admin_port and _overlap(settings.http_addr, settings.admin_addr, port):
        msg = f"{name_used('HTTP_PORT')} and ADMIN_PORT: expected two different ports, found {port} for both"
        raise SettingsError(msg)


def _overlap(one: str, other: str, port: int) -> bool:
    """True if two addresses cannot be listened on at the same port."""
    with contextlib.suppress(CannotListenError):
        one, other = numeric(one, port), numeric(other, port)
    if one == other or "::" in {one, other}:  # on Linux, "::" is every address, of IPv4 as well
        return True
    return "0.0.0.0" in {one, other} and ":" not in one + other  # noqa: S104 - compared, not bound


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
        ListenerError: raised when a listener is opened: its address is in use, or not of this machine.
    """

    def __init__(self, reactor: Any, settings: Settings) -> None:
        self._reactor = reactor
        self._settings = settings

    def open_admin(self, collect: Collect, waiting_for: Reasons, degraded: Reasons) -> IListeningPort:
        """Open the admin listener (Listeners)."""
        limits = replace(self._settings.limits, max_body_bytes=_ADMIN_MAX_BODY_BYTES)
        site = GatewaySite(Admin(collect, waiting_for, degraded).app.resource(), self._reactor, limits)
        return self._listen("ADMIN", "admin", self._settings.admin_addr, self._settings.admin_port, site)

    def open_http(self, factory: Any, connections: Callable[[], int]) -> IListeningPort:  # noqa: ARG002 - Listeners
        """Open the HTTPS listener (Listeners)."""
        settings = self._settings
        return self._listen("HTTP", settings.scheme, settings.http_addr, settings.http_port, factory)

    def _listen(self, side: Side, what: str, address: str, port: int, factory: Any) -> IListeningPort:
        with listening(side, address, port):
            number = numeric(address, port)
            bound: IListeningPort = self._reactor.listenTCP(port, factory, interface=number, backlog=socket.SOMAXCONN)
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
