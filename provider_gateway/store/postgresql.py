"""PostgreSQL as the database of the result store: psycopg 3. No state of a session, so that a pooler may be between.

Every transaction begins with the settings it needs (``SET LOCAL``); nothing is prepared, and locks end with it.
"""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, finalize

import psycopg

from provider_gateway.errors import SettingsError
from provider_gateway.store.engine import Conflict, Verdict
from provider_gateway.store.postgresql_login import in_one_line, parameters
from provider_gateway.store.postgresql_rows import PostgreSQLTransaction
from provider_gateway.store.schema import VERSION, described, migrate, refuse_newer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from provider_gateway.config.store_url import StoreURL
    from provider_gateway.store.transaction import Transaction

#: Milliseconds. The server ends what a stuck process holds: a statement, a wait for a lock, an idle transaction.
_LIMITS = """\
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL statement_timeout = {};
SET LOCAL lock_timeout = {};
SET LOCAL idle_in_transaction_session_timeout = 10000"""
#: Some servers have ``synchronous_commit = off``, with which a crash loses what was committed. Other values stay.
_BEGIN = f"""{_LIMITS.format(5000, 3000)};
SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"""
#: A step of the schema may take its time. If another process makes it, this one waits.
_BEGIN_MIGRATION = _LIMITS.format(600_000, 0)
#: Key of the advisory lock of a migration: "pgresult" as a number.
_MIGRATION_LOCK = int.from_bytes(b"pgresult")
_TYPES = {"text": 'text COLLATE "C"', "integer": "bigint", "blob": "bytea", "options": ""}
#: SQLSTATEs, or their first two characters.
_REPEATED = ("40001", "40P01", "23505")
_OF_DATA = ("22", "23", "54")
#: The schema has a table of another program's under a name of ours, or lacks one of ours.
_OF_SCHEMA = ("42703", "42P07", "42804", "42883")
_RISKS = {
    "fsync": "a crash of the machine loses results and may damage the database; switch it on",
    "full_page_writes": "a crash of the machine may damage the database; switch it on",
    "synchronous_commit": "this program switches it on in its own transactions; make it the default of the role",
}
#: The rights on our tables that the role lacks; all of a table that is not there.
_MISSING_RIGHTS = """\
SELECT name, needed FROM unnest(ARRAY['requests', 'results', 'schema_version']) AS name,
    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS needed
WHERE NOT coalesce(has_table_privilege(to_regclass(name), needed), false)
    AND (name <> 'schema_version' OR needed IN ('SELECT', 'UPDATE'))"""


