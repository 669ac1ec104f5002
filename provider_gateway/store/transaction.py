"""The SQL that both databases share: reads and changes of rows, many at a time, within one transaction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from provider_gateway.store.columns import (
    RECORD,
    RESULT,
    milliseconds,
    record_of,
    record_row,
    result_of,
    result_row,
    text,
)
from provider_gateway.store.engine import Conflict
from provider_gateway.store.records import Figures, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from provider_gateway.store.records import Record, Result

_SELECT = f"SELECT {', '.join(RECORD)} FROM requests "  # noqa: S608 - names of our own
# One statement for all rows: Python's sqlite3 lets go of the interpreter lock in each step of a statement, and waits
# until it gets the lock back.
_PURGE_RESULTS = "DELETE FROM results WHERE id IN (SELECT id FROM results WHERE expires <= ? ORDER BY expires LIMIT ?)"
_DUE = "(SELECT id FROM requests WHERE status = ? AND expires <= ? ORDER BY expires, created LIMIT ?)"
_PURGE_RESULTS_OF = f"DELETE FROM results WHERE id IN {_DUE}"  # noqa: S608 - names of our own
_PURGE_RECORDS = f"DELETE FROM requests WHERE id IN {_DUE}"  # noqa: S608
#: All statuses but ``pending``.
FINAL = tuple(status for status in Status if status.is_final)


def _replacing(columns: Sequence[str]) -> str:
    return f"(id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in columns[1:])}"


class Transaction(ABC):
    """Reads and changes rows. An engine overrides what its database does faster, or in another way.

    Placeholders are ``?`` here; :meth:`execute` and :meth:`execute_many` may rewrite them.

    Args:
        cursor: a DB-API cursor whose connection has begun a transaction.

    Attributes:
        portion: rows of each kind that one :meth:`purge` deletes: so few that it takes about a millisecond.
    """

    portion = 25

    purge_limit = 25

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Run one statement.

        Returns:
            The cursor.
        """
        self._cursor.execute(statement, values)
        return self._cursor

    def execute_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row."""
        self._cursor.executemany(statement, rows)

    # What a group commit reads and writes.

    def records(self, ids: Iterable[str]) -> list[Record]:
        """The records with these ids. In a transaction that writes they are locked, in the order of their ids."""
        found = (self.execute(_SELECT + "WHERE id = ?", (text(id_),)).fetchone() for id_ in sorted(ids))
        return [record_of(row) for row in found if row is not None]

    def holders(self, keys: Iterable[bytes]) -> list[Record]:
        """The records that hold these keys, locked as those of :meth:`records`."""
        found = (self.execute(_SELECT + "WHERE key = ?", (key,)).fetchone() for key in sorted(keys))
        return [record_of(row) for row in found if row is not None]

    def insert(self, records: Sequence[Record]) -> None:
        """Add records, those with keys in the order of their keys: so that two replicas do not wait for each other.

        Raises:
            Conflict: another transaction has inserted a row with one of these ids or keys.
        """
        rows = [record_row(record) for record in sorted(records, key=lambda each: (each.key or b"", each.id))]
        if self._insert("requests", RECORD, rows, "DO NOTHING") != len(rows):
            raise Conflict

    def update(self, records: Sequence[Record]) -> None:
        """Give records new values."""
        rows = [record_row(record) for record in sorted(records, key=lambda each: each.id)]
        self._insert("requests", RECORD, rows, _replacing(RECORD))  # all are there: none is inserted

    def delete(self, ids: Collection[str]) -> None:
        """Delete records and their results."""
        self.delete_results(ids)
        self.execute_many("DELETE FROM requests WHERE id = ?", [(text(id_),) for id_ in sorted(ids)])

    def delete_results(self, ids: Iterable[str]) -> None:
        """Delete results."""
        self.execute_many("DELETE FROM results WHERE id = ?", [(text(id_),) for id_ in sorted(ids)])

    def put_results(self, results: Sequence[tuple[Record, Result]]) -> None:
        """Add results, or replace them. Each is kept as long as its record says."""
        rows = [result_row(record.id, record.expires, result) for record, result in results]
        self._insert("results", RESULT, rows, _replacing(RESULT))

    def _insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], conflict: str) -> int:
        """Insert rows by one statement, see :data:`_PURGE_RESULTS`; returns how many were inserted or replaced."""
        row = f"({', '.join('?' * len(columns))})"
        statement = (
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * len(rows))} "  # noqa: S608 - ours
            f"ON CONFLICT {conflict}"
        )
        return int(self.execute(statement, [value for each in rows for value in each]).rowcount)

    def purge(self, now: float, ttl: float, limit: int) -> int:
        """Delete results whose time is over, and records that are past it by ``ttl``.

        Args:
            limit: rows of each kind to delete at most.

        Returns:
            How many rows were deleted.
        """
        deleted = self._purge_results(milliseconds(now), limit)
        for status in FINAL:
            if limit <= 0:
                break
            gone = self._purge_records(status, milliseconds(now - ttl), limit)
            limit, deleted = limit - gone, deleted + gone
        return deleted

    def _purge_results(self, until: int, limit: int) -> int:
        """Delete results whose time is over at ``until``, in milliseconds. Returns how many."""
        return int(self.execute(_PURGE_RESULTS, (until, limit)).rowcount)

    def _purge_records(self, status: Status, until: int, limit: int) -> int:
        """Delete records of a status whose time is over, and the results that they have still. Returns how many."""
        values = (status.value, until, limit)
        self.execute(_PURGE_RESULTS_OF, values)
        return int(self.execute(_PURGE_RECORDS, values).rowcount)

    def probe(self) -> None:
        """Change nothing, by a write: it fails if the database takes none."""
        self.execute("UPDATE schema_version SET version = version")

    # What is read beside.

    def result(self, id_: str) -> Result | None:
        """The result of a record; None if there is none."""
        row = self.execute(
            f"SELECT {', '.join(RESULT)} FROM results WHERE id = ?",  # noqa: S608 - ours
            (text(id_),),
        ).fetchone()
        return None if row is None else result_of(row)

    def newest(self, owner: str, now: float, status: Status | None, limit: int, after: Record | None) -> list[Record]:
        """The records of an owner that are not past their time, the newest first."""
        statement, values = _SELECT + "WHERE owner = ? AND expires > ?", [text(owner), milliseconds(now)]
        if status is not None:
            statement, values = statement + " AND status = ?", [*values, status.value]
        if after is not None:
            statement += " AND (created, id) < (?, ?)"
            values = [*values, milliseconds(after.created), text(after.id)]
        statement += " ORDER BY created DESC, id DESC LIMIT ?"
        return [record_of(row) for row in self.execute(statement, (*values, limit)).fetchall()]

    def overdue(self, now: float, limit: int) -> list[Record]:
        """Pending records whose time is over, those first whose time was over first."""
        rows = self.execute(
            _SELECT + "WHERE status = 'pending' AND expires <= ? ORDER BY expires, created LIMIT ?",
            (milliseconds(now), limit),
        ).fetchall()
        return [record_of(row) for row in rows]

    def figures(self) -> Figures:
        """What metrics say."""
        pending, oldest = self.execute(
            "SELECT count(*), min(created) FROM requests WHERE status = 'pending'"
        ).fetchone()
        return Figures(
            pending=pending, oldest_pending=None if oldest is None else oldest / 1000, bytes=self.database_bytes()
        )

    @abstractmethod
    def database_bytes(self) -> int:
        """Size of the database."""
