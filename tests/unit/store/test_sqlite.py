"""SQLite's own troubles: a full disk, a file that is locked, gone, damaged, another program's, or on a network."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from provider_gateway.errors import SettingsError, StoreUnavailable
from provider_gateway.store import sqlite_file
from provider_gateway.store.records import Status
from provider_gateway.store.schema import VERSION
from provider_gateway.store.sqlite import SQLite
from provider_gateway.store.sqlite_file import file_system
from tests.support.stores import opened, outcome, record

if TYPE_CHECKING:
    from provider_gateway.store.records import Finished
    from provider_gateway.store.sql_store import SQLStore


class _Small(SQLite):
    """A database whose file may have 30 pages: a full disk. It is grown by setting ``pages``."""

    pages = 30

    def prepare(self, connection: sqlite3.Connection) -> None:
        super().prepare(connection)
        connection.execute(f"PRAGMA max_page_count = {self.pages}")


class TroubleTests(TestCase):
    """A store whose file gets into trouble while it runs."""

    timeout = 30

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()

    def next_change(self, store: SQLStore) -> Deferred[None]:
        changed: Deferred[None] = Deferred()
        store.on_change = lambda: changed.callback(None) if not changed.called else None
        return changed

    async def full_store(self) -> tuple[_Small, SQLStore, Deferred[Finished]]:
        """A store on a disk that is full, and an outcome that waits for room there."""
        engine = _Small(self.path)
        store = await opened(engine, self)
        await store.add(record("a"))
        change = self.next_change(store)
        finishing = store.finish(outcome("a", body=b"x" * 500_000))
        await change
        return engine, store, finishing

    async def test_full_disk(self) -> None:
        """On a full disk an outcome waits, the store is away, and the outcome is stored when there is room."""
        engine, store, finishing = await self.full_store()
        self.assertFalse(store.is_up)
        await self.assertFailure(store.add(record("b")), StoreUnavailable)
        await self.assertFailure(store.get("a"), StoreUnavailable)
        change = self.next_change(store)
        engine.pages = 1000
        self.assertTrue((await finishing).is_new)
        await change
        self.assertEqual(500_000, len((await store.result("a")).body))
        self.assertIsNone(await store.add(record("b")))

    async def test_locked(self) -> None:
        """While another process holds the lock for too long, the store is away; it comes back by itself."""
        self.patch(sqlite3, "connect", lambda connect=sqlite3.connect, **given: connect(**{**given, "timeout": 0.05}))
        store = await opened(SQLite(self.path), self)
        other = sqlite3.connect(database=str(self.path), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        change = self.next_change(store)
        await self.assertFailure(store.add(record("a")), StoreUnavailable)
        await change
        finishing = store.finish(outcome("a", restored=record("a")))
        change = self.next_change(store)
        other.execute("ROLLBACK")
        other.close()
        self.assertTrue((await finishing).is_new)
        await change
        self.assertTrue(store.is_up)

    async def test_closed(self) -> None:
        """A close leaves one file, as copies and backups want it: SQLite's log is written back, and removed."""
        store = await opened(SQLite(self.path), self)
        await store.add(record("a"))
        await store.get("a")
        await store.figures()
        self.assertIn(f"{self.path.name}-wal", self.files())
        await store.close(5)
        self.assertEqual(self.files(), [self.path.name])

    def files(self) -> list[str]:
        return [each.name for each in self.path.parent.glob(f"{self.path.name}*")]

    async def test_removed(self) -> None:
        """A file that is removed in use is noticed, and a new one is made: the old one is used no more."""
        store = await opened(SQLite(self.path), self)
        await store.add(record("a"))
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink()
        self.assertTrue((await store.finish(outcome("a", restored=record("a")))).is_new)
        self.assertEqual(Status.SUCCEEDED, (await store.get("a")).status)
        self.assertTrue(self.path.exists())

    async def test_unstorable(self) -> None:
        """An outcome that SQLite cannot take becomes a failure that says so; the operations beside it are done."""
        store = await opened(SQLite(self.path), self)
        await store.add(record("a"))
        beside = store.add(record("b"))
        finished = await store.finish(outcome("a", attempts=2**70))
        self.assertEqual((Status.FAILED, None), (finished.record.status, finished.record.attempts))
        self.assertIn(b"result-not-storable", (await store.result("a")).body)
        self.assertIsNone(await beside)
        await self.assertFailure(store.add(record("c", created=1e30)), StoreUnavailable)
        self.assertTrue(store.is_up)

    async def test_taken_back(self) -> None:
        """An outcome that is cancelled while it waits is not stored."""
        engine, store, finishing = await self.full_store()
        change = self.next_change(store)
        finishing.cancel()
        finishing.addErrback(lambda _: None)
        engine.pages = 1000
        await change
        self.assertEqual(Status.PENDING, (await store.get("a")).status)


