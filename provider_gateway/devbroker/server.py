"""The broker as a whole, and where it may listen: on this machine only."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger

from provider_gateway.devbroker.connection import Connection
from provider_gateway.devbroker.faults import Faults
from provider_gateway.devbroker.login import Login
from provider_gateway.devbroker.vhost import VirtualHost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.interfaces import (
        IAddress,
        IListeningPort,
        IReactorTCP,
        IReactorTime,
        IStreamServerEndpoint,
    )


class NotLoopback(Exception):
    """The broker was to listen where other machines reach it; the text names the address."""


def _check_loopback(host: str) -> None:
    try:
        is_loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        msg = (
            f"The development broker does not listen on {host or 'all interfaces'}: it is for this machine only. "
            "Use 127.0.0.1, ::1 or localhost."
        )
        raise NotLoopback(msg)


class Broker(ServerFactory):
    """A broker; connections to it share what it holds in memory.

    Args:
        users: pass word by name; None for those who log in by certificate only.
        clock: times expirations, heartbeats and faults.
        external_name: for the mechanism EXTERNAL, see :class:`Login`;
            :func:`provider_gateway.devbroker.login.common_name` reads it from TLS.

    Attributes:
        faults: what goes wrong on demand.
        vhost: exchanges and queues.
    """

    noisy = False
    _log = Logger()

    def __init__(
        self,
        users: Mapping[str, str | None],
        clock: IReactorTime,
        external_name: Callable[[Any], str | None] | None = None,
    ) -> None:
        self._clock = clock
        self._login = Login(users, external_name)
        self.faults = Faults()
        self.vhost = VirtualHost(clock)

    def buildProtocol(self, addr: IAddress | None) -> Connection | None:
        """A new connection (twisted.internet.interfaces.IProtocolFactory); None for a client of another machine."""
        if isinstance(addr, (IPv4Address, IPv6Address)):
            try:
                _check_loopback(addr.host)
            except NotLoopback:
                self._log.warn("A connection from {host} is refused", host=addr.host)
                return None
        return Connection(self.vhost, self._login, self.faults, self._clock)

    async def listen(self, endpoint: IStreamServerEndpoint) -> IListeningPort:
        """Listen on an endpoint, which may bring TLS.

        Raises:
            NotLoopback: other machines reach it; it is closed again, and nobody was let in.
        """
        port: IListeningPort = await endpoint.listen(self)
        try:
            address = port.getHost()
            if isinstance(address, (IPv4Address, IPv6Address)):
                _check_loopback(address.host)
        except NotLoopback:
            await _stopped(port)
            raise
        self._warn(str(address))
        return port

    def listen_tcp(self, reactor: IReactorTCP, port: int = 0, interface: str = "127.0.0.1") -> IListeningPort:
        """Listen without TLS.

        Args:
            port: 0 for one that is free.

        Raises:
            NotLoopback: the interface is none of this machine's own.
        """
        _check_loopback(interface)
        listening = reactor.listenTCP(port, self, interface=interface)
        self._warn(str(listening.getHost()))
        return listening

    def _warn(self, where: str) -> None:
        self._log.warn(
            "The development broker listens on {where}. It is for development only: everything is in memory, and "
            "lost at exit.",
            where=where,
        )


async def _stopped(port: IListeningPort) -> None:
    stopping: Any = port.stopListening()
    if stopping is not None:
        await stopping
