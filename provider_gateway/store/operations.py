"""The operations that change a store, and their rules. They are the same for every database, and run in a transaction.

A transaction reads the records that its operations name, applies the changes in their order, and writes what changed.
The other operations follow: the database does them itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from provider_gateway.store.changes import Changes
from provider_gateway.store.columns import milliseconds
from provider_gateway.store.records import Finished, Outcome, Record, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provider_gateway.store.transaction import Transaction

#: Seconds for the purge of a transaction: the requests of the next one wait meanwhile.
_PURGE_SECONDS = 0.002
#: Rows that a purge deletes at least for each operation of its transaction. A request adds two rows by two operations,
#: and the transactions between two purges have no purge: with less, a store under full load would grow without end.
_PURGED_PER_OPERATION = 4


@dataclass(frozen=True, slots=True)
class Operation:
    """What a caller of the store wants done.

    Attributes:
        must_succeed: True if it is tried until it is committed.
    """

    must_succeed: ClassVar[bool] = False

    @property
    def id(self) -> str | None:
        """Id of the record to read."""
        return None

    @property
    def key(self) -> bytes | None:
        """A key whose holder is to be read."""
        return None

    @property
    def size(self) -> int:
        """Bytes of the body to store."""
        return 0


@dataclass(frozen=True, slots=True)
class Change(Operation, ABC):
    """A change of records by our rules."""

    @abstractmethod
    def apply(self, changes: Changes) -> Any:
        """Do it.

        Returns:
            What the caller gets after the commit.
        """


@dataclass(frozen=True, slots=True)
class Add(Change):
    """:meth:`.ResultStore.add`."""

    record: Record

    @property
    def id(self) -> str:
        """Id of the record to read."""
        return self.record.id

    @property
    def key(self) -> bytes | None:
        """A key whose holder is to be read."""
        return self.record.key

    def apply(self, changes: Changes) -> Record | None:
        """See the class."""
        record, holder = self.record, changes.holder(self.record.key)
        if holder is not None and holder.id != record.id:
            if (holder.key_expires or 0) > record.created:
                return holder
            changes.put(replace(holder, key=None))
        if changes.get(record.id) is None:
            changes.put(record)
        return None


@dataclass(frozen=True, slots=True)
class _OfRecord(Change):
    """A change of a record that is there."""

    of: str

    @property
    def id(self) -> str:
        """Id of the record to read."""
        return self.of


@dataclass(frozen=True, slots=True)
class Accept(_OfRecord):
    """:meth:`.ResultStore.accept`."""

    def apply(self, changes: Changes) -> None:
        """See the class."""
        record = changes.get(self.of)
        if record is not None and record.accept_by is not None:
            changes.put(replace(record, accept_by=None))


@dataclass(frozen=True, slots=True)
class TakeOver(_OfRecord):
    """:meth:`.ResultStore.take_over`."""

    seen: float
    accept_by: float

    def apply(self, changes: Changes) -> bool:
        """See the class."""
        record = changes.get(self.of)
        if record is None or record.status is not Status.PENDING or record.accept_by is None:
            return False
        if milliseconds(record.accept_by) != milliseconds(self.seen):
            return False
        changes.put(replace(record, accept_by=self.accept_by))
        return True


@dataclass(frozen=True, slots=True)
class ExpireAt(_OfRecord):
    """:meth:`.ResultStore.expire_at`."""

    expires: float

    def apply(self, changes: Changes) -> None:
        """See the class."""
        record = changes.get(self.of)
        if record is not None and record.status is Status.PENDING:
            changes.put(replace(record, expires=self.expires))


@dataclass(frozen=True, slots=True)
class Discard(_OfRecord):
    """:meth:`.ResultStore.discard`."""

    def apply(self, changes: Changes) -> None:
        """See the class."""
        record = changes.get(self.of)
        if record is not None and record.status is Status.PENDING:
            changes.delete(record)


@dataclass(frozen=True, slots=True)
class Finish(Change):
    """:meth:`.ResultStore.finish`."""

    must_succeed: ClassVar[bool] = True
    outcome: Outcome

    @property
    def id(self) -> str:
        """Id of the record to read."""
        return self.outcome.id

    @property
    def size(self) -> int:
        """Bytes of the body to store."""
        return len(self.outcome.result.body)

    def apply(self, changes: Changes) -> Finished:
        """See the class."""
        outcome = self.outcome
        record = changes.get(outcome.id)
        if record is None:
            if outcome.restored is None:
                return Finished(record=None, is_new=False)
            # Its key may have been given to another request since.
            record = replace(outcome.restored, key=None)
        if record.status not in outcome.replaces:
            return Finished(record=record, is_new=False)
        kept = changes.ttl
        if record.key is not None and outcome.keeps_key and record.key_expires is not None:
            kept = max(kept, record.key_expires - record.created)
        record = replace(
            record,
            status=outcome.status,
            finished=outcome.finished,
            expires=outcome.finished + kept,
            attempts=outcome.attempts,
            model_status=outcome.model_status,
            key=record.key if outcome.keeps_key else None,
            accept_by=None,
        )
        changes.put(record, outcome.result)
        return Finished(record=record, is_new=True)


@dataclass(frozen=True, slots=True)
class Erase(_OfRecord):
    """:meth:`.ResultStore.erase`."""

    owner: str | None
    now: float

    def apply(self, changes: Changes) -> Record | None:
        """See the class."""
        record = changes.get(self.of)
        if record is None or record.owner != self.owner or record.status is Status.ERASED:
            return None
        if record.status is Status.PENDING:
            expires = self.now + changes.ttl
            changes.put(
                replace(record, status=Status.CANCELED, finished=self.now, expires=expires, key=None, accept_by=None)
            )
        else:
            changes.erase(record, self.now)
        return record


@dataclass(frozen=True, slots=True)
class Command(Operation, ABC):
    """What the database does itself, after all changes are written."""

    @abstractmethod
    def run(self, transaction: Transaction, operations: int) -> Any:
        """Do it.

        Args:
            operations: how many the transaction has.

        Returns:
            What the caller gets after the commit.
        """


@dataclass(frozen=True, slots=True)
class Purge(Command):
    """:meth:`.ResultStore.purge`.

    Attributes:
        clock: returns seconds; it measures how long the purge takes, in a thread.
    """

    now: float
    ttl: float
    limit: int
    clock: Callable[[], float]

    def run(self, transaction: Transaction, operations: int) -> int:
        """Delete portions until the time is over, and enough rows are gone for that many operations."""
        ends, enough = self.clock() + _PURGE_SECONDS, _PURGED_PER_OPERATION * operations
        limit, rows = self.limit, 0
        while limit > 0 and (rows < enough or self.clock() < ends):
            portion = min(transaction.portion, limit)
            deleted = transaction.purge(self.now, self.ttl, portion)
            limit, rows = limit - portion, rows + deleted
            if deleted < portion:
                break
        return rows


@dataclass(frozen=True, slots=True)
class Probe(Command):
    """Find out whether the store takes changes."""

    def run(self, transaction: Transaction, operations: int) -> None:  # noqa: ARG002 - all commands get it
        """See the class."""
        transaction.probe()


def execute(transaction: Transaction, operations: Sequence[Operation], ttl: float) -> list[Any]:
    """Do operations in their order.

    Returns:
        The answer of each.
    """
    ids = {operation.id for operation in operations}
    keys = {operation.key for operation in operations}
    found = transaction.records(id_ for id_ in ids if id_ is not None)
    found += [record for record in transaction.holders(key for key in keys if key is not None) if record.id not in ids]
    changes = Changes(found, ttl)
    answers = [each.apply(changes) if isinstance(each, Change) else None for each in operations]
    changes.write(transaction)
    return [
        each.run(transaction, len(operations)) if isinstance(each, Command) else answer
        for each, answer in zip(operations, answers, strict=True)
    ]
