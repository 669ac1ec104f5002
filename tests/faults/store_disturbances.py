"""The faults of the soak with a result store: those of every soak, and each store's own."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from twisted.internet.threads import deferToThread

from tests.faults.disturbances import Disturbances
from tests.faults.store_writes import Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.faults.keeping import PostgreSQLStore, SQLiteStore
    from tests.faults.proxy import FaultProxy
    from tests.faults.store_writes import StoreWrites


class PostgreSQLDisturbances(Disturbances):
    """Faults of PostgreSQL and of the network to it, beside all others.

    Args:
        store: is killed, frozen, and made to refuse connections.
        to_store: the proxy between gateways and PostgreSQL.
    """

    def __init__(self, *arguments: Any, store: PostgreSQLStore, to_store: FaultProxy, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._store = store
        self._to_store = to_store
        self.own: dict[str, Callable[[], Awaitable[Any]]] = {
            "store killed and restarted": self.store_killed,
            "store frozen": self.store_frozen,
            "store ends its connections": self.store_ends,
            "store takes no connections": self.store_full,
            "connections to the store reset": self.store_reset,
            "network to the store silent": self.store_silent,
            "network to the store slow": self.store_slow,
        }
        self.all |= self.own

    async def store_killed(self) -> None:
        await deferToThread(self._store.server.kill)
        await self.some_seconds()
        await deferToThread(self._store.server.start)

    async def store_frozen(self) -> None:
        self._store.server.suspend()
        await self.some_seconds(1, 8)
        self._store.server.resume()

    async def store_ends(self) -> None:
        await self._sql(self._end)

    async def store_full(self) -> None:
        await self._sql("ALTER ROLE gateway CONNECTION LIMIT 0", self._end)
        await self.some_seconds()
        await self._sql("ALTER ROLE gateway CONNECTION LIMIT -1")

    async def store_reset(self) -> None:
        self._to_store.reset()

    async def store_silent(self) -> None:
        self._to_store.black_hole = True
        await self.some_seconds(1, 8)
        self._to_store.black_hole = False

    async def store_slow(self) -> None:
        self._to_store.delay = 0.1
        await self.some_seconds()
        self._to_store.delay = 0.0

    async def _sql(self, *statements: str) -> None:
        await deferToThread(self._store.server.sql, *statements)

    @property
    def _end(self) -> str:
        return f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self._store.name}'"


class SQLiteDisturbances(Disturbances):
    """Faults of SQLite and of its disk, beside all others.

    Args:
        store: is locked by somebody else.
        writes: of the gateways.
    """

    def __init__(self, *arguments: Any, store: SQLiteStore, writes: StoreWrites, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._store = store
        self._writes = writes
        self.own: dict[str, Callable[[], Awaitable[Any]]] = {
            "disk of the store full": self.disk_full,
            "store locked by somebody else": self.locked,
            "gateway killed before a commit": lambda: self.killed_at(Fault.KILL_BEFORE_WRITE),
            "gateway killed after a commit": lambda: self.killed_at(Fault.KILL_AFTER_SYNC),
        }
        self.all |= self.own

    async def disk_full(self) -> None:
        self._writes.set(Fault.FULL)
        await self.some_seconds()
        self._writes.set(Fault.NONE)

    async def locked(self) -> None:
        with closing(sqlite3.connect(self._store.path, isolation_level=None, check_same_thread=False)) as connection:
            await deferToThread(connection.execute, "BEGIN IMMEDIATE")
            await self.some_seconds()
            connection.execute("ROLLBACK")

    async def killed_at(self, fault: Fault) -> None:
        """The gateway that commits next is killed."""
        await self._end_gateway("KILL", lambda: self._writes.set(fault))
