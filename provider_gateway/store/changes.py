"""The records that a transaction has read, and what becomes of them before it writes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provider_gateway.store.records import Record, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provider_gateway.store.records import Result
    from provider_gateway.store.transaction import Transaction


class Changes:
    """The records that a transaction has read, and what becomes of them.

    Args:
        found: the records.
        ttl: seconds that a final record is kept.
    """

    def __init__(self, found: Iterable[Record], ttl: float) -> None:
        self.ttl = ttl
        self._before = {record.id: record for record in found}
        self._now = dict(self._before)
        self._holders = {record.key: record.id for record in self._before.values() if record.key is not None}
        self._results: dict[str, Result] = {}
        self._deleted: set[str] = set()
        self._without_result: set[str] = set()

    def get(self, id_: str) -> Record | None:
        """A record as it is now."""
        return self._now.get(id_)

    def holder(self, key: bytes | None) -> Record | None:
        """The record that holds a key now."""
        return None if key is None or (id_ := self._holders.get(key)) is None else self._now[id_]

    def put(self, record: Record, result: Result | None = None) -> None:
        """Add or change a record, and give it a result if there is one."""
        before = self._now.get(record.id)
        if before is not None and before.key is not None and before.key != record.key:
            del self._holders[before.key]
        if record.key is not None:
            self._holders[record.key] = record.id
        self._now[record.id] = record
        if result is not None:
            self._results[record.id] = result

    def erase(self, record: Record, now: float) -> None:
        """Delete a record's result, and what the record says."""
        self.put(
            Record(
                id=record.id,
                owner=None,
                routing_key="",
                rquid="",
                created=record.created,
                expires=now,
                status=Status.ERASED,
                finished=now,
            )
        )
        self._results.pop(record.id, None)
        self._without_result.add(record.id)

    def delete(self, record: Record) -> None:
        """Delete a record and its result."""
        self.put(replace(record, key=None))
        del self._now[record.id]
        self._results.pop(record.id, None)
        if self._before.pop(record.id, None) is not None:
            self._deleted.add(record.id)

    def write(self, transaction: Transaction) -> None:
        """Write what changed. Keys become free before they are taken."""
        before, now = self._before, self._now
        if self._deleted:
            transaction.delete(self._deleted)
        if self._without_result:
            transaction.delete_results(self._without_result)
        if changed := [record for id_, record in now.items() if id_ in before and record is not before[id_]]:
            transaction.update(changed)
        if new := [record for id_, record in now.items() if id_ not in before]:
            transaction.insert(new)
        if self._results:
            transaction.put_results([(now[id_], result) for id_, result in self._results.items()])
