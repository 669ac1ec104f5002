"""What a result store keeps, as values, and the interface of a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twisted.internet.defer import Deferred


class Status(StrEnum):
    """What has become of a request. Every status but ``pending`` is final.

    ``erased`` is never shown: what is left of the record keeps a late or repeated reply from making it anew.
    """

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PARKED = "parked"
    EXPIRED = "expired"
    CANCELED = "canceled"
    ERASED = "erased"

    @property
    def is_final(self) -> bool:
        """True if no reply is to be waited for."""
        return self is not Status.PENDING


#: A reply replaces these, and no other: what is parked may be sent again, and what came too late for us is an answer.
REPLACEABLE = frozenset({Status.PENDING, Status.PARKED, Status.EXPIRED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The record of one request. Times are seconds since 1970, kept to the millisecond.

    Attributes:
        id: the correlation id of its message.
        owner: the identity that sent it; None if whoever knows the id may see it.
        expires: while pending, when it becomes ``expired``; then, when the result is deleted.
        attempts: model calls that were made; None if that is not known.
        model_status: HTTP status of the model's response; None without one.
        webhook: the endpoint that is told when it is final, from :meth:`.AccessRules.endpoint`; None for none.
        key: digest of owner, routing key and ``Idempotency-Key``; None without one.
        fingerprint: digest of the request's body, for requests with a key.
        key_expires: until when the key is held.
        accept_by: until when its publish is expected to be confirmed. None once that is known, or if the caller was
            told that the broker may have it. A record with a key that is later than that may be taken over.
    """

    id: str
    owner: str | None
    routing_key: str
    rquid: str
    created: float
    expires: float
    status: Status = Status.PENDING
    finished: float | None = None
    attempts: int | None = None
    model_status: int | None = None
    webhook: str | None = None
    key: bytes | None = None
    fingerprint: bytes | None = None
    key_expires: float | None = None
    accept_by: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What ``/v1/predict`` would have answered.

    Attributes:
        status: of the response.
        headers: those that travel from a message to HTTP.
        content_encoding: content codings of the body, in HTTP's form; None without one.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    content_encoding: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a request ended.

    Attributes:
        status: any but ``pending``.
        keeps_key: the answer is given to a request with the same key. If not, the key is free for a new request.
        replaces: what the record must be; else it stays as it is.
        restored: the record to make if there is none with this id; None if an unknown id is not ours.
    """

    id: str
    status: Status
    finished: float
    result: Result
    attempts: int | None = None
    model_status: int | None = None
    keeps_key: bool = False
    replaces: frozenset[Status] = REPLACEABLE
    restored: Record | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What the store did with an outcome.

    Attributes:
        record: as it is now; None if the id is unknown, and nothing was restored.
        is_new: True if the outcome was stored, False if the record was final before.
    """

    record: Record | None
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What metrics say of a store.

    Attributes:
        pending: records without an answer.
        oldest_pending: when the oldest of them was made, in seconds since 1970; None if there is none.
        bytes: size of the store.
    """

    pending: int
    oldest_pending: float | None
    bytes: int


class ResultStore(Protocol):
    """A store of records and results.

    Whatever a Deferred fires with is committed. Except for :meth:`finish`, each Deferred fails with
    :class:`.StoreUnavailable` if the store is away or too slow; the operation may have been committed then.

    Attributes:
        on_change: called after ``is_up`` has changed. Whoever uses the store sets it.
    """

    on_change: Callable[[], object]

    @property
    def is_up(self) -> bool:
        """False while the store is away."""
        ...

    def open(self) -> Deferred[None]:
        """Connect. Until then, and until that has succeeded, the store is away.

        Returns:
            A Deferred that fires when the first attempt is over, or after some seconds. It does not fail.
        """
        ...

    def add(self, record: Record) -> Deferred[Record | None]:
        """Add a pending record. A record with its id stays as it is.

        Returns:
            None if it is there now; else the record that holds its key, in which case nothing was added. A record whose
            key has expired loses it.
        """
        ...

    def accept(self, id_: str) -> Deferred[None]:
        """Note that the publish of a record is confirmed: it cannot be taken over any more."""
        ...

    def take_over(self, id_: str, seen: float, accept_by: float) -> Deferred[bool]:
        """Take over a pending record whose publish was not confirmed in time.

        Args:
            seen: its ``accept_by``, as read.
            accept_by: the new one.

        Returns:
            True for one caller only.
        """
        ...

    def expire_at(self, id_: str, expires: float) -> Deferred[None]:
        """Change when a pending record expires, in seconds since 1970. A record that is final stays as it is."""
        ...

    def discard(self, id_: str) -> Deferred[None]:
        """Delete a pending record: its message was not accepted."""
        ...

    def finish(self, outcome: Outcome) -> Deferred[Finished]:
        """Store how a request ended, see :data:`REPLACEABLE`. It is tried until it is committed, or the store closes.

        Cancel the Deferred to take the operation back, which is in vain once its transaction has begun.

        Raises:
            StoreUnavailable: the store is closed. Acknowledge nothing.
        """
        ...

    def erase(self, id_: str, owner: str | None, now: float) -> Deferred[Record | None]:
        """Make a pending record ``canceled``, and any other one ``erased``. Its key becomes free.

        An erased record keeps its id and its times, and nothing else. It is purged as others are.

        Returns:
            The record as it was; None if there is none with this id and owner, or it is erased.
        """
        ...

    def get(self, id_: str) -> Deferred[Record | None]:
        """The record with an id, also one that is past its time."""
        ...

    def result(self, id_: str) -> Deferred[Result | None]:
        """The result of a final record; None if there is none, or its time is over."""
        ...

    def list(
        self, owner: str, *, now: float, status: Status | None, limit: int, after: Record | None
    ) -> Deferred[Sequence[Record]]:
        """The records of an owner that are not past their time, the newest first.

        Args:
            after: the last record that was seen. It need not be there any more.
        """
        ...

    def overdue(self, now: float, limit: int) -> Deferred[Sequence[Record]]:
        """Pending records whose time is over, the oldest first."""
        ...

    def purge(self, now: float, limit: int) -> Deferred[int]:
        """Delete results whose time is over, and records that are past it for as long as they were kept.

        Args:
            limit: rows of each kind to delete at most. Fewer are deleted if that takes so long that requests would
                wait for it.

        Returns:
            How many rows were deleted.
        """
        ...

    def figures(self) -> Deferred[Figures]:
        """What metrics say of the store."""
        ...

    def close(self, seconds: float) -> Deferred[None]:
        """Commit what is under way, for a limited time, and close the connections.

        Cancel the Deferred to close them at once.
        """
        ...
