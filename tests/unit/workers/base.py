"""Sockets for the tests of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.workers.shared_port import bind

if TYPE_CHECKING:
    import socket

    from twisted.trial.unittest import SynchronousTestCase


def open_socket(test: SynchronousTestCase, address: str = "127.0.0.1") -> socket.socket:
    """A socket on a free port, closed with the test."""
    made = bind(address, 0)
    test.addCleanup(made.close)
    return made
