"""PostgreSQL's part of the SQL: one statement for all rows of a kind, which arrive as arrays, one for each column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.store.columns import RECORD, RESULT, record_of, record_row, result_row, text
from provider_gateway.store.engine import Conflict
from provider_gateway.store.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from provider_gateway.store.records import Record, Result, Status

#: Bytes of results in one statement. PostgreSQL takes 1 GB, and keeps several copies of it meanwhile.
_MAX_BYTES = 16 * 1024 * 1024
_TYPES = {
    **dict.fromkeys(
        ("created", "expires", "finished", "attempts", "model_status", "key_expires", "accept_by"), "bigint"
    ),
    **dict.fromkeys(("key", "fingerprint", "headers", "body"), "bytea"),
}


def _unnested(columns: Sequence[str], **types: str) -> str:
    """A FROM item with one row for each element of the arrays."""
    # Binary parameters: as text, a body would take twice as much, and each array five times the CPU.
    arrays = ", ".join(f"%b::{types.get(name) or _TYPES.get(name, 'text')}[]" for name in columns)
    return f"unnest({arrays}) AS given ({', '.join(columns)})"


_SELECT = f"SELECT {', '.join(RECORD)} FROM requests "  # noqa: S608 - names of our own
_INSERT = f"INSERT INTO requests ({', '.join(RECORD)}) SELECT * FROM {_unnested(RECORD)} ON CONFLICT DO NOTHING"  # noqa: S608
_UPDATE = (
    f"UPDATE requests SET {', '.join(f'{name} = given.{name}' for name in RECORD[1:])} "  # noqa: S608
    f"FROM {_unnested(RECORD)} WHERE requests.id = given.id"
)
_PUT = (
    f"INSERT INTO results ({', '.join(RESULT)}) SELECT * FROM {_unnested(RESULT, status='bigint')} "  # noqa: S608
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in RESULT[1:])}"
)
#: Rows that others have locked are left for the next time: nobody waits for a purge, and it waits for nobody.
_PURGE_RESULTS = """\
DELETE FROM results WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM results WHERE expires <= %b ORDER BY expires LIMIT %b FOR UPDATE SKIP LOCKED))"""
_PURGE_RECORDS = """\
WITH gone AS (
    DELETE FROM requests WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM requests WHERE status = %b AND expires <= %b
        ORDER BY expires LIMIT %b FOR UPDATE SKIP LOCKED))
    RETURNING id),
bodies AS (DELETE FROM results WHERE id IN (SELECT id FROM gone))
SELECT count(*) FROM gone"""


class PostgreSQLTransaction(Transaction):
    """A transaction of PostgreSQL's.

    Args:
        cursor: of psycopg.
        locks: lock the records that are read.
    """

    purge_limit = 250

    portion = 100  # most of its time is that of the round trips

    def __init__(self, cursor: Any, *, locks: bool) -> None:
        super().__init__(cursor)
        self._lock = " FOR UPDATE" if locks else ""

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Run one statement."""
        return super().execute(statement.replace("?", "%s"), values)

    def records(self, ids: Iterable[str]) -> list[Record]:
        """The records with these ids."""
        return self._read(f"{_SELECT}WHERE id = ANY(%b::text[]) ORDER BY id{self._lock}", [text(id_) for id_ in ids])

    def holders(self, keys: Iterable[bytes]) -> list[Record]:
        """The records that hold these keys."""
        return self._read(f"{_SELECT}WHERE key = ANY(%b::bytea[]) ORDER BY key{self._lock}", list(keys))

    def _read(self, statement: str, array: Sequence[Any]) -> list[Record]:
        return [record_of(row) for row in self.execute(statement, (array,)).fetchall()] if array else []

    def insert(self, records: Sequence[Record]) -> None:
        """Add records."""
        rows = [record_row(record) for record in sorted(records, key=lambda each: (each.key or b"", each.id))]
        if self._change(_INSERT, rows) != len(rows):
            raise Conflict

    def update(self, records: Sequence[Record]) -> None:
        """Give records new values."""
        self._change(_UPDATE, [record_row(record) for record in sorted(records, key=lambda each: each.id)])

    def delete(self, ids: Collection[str]) -> None:
        """Delete records and their results."""
        self.delete_results(ids)
        self.execute("DELETE FROM requests WHERE id = ANY(%b::text[])", (sorted(map(text, ids)),))

    def delete_results(self, ids: Iterable[str]) -> None:
        """Delete results."""
        self.execute("DELETE FROM results WHERE id = ANY(%b::text[])", (sorted(map(text, ids)),))

    def put_results(self, results: Sequence[tuple[Record, Result]]) -> None:
        """Add results, or replace them; of several for one record the last one counts."""
        last = {record.id: result_row(record.id, record.expires, result) for record, result in results}
        rows, size = [], 0
        for id_ in sorted(last):
            rows.append(last[id_])
            size += len(last[id_][-1])
            if size >= _MAX_BYTES:
                self._change(_PUT, rows)
                rows, size = [], 0
        self._change(_PUT, rows)

    def _change(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Run a statement whose parameters are the columns of these rows; returns how many rows it changed."""
        return (
            int(self.execute(statement, [list(column) for column in zip(*rows, strict=True)]).rowcount) if rows else 0
        )

    def _purge_results(self, until: int, limit: int) -> int:
        """Delete results whose time is over at ``until``, in milliseconds. Returns how many."""
        return int(self.execute(_PURGE_RESULTS, (until, limit)).rowcount)

    def _purge_records(self, status: Status, until: int, limit: int) -> int:
        """Delete records of a status whose time is over, and the results that they have still. Returns how many."""
        return int(self.execute(_PURGE_RECORDS, (status.value, until, limit)).fetchone()[0])

    def database_bytes(self) -> int:
        """Size of our tables and their indexes."""
        statement = "SELECT pg_total_relation_size('requests') + pg_total_relation_size('results')"
        return int(self.execute(statement).fetchone()[0])
