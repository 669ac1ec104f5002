"""The stores of the question "results": SQLite and PostgreSQL, for our process and the peer, and rows made by SQL."""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from devtools.postgresql import PASSWORD, ROLE, PostgreSQL
from devtools.processes import CERTS, FOLDER
from provider_gateway.store.columns import RECORD, RESULT

if TYPE_CHECKING:
    from contextlib import ExitStack

#: Rows that one statement inserts: SQLite's other writers wait for it.
_AT_A_TIME = 20_000
#: RESULT_TTL, its default.
_TTL = 86400
#: Seconds that a statement waits for SQLite's other writers.
_BUSY = 60


class Store(Protocol):
    """An empty store."""

    name: str

    def url(self) -> str:
        """The value of ``RESULT_STORE``."""
        ...

    def peer_url(self) -> str:
        """The same database, as SQLAlchemy names it."""
        ...

    def sql(self, statement: str) -> str:
        """Run a statement; returns the first column of its first row."""
        ...

    def settle(self) -> None:
        """Do now what the database would do some time after many rows were added, beside what is measured."""
        ...


class SQLiteStore:
    """A file of its own."""

    name = "SQLite"

    def __init__(self) -> None:
        self._path = FOLDER / f"bench/results-{secrets.token_hex(4)}.db"

    def url(self) -> str:
        return f"sqlite://{self._path}"

    def peer_url(self) -> str:
        return f"sqlite+aiosqlite:///{self._path}"

    def sql(self, statement: str) -> str:
        with closing(sqlite3.connect(self._path, _BUSY, isolation_level=None)) as connection:
            connection.create_function(
                "md5", 1, lambda text: hashlib.md5(text.encode()).hexdigest(), deterministic=True
            )
            row = connection.execute(statement).fetchone()
        return str(row[0]) if row else ""

    def settle(self) -> None:
        self.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        os.sync()

    def remove(self) -> None:
        """Delete the file."""
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


class PostgreSQLStore:
    """A database of its own on a private server."""

    name = "PostgreSQL"

    def __init__(self, server: PostgreSQL) -> None:
        self._server = server
        self._database = server.new_database()

    def url(self) -> str:
        return self._server.url(self._database)

    def peer_url(self) -> str:
        password = quote(PASSWORD, safe="")
        return f"postgresql+asyncpg://{ROLE}:{password}@localhost:{self._server.port}/{self._database}"

    def sql(self, statement: str) -> str:
        return self._server.sql(statement, database=self._database)

    def settle(self) -> None:
        self.sql("VACUUM (ANALYZE)")
        self.sql("CHECKPOINT")
        os.sync()


def start_postgresql(stack: ExitStack) -> PostgreSQL:
    """A server that syncs each commit, as it does by default; it ends with the stack."""
    server = PostgreSQL(CERTS, "track_commit_timestamp = on\nmax_wal_size = 4GB")
    stack.callback(server.remove)
    server.start()
    return server


def new_sqlite(stack: ExitStack) -> SQLiteStore:
    """A store whose file is deleted with the stack."""
    store = SQLiteStore()
    stack.callback(store.remove)
    return store


def row_id(number: int) -> str:
    """The id of a row that :func:`add_rows` has made."""
    return hashlib.md5(str(number).encode()).hexdigest()


def add_rows(store: Store, template: str, count: int, expires: float | None = None) -> None:
    """Copy the rows of a request that was answered.

    Args:
        template: its id.
        expires: when the copies' results are to be deleted, in seconds since 1970, and their records with them; None
            for the template's times.
    """
    for first in range(1, count + 1, _AT_A_TIME):
        last = min(first + _AT_A_TIME - 1, count)
        for table, columns in (("results", RESULT), ("requests", RECORD)):
            values = ["md5(CAST(n AS text))", *columns[1:]]
            if expires is not None:
                kept = _TTL if table == "requests" else 0  # a record is kept for as long again as its result
                values[columns.index("expires")] = str(round((expires - kept) * 1000))
            store.sql(
                f"WITH RECURSIVE series(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM series WHERE n < {last}) "
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} "
                f"FROM {table}, series WHERE {table}.id = '{template}'"
            )
    store.sql("ANALYZE")
