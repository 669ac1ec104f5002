"""Free ports for processes of tests and benchmarks."""

from __future__ import annotations

import contextlib
import secrets
import socket
from pathlib import Path

#: Below are the ports of well-known services.
_FIRST_PORT = 10_000
_EPHEMERAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on at the moment.

    They are below the ports that the kernel gives to outgoing connections: while a node or a gateway restarts, no
    connection of another program takes its port.
    """
    free: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(free) < count:
            candidate = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):  # taken
                # Not the random numbers that tests seed: test processes that run side by side would try the same ports.
                candidate.bind(("127.0.0.1", _FIRST_PORT + secrets.randbelow(_first_ephemeral_port() - _FIRST_PORT)))
                free.append(candidate.getsockname()[1])
    return free


def _first_ephemeral_port() -> int:
    """The first port that Linux gives to outgoing connections; Linux' default if it cannot be read or is too low."""
    with contextlib.suppress(OSError):
        first = int(_EPHEMERAL_PORTS.read_text().split()[0])
        if first >= _FIRST_PORT + 1000:
            return first
    return 32_768
