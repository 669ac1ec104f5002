"""Events of sockets without the log's context."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import epollreactor
from twisted.internet.epollreactor import EPollReactor
from twisted.python import log
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.net.plain_events import without_log_context


class _Reader:
    """One end of a pipe, on which something has arrived."""

    def __init__(self, reactor: EPollReactor, read: Any) -> None:
        self._number, self._other = os.pipe()
        os.write(self._other, b"1")
        self._reactor = reactor
        self._read = read

    def fileno(self) -> int:
        return self._number

    def logPrefix(self) -> str:
        return "prefix"

    def doRead(self) -> None:
        self._read()

    def connectionLost(self, reason: object) -> None:
        self._reactor.removeReader(self)
        os.close(self._number)
        os.close(self._other)


class PlainEventsTests(SynchronousTestCase):
    """A reactor of the kind that twistd uses on Linux."""

    def setUp(self) -> None:
        self.patch(epollreactor, "log", epollreactor.log)
        without_log_context()
        self.reactor = EPollReactor()
        for each in self.reactor.removeAll():
            self.addCleanup(each.connectionLost, None)

    def read(self, read: Any) -> None:
        """Let the reactor read once."""
        reader = _Reader(self.reactor, read)
        self.addCleanup(reader.connectionLost, None)
        self.reactor.addReader(reader)
        self.reactor.doIteration(5)

    def test_read(self) -> None:
        """An event is handled, once, in no context of the log."""
        contexts: list[Any] = []
        self.read(lambda: contexts.append(log.context.get(log.ILogContext)))
        self.assertEqual(len(contexts), 1)
        self.assertNotIn("prefix", str(contexts))

    def test_error(self) -> None:
        """An error is logged, and does not end the reactor's turn."""

        def fail() -> None:
            raise ValueError("made up")

        plain: Any = epollreactor.log
        plain.callWithLogger(None, fail)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_interrupt(self) -> None:
        """Ctrl-C is no error of a connection."""

        def interrupt() -> None:
            raise KeyboardInterrupt

        plain: Any = epollreactor.log
        self.assertRaises(KeyboardInterrupt, plain.callWithLogger, None, interrupt)
