"""Requests whose answers are kept: they are recorded, published, waited for, fetched and erased here.

It knows no HTTP: :mod:`provider_gateway.gateway` has the routes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from provider_gateway.errors import GatewayError, NotFound, OutcomeUnknown, StoreUnavailable
from provider_gateway.message.message import PG_OWNER, PG_RESULTS
from provider_gateway.results.errors import Gone, RequestCanceled
from provider_gateway.results.idempotency import ACCEPT_WITHIN, check_same
from provider_gateway.store.records import Record, Status
from provider_gateway.topology.reply_addresses import results_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.clocks import WallClock
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.message.message import Message
    from provider_gateway.results.idempotency import IdempotencyKey
    from provider_gateway.store.records import Result, ResultStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What became of a request that was to be recorded and published.

    Attributes:
        record: of the request. Its ``id`` is the one to tell the caller, and need not be that of the message.
        existing: True if an earlier request with the same key is this one: nothing was published.
    """

    record: Record
    existing: bool


class Results:
    """The requests whose answers are kept.

    Owners are the first names of identities; None is a caller without a name. A record without an owner belongs to
    whoever knows its id.

    Args:
        entries: all of the queue file.
        ttl: seconds that a result is kept, and for which a request may be pending.
        idempotency_ttl: seconds that an ``Idempotency-Key`` is held.

    Attributes:
        results_queue: where replies are stored from: ``reply_to`` of the messages given to :meth:`submit`.
    """

    _log = Logger()

    def __init__(
        self,
        store: ResultStore,
        publisher: Publisher,
        entries: Sequence[QueueEntry],
        *,
        ttl: float,
        idempotency_ttl: float,
        wall_clock: WallClock,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._ttl = ttl
        self._idempotency_ttl = idempotency_ttl
        self._wall_clock = wall_clock
        self.results_queue = results_name(entries)

    def headers(self, owner: str | None) -> dict[str, str]:
        """The headers of each request message whose answer is kept, plain ones included."""
        return {PG_RESULTS: self.results_queue, PG_OWNER: owner or ""}

    def new_record(
        self,
        id_: str,
        *,
        owner: str | None,
        routing_key: str,
        rquid: str,
        webhook: str | None = None,
        key: IdempotencyKey | None = None,
    ) -> Record:
        """A pending record, for :meth:`submit` or :meth:`keep`.

        Args:
            id_: the correlation id of the message.
            webhook: name of the owner's endpoint.
        """
        now = self._wall_clock()
        return Record(
            id=id_,
            owner=owner,
            routing_key=routing_key,
            rquid=rquid,
            created=now,
            expires=now + self._ttl,
            webhook=webhook,
            key=key.digest if key is not None else None,
            fingerprint=key.fingerprint if key is not None else None,
            key_expires=now + self._idempotency_ttl if key is not None else None,
            accept_by=now + ACCEPT_WITHIN if key is not None else None,
        )

    async def submit(self, message: Message, exchange: str, record: Record) -> Submission:
        """Record a request, publish it, and wait for the confirm.

        It goes on if the caller leaves.

        Args:
            message: its ``correlation_id`` is the record's ``id``, its ``reply_to`` is :attr:`results_queue`.
            exchange: for the record's routing key.

        Raises:
            StoreUnavailable: nothing was published.
            IdempotencyKeyReused: the key belongs to a request with another body.
            OutcomeUnknown: the broker may have accepted the message. The record stays: answer with its ``Location``.
            GatewayError: of :meth:`.Publisher.publish`: the message was not accepted, and the record is gone.
        """
        holder = await self._store.add(record)
        if holder is not None:
            check_same(holder, record.fingerprint)
            return Submission(record=holder, existing=True)
        try:
            await self._publisher.publish(message, exchange, record.routing_key)
        except OutcomeUnknown:
            raise
        except GatewayError:
            await self._store.discard(record.id)
            raise
        return Submission(record=record, existing=False)

    def keep(self, record: Record) -> Deferred[bool]:
        """Record a request that was published without a record, before its caller gets 504.

        It is to be called in the turn in which the call ended, so that a late reply finds the record.

        Returns:
            A Deferred that fires with True once the record is committed, and with False if the store is away. It does
            not fail.
        """
        return Deferred.fromCoroutine(self._keep(record))

    async def _keep(self, record: Record) -> bool:
        try:
            await self._store.add(record)
        except StoreUnavailable:
            return False
        return True

    async def wait(self, id_: str, seconds: float, *, ends_at_drain: bool = True) -> Record | None:  # noqa: ARG002
        """Wait until a request is final, whichever replica stores its answer. Cancel it when the caller has left.

        Args:
            seconds: to wait at most.
            ends_at_drain: False if the wait goes on while the process drains, until :meth:`abandon`.

        Returns:
            The record: final, or as it is at the end of the time. None if there is none: the request was not accepted.

        Raises:
            StoreUnavailable: the store is away.
        """
        return await self._store.get(id_)

    async def get(self, id_: str, owner: str | None) -> Record:
        """The record of an owner's request.

        Raises:
            NotFound: there is none, or it is another owner's.
            Gone: its time is over.
            StoreUnavailable: the store is away.
        """
        record = await self._store.get(id_)
        if record is None or record.owner not in (None, owner):
            raise _not_found(id_)
        if record.status.is_final and record.expires <= self._wall_clock():
            raise _gone(id_)
        return record

    async def result(self, record: Record) -> Result:
        """The result of a final record.

        Raises:
            RequestCanceled: there is none.
            Gone: its time is over.
            StoreUnavailable: the store is away.
        """
        if record.status is Status.CANCELED:
            msg = f"The request {record.id} was canceled before there was an answer."
            raise RequestCanceled(msg)
        result = await self._store.result(record.id)
        if result is None:
            raise _gone(record.id)
        return result

    async def list(self, owner: str, *, status: Status | None, limit: int, after: str | None) -> Sequence[Record]:
        """An owner's records, the newest first.

        Args:
            after: the id of the last record that was seen.

        Raises:
            StoreUnavailable: the store is away.
        """
        return await self._store.list(owner, now=self._wall_clock(), status=status, limit=limit, after=after)

    async def erase(self, id_: str, owner: str | None) -> Record:
        """Cancel a pending request, or erase a final one.

        Returns:
            The record as it was.

        Raises:
            NotFound, Gone, StoreUnavailable: as for :meth:`get`.
        """
        record = await self.get(id_, owner)
        erased = await self._store.erase(id_, record.owner, self._wall_clock())
        if erased is None:
            raise _not_found(id_)
        return erased

    def drain(self) -> None:
        """End the waits that end at a drain, now and from now on."""

    def abandon(self) -> None:
        """End all waits, now and from now on."""


def _not_found(id_: str) -> NotFound:
    return NotFound(f"There is no request {id_}, or it is not yours.")


def _gone(id_: str) -> Gone:
    return Gone(f"The result of the request {id_} is not kept any more (RESULT_TTL).")
