"""Asks a socket whether bytes, or the end of the connection, have arrived that the reactor has not read yet."""

from __future__ import annotations

import select
from typing import Any

from twisted.internet.interfaces import ISystemHandle
from twisted.protocols.policies import ProtocolWrapper

#: Asks about one socket at a time. One for each socket would take 570 bytes of each connection.
_poll = select.poll()


def descriptor_of(transport: Any) -> int | None:
    """The file descriptor to ask about.

    Args:
        transport: a protocol's transport: TCP, or TLS over TCP, whose records are not told apart. Any other has none.
    """
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    if not ISystemHandle.providedBy(transport):
        return None
    socket: Any = transport.getHandle()
    return socket.fileno()  # type: ignore[no-any-return] # an int


def has_arrivals(descriptor: int | None) -> bool:
    """True if something has arrived. It must not be asked once the connection is lost.

    Args:
        descriptor: from :func:`descriptor_of`. Without one, nothing ever has arrived.
    """
    if descriptor is None:
        return False
    # To read ahead with MSG_PEEK would raise an exception each time that there is nothing, which takes 1 µs more.
    _poll.register(descriptor, select.POLLIN)
    try:
        return bool(_poll.poll(0))
    finally:
        _poll.unregister(descriptor)
