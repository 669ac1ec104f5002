"""Free ports for the processes of tests."""

from __future__ import annotations

import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from devtools import ports
from devtools.ports import free_ports


class FreePortsTests(SynchronousTestCase):
    """Ports for nodes and gateways that restart."""

    def limit(self, text: str) -> None:
        """Say what Linux would say of the ports of outgoing connections."""
        file = Path(self.mktemp())
        file.write_text(text)
        self.patch(ports, "_EPHEMERAL_PORTS", file)

    def test_below_those_of_connections(self) -> None:
        """No outgoing connection gets such a port while its owner restarts; the ports of one call differ."""
        self.limit("12000\t60999\n")
        found = free_ports(20)
        self.assertEqual(len(set(found)), 20)
        self.assertTrue(all(10_000 <= port < 12_000 for port in found), found)

    def test_no_room_below(self) -> None:
        """Where connections get nearly every port, or Linux does not say which, its default is assumed."""
        self.limit("1024 65535")
        self.assertTrue(all(port < 32_768 for port in free_ports(20)))
        self.patch(ports, "_EPHEMERAL_PORTS", Path("missing"))
        self.assertTrue(all(port < 32_768 for port in free_ports(20)))

    def test_free(self) -> None:
        """A port that a program listens on is not given; another one is tried."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", free_ports(1)[0]))
            numbers = [taken.getsockname()[1] - 10_000, *range(1000)]
            self.patch(ports.secrets, "randbelow", lambda _: numbers.pop(0))
            self.assertNotEqual(free_ports(1), [taken.getsockname()[1]])
            self.assertLess(len(numbers), 1000)
