"""SQLite as the database of the result store: the standard library's sqlite3, with write-ahead log and full sync."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from provider_gateway.store.engine import Conflict, Verdict
from provider_gateway.store.schema import migrate
from provider_gateway.store.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: Seconds that a transaction waits for those of other processes.
_BUSY_TIMEOUT = 2.0
_TYPES = {"text": "TEXT", "integer": "INTEGER", "blob": "BLOB", "options": ""}


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
            "timeout": _BUSY_TIMEOUT,
            "isolation_level": None,  # transactions begin and end where we say
            "check_same_thread": False,  # interrupt() comes from the reactor's thread
        }

    def check(self) -> None:
        """Look for mistakes in the settings."""

    def prepare(self, connection: Any) -> None:
        """Set what SQLite keeps for each connection."""
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    def migrate(self, connection: Any) -> None:
        """Bring the schema to this program's version."""
        with self.writing(connection) as transaction:
            migrate(transaction, _TYPES)

    @contextmanager
    def writing(self, connection: Any) -> Iterator[Transaction]:
        """A transaction that writes. It is the only one of all processes."""
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
        connection.execute("BEGIN")
        try:
            yield _SQLiteTransaction(connection.cursor())
        finally:
            connection.execute("COMMIT")

    def judge(self, error: Exception) -> Verdict:
        """What an error means."""
        if isinstance(error, Conflict):
            return Verdict.REPEAT
        if isinstance(error, sqlite3.OperationalError | sqlite3.DatabaseError) and not isinstance(
            error, sqlite3.DataError | sqlite3.IntegrityError | sqlite3.ProgrammingError
        ):
            return Verdict.AWAY
        return Verdict.DATA

    def explain(self, error: Exception) -> str:
        """One line about an error."""
        return f"{self._path}: {error}"

    def interrupt(self, connection: Any) -> None:
        """End the statement that runs."""
        connection.interrupt()

    def problems(self, connection: Any) -> list[str]:  # noqa: ARG002 - the interface
        """Nothing to say: full sync is set by :meth:`prepare`."""
        return []
