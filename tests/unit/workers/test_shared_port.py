"""A port that workers share: which worker accepts a connection, and what remains when one stops."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.workers.connection_counts import ConnectionCounts, make_counts
from provider_gateway.workers.shared_port import STEP_BACK, SharedPort, bind
from tests.unit.workers.base import open_socket


class Port:
    """A port as a reactor makes it of a listening socket; records each call of doRead()."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.numberAccepts = 100
        self.accepted: list[int] = []
        self.reads = self.listens = True

    def fileno(self) -> int:
        return self.descriptor

    def stopReading(self) -> None:
        self.reads = False

    def doRead(self) -> None:
        self.accepted.append(self.numberAccepts)
        self.numberAccepts += 20  # as Twisted does after a burst

    def stopListening(self) -> None:
        self.listens = False


class Reactor(MemoryReactorClock):
    """Makes a :class:`Port` of a socket."""

    def adoptStreamPort(self, descriptor: int, family: int, factory: Any) -> Any:
        self.port = Port(descriptor)
        return self.port


class SharedPortTests(SynchronousTestCase):
    """The port of one worker; of the other workers there are only counts."""

    def setUp(self) -> None:
        descriptor = make_counts(3)
        self.addCleanup(os.close, descriptor)
        self.counts = ConnectionCounts(descriptor)
        self.reactor = Reactor()
        self.mine = 0
        self.socket = open_socket(self)
        self.port = SharedPort(
            self.reactor, self.socket, object(), connections=lambda: self.mine, counts=self.counts, number=1
        )

    def test_one_at_a_time(self) -> None:
        """Each doRead() accepts one connection, so that another worker can accept the next."""
        self.assertFalse(self.reactor.port.reads)
        for _ in range(3):
            self.port.doRead()
        self.assertEqual(self.reactor.port.accepted, [1, 1, 1])

    def test_steps_back(self) -> None:
        """A worker with more connections than another waits for STEP_BACK, then accepts what is still there."""
        self.counts.report(0, 5)
        for self.mine in (4, 5):
            self.port.doRead()
        self.assertEqual(len(self.reactor.port.accepted), 2)
        self.mine = 6
        self.port.doRead()
        self.assertEqual(len(self.reactor.port.accepted), 2)
        self.assertNotIn(self.port, self.reactor.getReaders())
        self.reactor.advance(STEP_BACK)
        self.assertEqual(len(self.reactor.port.accepted), 3)
        self.assertIn(self.port, self.reactor.getReaders())

    def test_others_see_it(self) -> None:
        """Workers see each other's counts in shared memory; they do not wait for one that has stopped."""
        self.mine = 2
        self.port.doRead()
        self.assertFalse(self.counts.report(0, 3))
        self.assertTrue(self.counts.report(0, 2))
        self.mine = 9
        self.port.doRead()
        self.assertTrue(self.reactor.getDelayedCalls())
        self.port.stopListening()
        self.assertTrue(self.counts.report(0, 1000))
        self.assertFalse(self.reactor.port.listens)
        self.assertEqual((self.reactor.getDelayedCalls(), self.reactor.getReaders()), ([], []))


class BindTests(SynchronousTestCase):
    """The socket that workers inherit."""

    def test_refuses_until_somebody_listens(self) -> None:
        """A bound socket refuses connections until it listens; port 0 is a free port."""
        for address, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
            bound = open_socket(self, address)
            self.assertGreater(bound.getsockname()[1], 0)
            with socket.socket(family) as caller:
                self.assertRaises(ConnectionRefusedError, caller.connect, bound.getsockname()[:2])
                bound.listen(1)
                caller.connect(bound.getsockname()[:2])

    def test_address_in_use(self) -> None:
        """A port in use, or an address of another machine, raises CannotListenError."""
        taken = open_socket(self)
        taken.listen(1)
        self.assertRaises(CannotListenError, bind, *taken.getsockname())
        self.assertRaises(CannotListenError, bind, "192.0.2.1", 0)