class PostgreSQL:
    """PostgreSQL, shared by the processes of all machines.

    Args:
        url: the address; all parameters of libpq are possible.

    Raises:
        SettingsError: the address is none.
    """

    name = "PostgreSQL"
    module = "psycopg"
    readers = 2

    def __init__(self, url: StoreURL) -> None:
        self._parameters = parameters(url)
        self.arguments: Mapping[str, Any] = {**self._parameters, "autocommit": True, "prepare_threshold": None}
        self._descriptors: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    def check(self, *, changes: bool) -> None:
        """Nothing can be said of the settings before there is a connection."""

    def prepare(self, connection: Any) -> None:
        """Note the connection's socket for :meth:`interrupt`. Nothing is sent."""
        # A descriptor of our own: libpq closes its own in another thread, and the number might be another file's then.
        descriptor = os.dup(connection.fileno())
        finalize(connection, os.close, descriptor)
        self._descriptors[connection] = descriptor

    def migrate(self, connection: Any) -> None:
        """Bring the schema to this program's version, under a lock. Without a step it needs no right to create."""
        try:
            with self._transaction(connection, _BEGIN_MIGRATION) as transaction:
                if _version(transaction) != VERSION:
                    transaction.execute("SELECT pg_advisory_xact_lock(?)", (_MIGRATION_LOCK,))
                    migrate(transaction, _TYPES)
        except psycopg.ProgrammingError as error:
            if error.sqlstate not in _OF_SCHEMA:
                raise
            msg = f"RESULT_STORE: another program uses this database, take one of its own: {self.explain(error)}"
            raise SettingsError(msg) from None

    @contextmanager
    def writing(self, connection: Any) -> Iterator[Transaction]:
        """A transaction that writes."""
        with self._transaction(connection, _BEGIN) as transaction:
            yield transaction

    @contextmanager
    def _transaction(self, connection: Any, begin: str) -> Iterator[Transaction]:
        with connection.cursor(binary=True) as cursor:
            try:
                cursor.execute(begin, binary=False)  # several statements at once are only possible so
                yield PostgreSQLTransaction(cursor, locks=True)
                cursor.execute("COMMIT")
            except BaseException:
                with suppress(psycopg.Error):  # the first error counts; a connection without ROLLBACK is dropped
                    if not connection.closed:
                        cursor.execute("ROLLBACK")
                raise
            if cursor.statusmessage != "COMMIT":  # PostgreSQL rolls a failed transaction back without an error
                msg = f"COMMIT was answered with {cursor.statusmessage}"
                raise psycopg.OperationalError(msg)

    @contextmanager
    def reading(self, connection: Any) -> Iterator[Transaction]:
        """Statements that read, each in a transaction of its own: that is one round trip instead of three."""
        with connection.cursor(binary=True) as cursor:
            yield PostgreSQLTransaction(cursor, locks=False)

    def judge(self, error: Exception) -> Verdict:
        """What an error means. What is not certainly one operation's fault is the server's: no answer may be lost."""
        if isinstance(error, Conflict):
            return Verdict.REPEAT
        sqlstate = error.sqlstate if isinstance(error, psycopg.Error) else None
        if sqlstate in _REPEATED:
            return Verdict.REPEAT
        if sqlstate is not None:
            return Verdict.DATA if sqlstate.startswith(_OF_DATA) else Verdict.AWAY
        is_away = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | OSError | SettingsError)
        return Verdict.AWAY if is_away else Verdict.DATA

    def explain(self, error: Exception) -> str:
        """One line about an error."""
        return in_one_line(error, self._parameters)

    def interrupt(self, connection: Any) -> None:
        """Shut the connection's socket down: the thread that waits for the server gets an error."""
        descriptor = self._descriptors.get(connection)
        if descriptor is not None:
            borrowed = socket.socket(fileno=descriptor)
            with suppress(OSError):  # the server was faster
                borrowed.shutdown(socket.SHUT_RDWR)
            borrowed.detach()

    def describe(self, connection: Any) -> str:
        """The server's version, whether the connection has TLS, and the schema."""
        number = connection.info.server_version
        tls = "with TLS" if connection.pgconn.ssl_in_use else "without TLS"
        with self.reading(connection) as transaction:
            version = _version(transaction)
            if not version and transaction.execute("SELECT to_regclass('requests')").fetchone()[0] is not None:
                msg = "RESULT_STORE: another program uses this database, take one of its own"
                raise SettingsError(msg)
        refuse_newer(version)
        return f"PostgreSQL {number // 10000}.{number % 10000}, {tls}; {described(version)}"

    def problems(self, connection: Any) -> list[str]:
        """Settings of the server by which a crash loses what was committed, and missing rights."""
        with self.reading(connection) as transaction:
            found = [
                f"{name} is off: {what}"
                for name, what in _RISKS.items()
                if transaction.execute("SELECT current_setting(?)", (name,)).fetchone()[0] == "off"
            ]
            schema, may_create = transaction.execute(
                "SELECT current_schema(), has_schema_privilege(current_schema(), 'CREATE')"
            ).fetchone()
            if schema is None:
                found.append("the role's search_path has no schema: create one, or grant it to the role")
            elif not (version := _version(transaction)):
                if not may_create:
                    found.append(f"the role may not create tables: GRANT CREATE ON SCHEMA {schema} to it")
            else:
                if version != VERSION and not may_create:
                    found.append(f"the role may not change tables: GRANT CREATE ON SCHEMA {schema} to it")
                found += [
                    f"the role may not {right} table {table}: grant it {right}, or make it the owner"
                    for table, right in transaction.execute(_MISSING_RIGHTS).fetchall()
                ]
        return found


def _version(transaction: Transaction) -> int:
    """The version of the schema; 0 if there is none. Unlike the migration, it needs no right to create."""
    if transaction.execute("SELECT to_regclass('schema_version')").fetchone()[0] is None:
        return 0
    found = transaction.execute("SELECT max(version) FROM schema_version").fetchone()[0]
    return int(found or 0)
