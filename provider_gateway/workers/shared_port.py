"""A listening socket that several processes accept from: fairly, and one connection at a time."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.abstract import isIPv6Address
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

    from provider_gateway.workers.connection_counts import ConnectionCounts

#: Seconds for which a worker leaves a connection to others that have fewer. A TLS handshake takes about as long.
STEP_BACK = 0.002


def bind(address: str, port: int) -> socket.socket:
    """A socket that is bound and does not listen: connections are refused until a worker is ready for them.

    Raises:
        CannotListenError: the address is in use, or not ours.
    """
    bound = socket.socket(socket.AF_INET6 if isIPv6Address(address) else socket.AF_INET, socket.SOCK_STREAM)
    bound.setblocking(False)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(socket.getaddrinfo(address, port, bound.family, bound.type, flags=socket.AI_NUMERICHOST)[0][4])
    except OSError as error:
        bound.close()
        raise CannotListenError(address, port, error) from None
    return bound


@implementer(IReadDescriptor)
class SharedPort:
    """Accepts connections from a socket that other workers accept from, too.

    All of them wake up when somebody connects, and with Twisted's loop over ``accept`` the first would take a whole
    burst. Without the counts, of 20 connections that came 0.3 s apart, up to 14 went to the same of two workers.

    Args:
        reactor: provides descriptors and time.
        listener: is bound; it listens afterwards, and is closed by this.
        factory: of the connections.
        connections: how many this worker has.
        counts: what all of them have.
        number: this worker's.

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
        # We are asked in its place, and have it accept.
        self._port.stopReading()
        self._report()
        reactor.addReader(self)

    def fileno(self) -> int:
        """The socket's descriptor (twisted.internet.interfaces.IFileDescriptor)."""
        return int(self._port.fileno())

    def logPrefix(self) -> str:
        """A name (twisted.internet.interfaces.ILoggingContext)."""
        return "shared port"

    def doRead(self) -> None:
        """Accept somebody, or leave him to another worker (twisted.internet.interfaces.IReadDescriptor)."""
        if self._report():
            self._accept()
        else:
            self._reactor.removeReader(self)
            self._stepped_back = self._reactor.callLater(STEP_BACK, self._come_forward)

    def _come_forward(self) -> None:
        """Accept who is still there: the others are busy, or dead."""
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
        """Be left by the reactor (twisted.internet.interfaces.IFileDescriptor)."""
        self._port.connectionLost(reason)

    def stopListening(self) -> Deferred[None] | None:
        """Accept nobody any more; other workers still do."""
        self._counts.leave(self._number)
        if self._stepped_back is not None:
            self._stepped_back.cancel()
        self._reactor.removeReader(self)
        result: Deferred[None] | None = self._port.stopListening()
        return result
