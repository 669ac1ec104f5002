"""A pool of threads with a connection each (twisted.enterprise.adbapi), whose threads always come back."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.enterprise import adbapi

from provider_gateway.store.engine import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from provider_gateway.store.engine import Engine

T = TypeVar("T")


class _Connection(adbapi.Connection):
    """A connection whose transactions are begun and ended by the engine."""

    def commit(self) -> None:
        """Do nothing: the engine has committed."""

    def rollback(self) -> None:
        """Do nothing: the engine has rolled back."""


def _thread(*args: Any, **options: Any) -> threading.Thread:
    """A thread that does not keep the process from ending: it may wait for a name server or a frozen disk."""
    return threading.Thread(*args, daemon=True, **options)


class Connections(adbapi.ConnectionPool):
    """Connections of one kind.

    Args:
        count: how many.
        prepare: called in its thread with each new connection.
    """

    connectionFactory = _Connection

    def __init__(self, reactor: Any, engine: Engine, count: int, prepare: Callable[[Any], None]) -> None:
        self._ends = reactor
        self._engine = engine
        self._prepare = prepare
        #: All connections, also those that are being prepared, of which adbapi does not know yet.
        self._opened: dict[int, Any] = {}
        self._running = 0
        self._is_closed = False
        super().__init__(
            engine.module, cp_reactor=reactor, cp_min=1, cp_max=count, cp_openfun=self._open, **engine.arguments
        )
        self.threadpool.threadFactory = _thread  # type: ignore[assignment] # makes threads, as the class does

    def run(self, work: Callable[[Any], T]) -> Deferred[T]:
        """Call a function with a connection, in a thread. A connection that has failed is dropped."""
        self._running += 1
        done: Deferred[T] = self.runWithConnection(self._work, work)
        return done.addBoth(self._ran)

    def _ran(self, result: T | Failure) -> T | Failure:
        self._running -= 1
        if self._is_closed and not self._running:
            super().close()
        return result

    def close(self) -> None:
        """Interrupt what runs, and close the connections as soon as no thread uses one. Nothing waits for that."""
        if self._is_closed:
            return
        self._is_closed = True
        if not self._running:
            super().close()
            return
        if self.shutdownID:
            # The reactor would wait for the threads at its stop.
            self._ends.removeSystemEventTrigger(self.shutdownID)
            self.shutdownID = None
        self.interrupt()

    def interrupt(self) -> None:
        """Make threads that are stuck come back with an error."""
        for connection in list(self._opened.values()):
            self._engine.interrupt(connection)

    def _open(self, connection: Any) -> None:
        self._opened[id(connection)] = connection
        try:
            self._prepare(connection)
        except BaseException:
            del self._opened[id(connection)]
            connection.close()
            raise

    def _work(self, _: adbapi.Connection, work: Callable[[Any], T]) -> T:
        connection = self.connect()
        try:
            return work(connection)
        except Exception as error:
            if self._engine.judge(error) is Verdict.AWAY:
                del self._opened[id(connection)]
                self.disconnect(connection)
            raise
