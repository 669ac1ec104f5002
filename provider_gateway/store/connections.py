"""A pool of threads with a connection each (twisted.enterprise.adbapi), whose threads always come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from twisted.enterprise import adbapi

from provider_gateway.store.engine import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from provider_gateway.store.engine import Engine

T = TypeVar("T")


class _Connection(adbapi.Connection):
    """A connection whose transactions are begun and ended by the engine."""

    def commit(self) -> None:
        """Do nothing: the engine has committed."""

    def rollback(self) -> None:
        """Do nothing: the engine has rolled back."""


class Connections(adbapi.ConnectionPool):
    """Connections of one kind.

    Args:
        count: how many.
        prepare: called in its thread with each new connection.
    """

    connectionFactory = _Connection

    def __init__(self, reactor: Any, engine: Engine, count: int, prepare: Callable[[Any], None]) -> None:
        self._engine = engine
        self._prepare = prepare
        self._busy: dict[int, Any] = {}
        super().__init__(
            engine.module, cp_reactor=reactor, cp_min=1, cp_max=count, cp_openfun=self._open, **engine.arguments
        )

    def run(self, work: Callable[[Any], T]) -> Deferred[T]:
        """Call a function with a connection, in a thread. A connection that has failed is dropped."""
        return self.runWithConnection(self._work, work)  # type: ignore[no-any-return] # untyped

    def interrupt(self) -> None:
        """Make threads that are stuck come back with an error."""
        # No idle ones: SQLite leaves its log behind if a connection that was interrupted is closed.
        for connection in list(self._busy.values()):
            self._engine.interrupt(connection)

    def _open(self, connection: Any) -> None:
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise

    def _work(self, _: adbapi.Connection, work: Callable[[Any], T]) -> T:
        connection = self.connect()
        self._busy[id(connection)] = connection
        try:
            return work(connection)
        except Exception as error:
            if self._engine.judge(error) is Verdict.AWAY:
                del self._busy[id(connection)]
                self.disconnect(connection)
            raise
        finally:
            self._busy.pop(id(connection), None)
