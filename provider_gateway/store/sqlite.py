"""SQLite as the database of the result store: the standard library's sqlite3, with write-ahead log and full sync."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from provider_gateway.errors import SettingsError
from provider_gateway.store.engine import Conflict, Verdict
from provider_gateway.store.schema import described, migrate, refuse_newer
from provider_gateway.store.sqlite_file import prepare_file
from provider_gateway.store.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: Seconds that a transaction waits for those of other processes.
_BUSY_TIMEOUT = 2.0
#: Errors that concern one operation. All others are the file's, or the disk's.
_OF_DATA = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError)
_TEMPORARY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL})
_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process has locked the file for too long",
    sqlite3.SQLITE_FULL: "the disk is full: make room",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database: move it away, and a new one is made",
    sqlite3.SQLITE_CORRUPT: "the database is damaged: move it away (a new one is made) or restore a backup",
    sqlite3.SQLITE_READONLY: "the file, its folder or its file system is read-only",
}
_TYPES = {"text": "TEXT", "integer": "INTEGER", "blob": "BLOB", "options": ""}


def _code(error: Exception) -> int:
    """SQLite's result code of an error, without its extension (sqlite.org/rescode.html)."""
    return (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR) & 0xFF


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


class _Connection(sqlite3.Connection):
    """A connection that knows which file it has open."""

    inode: int | None = None


class _SQLiteTransaction(Transaction):
    def database_bytes(self) -> int:
        """Size of the file."""
        pages = self.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()
        return int(pages[0])


class SQLite:
    """SQLite, shared by the processes of one machine.

    Args:
        path: of the file; its folder exists.
    """

    name = "SQLite"
    module = "sqlite3"
    readers = 1

    def __init__(self, path: Path) -> None:
        self._path = path
        self.arguments: Mapping[str, Any] = {
            "database": str(path),
            "factory": _Connection,
            "timeout": _BUSY_TIMEOUT,
            "isolation_level": None,  # transactions begin and end where we say
            "check_same_thread": False,  # interrupt() comes from the reactor's thread
        }

    def check(self, *, changes: bool) -> None:
        """Open the file and bring the schema to this program's version. A file that is locked is no mistake."""
        prepare_file(self._path, create=changes)
        if not self._path.exists():
            return
        try:
            with closing(sqlite3.connect(**self.arguments)) as connection:
                if changes:
                    self.prepare(connection)
                    self.migrate(connection)
                else:
                    self.describe(connection)
        except sqlite3.Error as error:
            if _code(error) in _TEMPORARY:
                return
            msg = f"RESULT_STORE: {self.explain(error)}"
            raise SettingsError(msg) from None

    def prepare(self, connection: Any) -> None:
        """Set what SQLite keeps for each connection."""
        connection.inode = _inode(self._path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    def migrate(self, connection: Any) -> None:
        """Bring the schema to this program's version."""
        with self.writing(connection) as transaction:
            self._is_new(transaction)
            migrate(transaction, _TYPES)

    def _is_new(self, transaction: Transaction) -> bool:
        """True if the file has no tables yet."""
        tables = transaction.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        if tables and ("schema_version",) not in tables:
            msg = f"RESULT_STORE: {self._path}: the file is another program's database: take a file of its own"
            raise SettingsError(msg)
        return not tables

    @contextmanager
    def writing(self, connection: Any) -> Iterator[Transaction]:
        """A transaction that writes. It is the only one of all processes."""
        self._check_file(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield _SQLiteTransaction(connection.cursor())
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    @contextmanager
    def reading(self, connection: Any) -> Iterator[Transaction]:
        """A transaction that reads one state of the database."""
        self._check_file(connection)
        connection.execute("BEGIN")
        try:
            yield _SQLiteTransaction(connection.cursor())
        finally:
            connection.execute("COMMIT")

    def _check_file(self, connection: Any) -> None:
        """A connection goes on with a file that is gone: what it commits would be lost, and others would not see it."""
        if _inode(self._path) != connection.inode:
            msg = "the file was removed or replaced while it was in use"
            raise sqlite3.OperationalError(msg)

    def judge(self, error: Exception) -> Verdict:
        """What an error means."""
        if isinstance(error, Conflict):
            return Verdict.REPEAT
        if isinstance(error, SettingsError):
            return Verdict.AWAY
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, _OF_DATA):
            return Verdict.AWAY
        return Verdict.DATA

    def explain(self, error: Exception) -> str:
        """One line about an error."""
        if isinstance(error, SettingsError):
            return str(error)
        return f"{self._path}: {_ADVICE.get(_code(error), error)}"

    def interrupt(self, connection: Any) -> None:
        """End the statement that runs."""
        connection.interrupt()

    def describe(self, connection: Any) -> str:
        """The schema of the file."""
        transaction, version = _SQLiteTransaction(connection.cursor()), 0
        if not self._is_new(transaction):
            version = transaction.execute("SELECT max(version) FROM schema_version").fetchone()[0] or 0
        refuse_newer(version)
        return f"SQLite {sqlite3.sqlite_version}; {described(version)}"

    def problems(self, connection: Any) -> list[str]:
        """Try to write. Full sync is set by :meth:`prepare`."""
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
        return []
