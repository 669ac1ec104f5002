"""The tools that meet a commit on its way: PostgreSQL's messages at a proxy, SQLite's writes in a preloaded library."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.faults.keeping import PostgreSQLStore, running_postgresql
from tests.faults.proxy import FaultProxy
from tests.faults.statements import Statement
from tests.faults.steps import PostgreSQLTrap
from tests.faults.store_writes import Fault, StoreWrites
from tests.support.processes import Process

if TYPE_CHECKING:
    from collections.abc import Callable

_WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("PRAGMA synchronous = FULL")
connection.execute("CREATE TABLE IF NOT EXISTS rows (text)")
print("ready", flush=True)
for line in sys.stdin:
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO rows VALUES (?)", [line * 5000])
        connection.execute("COMMIT")
        print("committed", flush=True)
    except sqlite3.Error as error:
        print(error, flush=True)
"""


class SQLiteTests(TestCase):
    """A process that writes to SQLite."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        self.path = self.folder / "results.db"
        self.writes = StoreWrites(self.folder)

    async def writer(self) -> Process:
        """A process that commits a row for each line of its input."""
        command = [sys.executable, "-c", _WRITER, str(self.path)]
        made: Process = Process.start(self, command, {"PATH": "/usr/bin:/bin", **self.writes.environment})
        await made.when(lambda: "ready" in made.lines)
        return made

    async def write(self, writer: Process) -> str:
        """Have a row committed; returns what the writer says."""
        said = len(writer.lines)
        assert writer.transport is not None
        writer.transport.write(b"x\n")
        line: str = await writer.when(lambda: writer.lines[said:] and writer.lines[said])
        return line

    def rows(self) -> int:
        with closing(sqlite3.connect(self.path)) as connection:
            return int(connection.execute("SELECT count(*) FROM rows").fetchone()[0])

    async def test_killed(self) -> None:
        """A process that is killed before the write has not committed; after the sync it has."""
        for fault, committed in ((Fault.KILL_BEFORE_WRITE, 1), (Fault.KILL_AFTER_SYNC, 3)):
            writer = await self.writer()
            self.assertEqual(await self.write(writer), "committed")
            self.writes.set(fault)
            writing = Deferred.fromCoroutine(self.write(writer))
            self.assertEqual(await writer.when_ended(), -9)
            with self.assertRaises(AssertionError):
                await writing
            self.writes.set(Fault.NONE)
            self.assertEqual(self.rows(), committed)

    async def test_full(self) -> None:
        """A full disk is an error of SQLite's; when there is room again, it writes."""
        writer = await self.writer()
        self.writes.set(Fault.FULL)
        self.assertEqual(await self.write(writer), "database or disk is full")
        self.writes.set(Fault.NONE)
        self.assertEqual(await self.write(writer), "committed")
        self.assertEqual(self.rows(), 1)


class PostgreSQLTests(TestCase):
    """A client of PostgreSQL behind a proxy."""

    async def setUp(self) -> None:
        self.server = await deferToThread(running_postgresql)
        self.store = await deferToThread(PostgreSQLStore, self.server)
        self.proxy = FaultProxy(reactor, self.server.port)
        self.proxy.take = Statement.take
        self.proxy.start()
        self.addCleanup(self.proxy.stop)
        self.killed = 0
        self.trap = PostgreSQLTrap(self.store, self.proxy, self.kill)
        await self.run_(lambda connection: connection.execute("CREATE TABLE rows (text text)"))

    def kill(self) -> None:
        self.killed += 1
        reactor.callLater(0, self.proxy.reset)

    async def run_(self, use: Callable[[Any], object]) -> None:
        """Use a connection through the proxy, in one transaction."""

        def run() -> None:
            with psycopg.connect(self.trap.url) as connection:
                use(connection)

        await deferToThread(run)

    def insert(self, connection: Any) -> None:
        connection.execute("INSERT INTO rows VALUES (%s)", ["COMMIT"])

    async def test_commits(self) -> None:
        """The trap meets the commit on its way to the server, or the server's answer; and no reading transaction."""
        await self.run_(self.insert)
        for committed in (False, True):
            self.trap.set(committed=committed)
            await self.run_(lambda connection: connection.execute("SELECT 1"))
            self.assertEqual(self.killed, 0)
            with self.assertRaises(psycopg.OperationalError):
                await self.run_(self.insert)
            self.assertEqual(self.killed, 1)
            self.killed = 0
            await self.run_(self.insert)
        found = await deferToThread(self.store.rows, "SELECT count(*) FROM rows")
        self.assertEqual(found, [("4",)])
