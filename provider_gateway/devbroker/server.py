"""The broker. It listens on loopback addresses only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger

from provider_gateway.clocks import WALL_CLOCK, WallClock
from provider_gateway.devbroker.connection import Connection
from provider_gateway.devbroker.faults import Faults
from provider_gateway.devbroker.limits import Limits
from provider_gateway.devbroker.login import Login
from provider_gateway.devbroker.vhost import VirtualHost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.interfaces import IListeningPort, IReactorTime

_LOOPBACK = re.compile(r"localhost|::1|127(\.[0-9]{1,3}){3}")


class NotLoopback(Exception):
    """The broker does not listen on addresses that other machines reach; the text names the address."""


class Broker(ServerFactory):
    """A broker; its connections share exchanges and queues in memory.

    Args:
        users: passwords by user name; None for users who log in by certificate only.
        clock: times expirations, heartbeats and faults.
        external_name: for the mechanism EXTERNAL, see :class:`Login`;
            :func:`provider_gateway.devbroker.login.common_name` takes it from the client's certificate.
        wall_clock: has the times of ``x-death``.

    Attributes:
        faults: faults on demand.
        limits: of frames, channels and messages.
        vhost: has the exchanges and queues.
    """

    noisy = False
    _log = Logger()

    def __init__(
        self,
        users: Mapping[str, str | None],
        clock: IReactorTime,
        external_name: Callable[[Any], str | None] | None = None,
        *,
        wall_clock: WallClock = WALL_CLOCK,
    ) -> None:
        self._clock = clock
        self._login = Login(users, external_name)
        self.faults = Faults()
        self.limits = Limits()
        self.vhost = VirtualHost(clock, wall_clock)

    def buildProtocol(self, addr: Any) -> Connection | None:
        """A new connection; None for a client on another machine (twisted.internet.interfaces.IProtocolFactory)."""
        host = getattr(addr, "host", "localhost")
        if _LOOPBACK.fullmatch(host):
            return Connection(self.vhost, self._login, self.faults, self.limits, self._clock)
        self._log.warn("A connection from {host} is refused", host=host)
        return None

    def listen_tcp(self, reactor: Any, port: int = 0, interface: str = "127.0.0.1", tls: Any = None) -> IListeningPort:
        """Listen on TCP, with TLS or without.

        Args:
            port: 0 for a free one.
            tls: context factory of a server; None for plain TCP.

        Raises:
            NotLoopback: the interface is not a loopback address.
        """
        if not _LOOPBACK.fullmatch(interface):
            msg = (
                f"The development broker does not listen on {interface or 'all interfaces'}: it is for this machine "
                "only. Use 127.0.0.1, ::1 or localhost."
            )
            raise NotLoopback(msg)
        listening: IListeningPort = (
            reactor.listenTCP(port, self, interface=interface)
            if tls is None
            else reactor.listenSSL(port, self, tls, interface=interface)
        )
        self._log.warn(
            "The development broker listens on {where}. It is for development only: everything is in memory, and "
            "lost at exit.",
            where=str(listening.getHost()),
        )
        return listening
