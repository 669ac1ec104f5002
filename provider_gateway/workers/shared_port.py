"""A listening socket that several workers accept from, one connection at a time, so that all get the same number."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.abstract import isIPv6Address
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from provider_gateway.app.listeners import numeric
from provider_gateway.config.host import bracketed

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

    from provider_gateway.workers.connection_counts import ConnectionCounts

#: Seconds for which a worker leaves a connection to workers that have fewer. A TLS handshake takes about as long.
STEP_BACK = 0.002


def bind(address: str, port: int) -> socket.socket:
    """Bind a socket without listening: the system refuses connections until a worker is ready.

    Args:
        address: IPv4 or IPv6 address, or a name, which is looked up.

    Raises:
        CannotListenError: the address is in use, or is not one of this machine.
    """
    number = numeric(address, port)
    bound = socket.socket(socket.AF_INET6 if isIPv6Address(number) else socket.AF_INET, socket.SOCK_STREAM)
    bound.setblocking(False)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(socket.getaddrinfo(number, port, bound.family, bound.type, flags=socket.AI_NUMERICHOST)[0][4])
    except OSError as error:
        bound.close()
        raise CannotListenError(bracketed(address), port, error) from None
    return bound


@implementer(IReadDescriptor)
class SharedPort:
    """One worker's part in a listening socket that it shares with the others.

    Each new connection wakes all workers, and Twisted's loop over ``accept`` would give a whole burst to the first.
    Here a worker accepts one connection each time it wakes, and steps back for :data:`STEP_BACK` if another worker has
    fewer. Without this, up to 14 of 20 connections that came 0.3 s apart went to the same one of two workers.

    Args:
        reactor: watches descriptors and provides time.
        listener: bound; listens afterwards. The shared port takes a copy and closes it.
        factory: makes the protocols of connections.
        connections: returns how many connections this worker has.
        counts: of all workers.
        number: of this worker.

    Raises:
        OSError: another process listens on the address.
    """

    def __init__(
        self,
        reactor: Any,
        listener: socket.socket,
        factory: Any,
        *,
        connections: Callable[[], int],
        counts: ConnectionCounts,
        number: int,
    ) -> None:
        self._reactor = reactor
        self._connections = connections
        self._counts = counts
        self._number = number
        self._stepped_back: IDelayedCall | None = None
        with listener:
            listener.listen(socket.SOMAXCONN)
            self._port: Any = reactor.adoptStreamPort(listener.fileno(), listener.family, factory)
        # The reactor wakes this object in place of Twisted's port, which accepts when told to.
        self._port.stopReading()
        self._report()
        reactor.addReader(self)

    def fileno(self) -> int:
        """The socket's descriptor (twisted.internet.interfaces.IFileDescriptor)."""
        return int(self._port.fileno())

    def logPrefix(self) -> str:
        """The name in logs (twisted.internet.interfaces.ILoggingContext)."""
        return "shared port"

    def doRead(self) -> None:
        """Accept one connection, or leave it to another worker (twisted.internet.interfaces.IReadDescriptor)."""
        if self._report():
            self._accept()
        else:
            self._reactor.removeReader(self)
            self._stepped_back = self._reactor.callLater(STEP_BACK, self._come_forward)

    def _come_forward(self) -> None:
        """Accept a connection that no other worker has accepted: they are busy, or dead."""
        self._stepped_back = None
        self._reactor.addReader(self)
        self._accept()

    def _accept(self) -> None:
        self._port.numberAccepts = 1
        self._port.doRead()
        self._report()

    def _report(self) -> bool:
        return self._counts.report(self._number, self._connections())

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gives the socket up (twisted.internet.interfaces.IFileDescriptor)."""
        self._port.connectionLost(reason)

    def stopListening(self) -> Deferred[None] | None:
        """Accept no more connections. Other workers go on."""
        self._counts.leave(self._number)
        if self._stepped_back is not None:
            self._stepped_back.cancel()
        self._reactor.removeReader(self)
        result: Deferred[None] | None = self._port.stopListening()
        return result
