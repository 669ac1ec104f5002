"""Requests whose answers are kept: they are recorded, published, waited for, fetched and erased here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from provider_gateway.amqp.declare import declares
from provider_gateway.amqp.notice_queue import NoticeQueue
from provider_gateway.deferreds import shield
from provider_gateway.errors import BadRequest
from provider_gateway.message.message import PG_OWNER, PG_RESULTS
from provider_gateway.results.errors import RequestCanceled, gone, not_found
from provider_gateway.results.idempotency import ACCEPT_WITHIN, is_accepted
from provider_gateway.results.keeping import Keeping
from provider_gateway.results.late_replies import LateReplies
from provider_gateway.results.replies import Replies
from provider_gateway.results.results_queue import ResultsQueue
from provider_gateway.results.retention import Retention
from provider_gateway.results.submissions import Submissions
from provider_gateway.results.unconfirmed import Unconfirmed
from provider_gateway.results.waiting import Waiting
from provider_gateway.store.records import Record, Status
from provider_gateway.topology.reply_addresses import results_name
from provider_gateway.topology.result_objects import canceled_exchange, done_exchange, result_objects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.notices import NoticePublisher
    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.clocks import WallClock
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.message.message import Message
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.results.idempotency import IdempotencyKey
    from provider_gateway.results.limits import KeptLimits
    from provider_gateway.results.submissions import Submission
    from provider_gateway.store.records import Result, ResultStore
    from provider_gateway.tracing.tracer import Tracer
    from provider_gateway.webhooks.webhooks import Webhooks


class Results:
    """The requests whose answers are kept. It knows no HTTP.

    Owners are the first names of identities; None is a caller without a name. A record without an owner belongs to
    whoever knows its id.

    Args:
        publisher: publishes request messages; and to the results queue late replies, and what is overdue.
        notices: publishes the ids of what is final, or canceled.
        entries: all of the queue file.
        instance: name of this process.
        clock: times waits and pauses.
        tracer: makes spans; None without traces.

    Attributes:
        results_queue: where replies are stored from: ``reply_to`` of the messages given to :meth:`submit`.
        keeping: makes the records of requests that were published without one.
        replies: what comes of these requests.
    """

    def __init__(
        self,
        store: ResultStore,
        publisher: Publisher,
        notices: NoticePublisher,
        webhooks: Webhooks,
        entries: Sequence[QueueEntry],
        *,
        instance: str,
        limits: KeptLimits,
        clock: IReactorTime,
        wall_clock: WallClock,
        metrics: Metrics,
        tracer: Tracer | None = None,
    ) -> None:
        self._store = store
        self._notices = notices
        self._limits = limits
        self._wall_clock = wall_clock
        self.results_queue = results_name(entries)
        self._done, self._canceled = done_exchange(entries).name, canceled_exchange(entries).name
        self._waiting = Waiting(
            store,
            lambda on_notice, on_bound: NoticeQueue(
                f"{self._done}.{instance}", done_exchange(entries), on_notice=on_notice, on_bound=on_bound, clock=clock
            ),
            clock,
        )
        unconfirmed = Unconfirmed(store, clock, wall_clock)
        self._submissions = Submissions(
            store,
            publisher,
            self.results_queue,
            unconfirmed,
            on_stored=self._stored,
            on_changed=self._tell,
            accepted=lambda id_, seconds: self._waiting.wait(id_, seconds, ends_at_drain=True, until=is_accepted),
            confirm_timeout=limits.confirm_timeout,
            clock=clock,
            wall_clock=wall_clock,
        )
        self.keeping = Keeping(store, self._submissions, unconfirmed)
        self.replies = Replies(
            store,
            queue=ResultsQueue(
                self.results_queue,
                store,
                declare=declares(*result_objects(entries)),
                limits=limits,
                webhook=webhooks.publish,
                on_stored=self._stored,
                clock=clock,
                wall_clock=wall_clock,
                metrics=metrics,
                tracer=tracer,
            ),
            late=LateReplies(
                publisher, self.results_queue, max_held=limits.max_held, kept=self.keeping.committed, clock=clock
            ),
            retention=Retention(
                store, publisher, self.results_queue, on_stored=self._stored, clock=clock, wall_clock=wall_clock
            ),
            notices=self._waiting.notices,
            webhooks=webhooks,
        )

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
        """A pending record, for :meth:`submit` or :meth:`.Keeping.keep`.

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
            expires=now + self._limits.ttl,
            webhook=webhook,
            key=key.digest if key is not None else None,
            fingerprint=key.fingerprint if key is not None else None,
            key_expires=now + self._limits.idempotency_ttl if key is not None else None,
            accept_by=now + ACCEPT_WITHIN if key is not None else None,
        )

    def submit(self, message: Message, exchange: str, record: Record) -> Deferred[Submission]:
        """Record a request, publish it, and wait for the confirm. It goes on if the caller leaves.

        Args:
            message: its ``correlation_id`` is the record's ``id``, its ``reply_to`` is :attr:`results_queue`. It gets
                another id if it takes the place of an earlier one.
            exchange: for the record's routing key.

        Returns:
            A Deferred that fires with what became of it. It fails with:
            :class:`StoreUnavailable`: nothing was published;
            :class:`IdempotencyKeyReused`: the key belongs to a request with another body;
            :class:`NotConfirmed`: the broker may have accepted the message, and the record stays: answer with the
            ``Location`` of the error's request, if it names one;
            any other :class:`GatewayError` of :meth:`.Publisher.publish`: the message was not accepted, and the record
            is gone.
        """
        return shield(Deferred.fromCoroutine(self._submissions.submit(message, exchange, record)))

    async def wait(self, id_: str, seconds: float, *, ends_at_drain: bool = True) -> Record | None:
        """Wait until a request is final, whichever replica stores its answer. Cancel it when the caller has left.

        Args:
            seconds: to wait at most.
            ends_at_drain: False if the wait goes on while the process drains, until :meth:`abandon`.

        Returns:
            The record: final, or as it is at the end of the time. None if there is none: the request was not accepted.

        Raises:
            StoreUnavailable: the store is away.
        """
        return await self._waiting.wait(id_, seconds, ends_at_drain=ends_at_drain)

    async def get(self, id_: str, owner: str | None) -> Record:
        """The record of an owner's request.

        Raises:
            NotFound: there is none, or it is another owner's.
            Gone: its time is over.
            StoreUnavailable: the store is away.
        """
        record = await self._store.get(id_)
        if record is None or record.owner not in (None, owner) or record.status is Status.ERASED:
            raise not_found(id_)
        if record.status.is_final and record.expires <= self._wall_clock():
            raise gone(id_)
        return record

    async def result(self, record: Record) -> Result:
        """The result of a final record.

        Raises:
            NotFound: it was erased meanwhile.
            RequestCanceled: there is none.
            Gone: its time is over.
            StoreUnavailable: the store is away.
        """
        if record.status is Status.ERASED:
            raise not_found(record.id)
        if record.status is Status.CANCELED:
            msg = f"The request {record.id} was canceled before there was an answer."
            raise RequestCanceled(msg)
        result = await self._store.result(record.id)
        if result is None:
            raise gone(record.id)
        return result

    async def list(self, owner: str, *, status: Status | None, limit: int, after: str | None) -> Sequence[Record]:
        """An owner's records, the newest first.

        Args:
            after: the id of the last record that was seen. It may have been erased since.

        Raises:
            BadRequest: nothing is known of it any more.
            StoreUnavailable: the store is away.
        """
        last = None if after is None else await self._store.get(after)
        if after is not None and (last is None or (last.owner != owner and last.status is not Status.ERASED)):
            msg = f"The list cannot go on after {after}: there is no such request of yours. Begin without after."
            raise BadRequest(msg)
        return await self._store.list(owner, now=self._wall_clock(), status=status, limit=limit, after=last)

    def erase(self, id_: str, owner: str | None) -> Deferred[Record]:
        """Cancel a pending request, or erase a final one. It goes on if the caller leaves.

        Returns:
            A Deferred that fires with the record as it was. It fails with what :meth:`get` raises.
        """
        return shield(Deferred.fromCoroutine(self._erase(id_, owner)))

    async def _erase(self, id_: str, owner: str | None) -> Record:
        record = await self.get(id_, owner)
        now = self._wall_clock()
        erased = await self._store.erase(id_, record.owner, now)
        if erased is None:
            raise not_found(id_)
        if not erased.status.is_final:
            self._notices.notify(self._canceled, id_)
            self._stored(replace(erased, status=Status.CANCELED, finished=now))
        return erased

    def _stored(self, record: Record) -> None:
        """Tell everybody who waits for a record that it is final, here and elsewhere."""
        self._waiting.finished(record)
        self._notices.notify(self._done, record.id)

    def _tell(self, id_: str) -> None:
        """Have everybody who waits for a record read it."""
        self._waiting.told(id_)
        self._notices.notify(self._done, id_)

    async def idle(self) -> None:
        """Wait until the broker has confirmed what is published, also what is published again."""
        await self._submissions.idle()
        await self.keeping.idle()

    def drain(self) -> None:
        """End the waits that end at a drain, now and from now on."""
        self._waiting.drain()

    def abandon(self) -> None:
        """End all waits, now and from now on."""
        self._waiting.abandon()
