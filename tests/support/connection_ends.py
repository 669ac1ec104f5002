"""How the other side ends a connection on a real socket: in order, by a FIN alone, or by a reset."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct

_RESET = struct.pack("ii", 1, 0)


def in_order(connection: socket.socket) -> None:
    """End with a FIN; with TLS, with close_notify before it."""
    if isinstance(connection, ssl.SSLSocket):
        with contextlib.suppress(OSError):  # the client may have closed its socket by now
            connection.unwrap()
    connection.close()


def by_fin(connection: socket.socket) -> None:
    """End with a FIN. Python's TLS sends no close_notify here."""
    connection.close()


def by_reset(connection: socket.socket) -> None:
    """End with a reset, behind what was sent."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()