class StartTests(SynchronousTestCase):
    """Mistakes that end the start with one line."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()

    def refusal(self, path: Path | None = None) -> str:
        line = str(self.assertRaises(SettingsError, SQLite(path or self.path).check, changes=True))
        self.assertTrue(line.startswith("RESULT_STORE: "), line)
        self.assertNotIn("\n", line)
        return line

    def test_mode(self) -> None:
        """The file is made for its owner alone, and checked again without a change."""
        SQLite(self.path).check(changes=True)
        SQLite(self.path).check(changes=True)
        self.assertEqual(0o600, self.path.stat().st_mode & 0o777)

    def test_no_folder(self) -> None:
        """A folder that is missing, a file in its place, a folder in place of the file."""
        self.assertIn("there is no folder", self.refusal(self.path / "r.db"))
        self.path.write_bytes(b"")
        self.assertIn("there is no folder", self.refusal(self.path / "r.db"))
        self.path.unlink()
        self.path.mkdir()
        self.assertIn("Is a directory", self.refusal())

    def test_no_database(self) -> None:
        """A file that is something else, a database of another program, and a damaged one."""
        self.path.write_bytes(b"hello" * 1000)
        self.assertIn("no SQLite database", self.refusal())
        self.path.unlink()
        with sqlite3.connect(self.path) as other:
            other.execute("CREATE TABLE requests (id)")
        other.close()
        self.assertIn("another program's database", self.refusal())
        self.path.unlink()
        SQLite(self.path).check(changes=True)
        whole = self.path.read_bytes()
        self.path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
        self.assertIn("damaged", self.refusal())

    def test_newer(self) -> None:
        """A schema of a newer program."""
        SQLite(self.path).check(changes=True)
        with sqlite3.connect(self.path) as other:
            other.execute("UPDATE schema_version SET version = ?", (VERSION + 1,))
        other.close()
        self.assertIn(f"has version {VERSION + 1}, this program knows {VERSION}", self.refusal())

    def test_network_file_system(self) -> None:
        """SQLite is refused on a network file system; local ones are taken, also those of containers without root."""
        mounts = self.path.with_suffix(".mounts")
        self.patch(sqlite_file, "_MOUNTS", mounts)
        for kind, is_refused in (("nfs4", True), ("cifs", True), ("fuse.sshfs", True), ("ext4", False)):
            mounts.write_text(f"1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / {self.path.parent} rw,x - {kind} s rw\n")
            if is_refused:
                self.assertIn(f"network file system ({kind})", self.refusal())
            else:
                SQLite(self.path).check(changes=True)

    def test_mounts(self) -> None:
        """The deepest mount point counts, the last of equal ones, with proc(5)'s escapes; odd lines are ignored."""
        lines = [
            "1 0 0:1 / / rw - ext4 /dev/a rw",
            "2 1 0:2 / /data rw shared:1 - nfs s:/x rw",
            "3 1 0:3 / /data rw - xfs /dev/b rw",
            "4 1 0:4 / /my\\040disk rw master:1 propagate_from:2 - tmpfs t rw",
            "",
            "odd - line",
        ]
        for path, kind in (
            ("/data/r", "xfs"),
            ("/database", "ext4"),
            ("/my disk/r", "tmpfs"),
            ("/", "ext4"),
        ):
            self.assertEqual(kind, file_system(Path(path), lines), path)
        self.assertEqual("", file_system(Path("/"), []))

    def test_locked(self) -> None:
        """A file that another process has locked is no mistake of the settings: the process starts."""
        SQLite(self.path).check(changes=True)
        engine = SQLite(self.path)
        engine.arguments = {**engine.arguments, "timeout": 0}
        other = sqlite3.connect(database=str(self.path), isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        engine.check(changes=True)

    def test_full_sync(self) -> None:
        """Each connection syncs fully, and the log is written ahead."""
        engine = SQLite(self.path)
        connection = sqlite3.connect(**engine.arguments)
        self.addCleanup(connection.close)
        engine.prepare(connection)
        found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        self.assertEqual(["wal", 2], found)
        self.assertEqual(os.getuid(), self.path.stat().st_uid)
