"""What comes of requests whose answers are kept: replies to store, late ones, and the end of the time of records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.amqp.declare import declares
from provider_gateway.amqp.notice_queue import NoticeQueue
from provider_gateway.results.late_replies import LateReplies
from provider_gateway.results.results_queue import ResultsQueue
from provider_gateway.results.retention import Retention
from provider_gateway.topology.reply_addresses import results_name
from provider_gateway.topology.result_objects import result_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.consumer import Delivery
    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.amqp.session import Session
    from provider_gateway.clocks import WallClock
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.results.limits import KeptLimits
    from provider_gateway.store.records import Record, ResultStore
    from provider_gateway.webhooks.webhooks import Webhooks


class Replies:
    """Consumes what belongs to requests whose answers are kept.

    Args:
        publisher: publishes late replies, and what is overdue, to the results queue.
        notices: the queue for notices.
        on_stored: called with each record that this process has made final.
        kept: a Deferred for an id that fires when its record, which is being made, is committed; None if none is being
            made.

    Attributes:
        consumers: channels that are needed to consume.
        on_many_late: see :class:`.LateReplies`. Set by whoever consumes the queue that the late replies come from.
    """

    def __init__(
        self,
        store: ResultStore,
        publisher: Publisher,
        notices: NoticeQueue,
        webhooks: Webhooks,
        entries: Sequence[QueueEntry],
        *,
        on_stored: Callable[[Record], object],
        kept: Callable[[str], Deferred[None] | None],
        limits: KeptLimits,
        clock: IReactorTime,
        wall_clock: WallClock,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._notices = notices
        self._webhooks = webhooks
        self._queue = ResultsQueue(
            results_name(entries),
            store,
            declare=declares(*result_objects(entries)),
            limits=limits,
            webhook=webhooks.publish,
            on_stored=on_stored,
            clock=clock,
            wall_clock=wall_clock,
            metrics=metrics,
        )
        self.on_many_late: Callable[[], object] = lambda: None
        self._late = LateReplies(
            publisher,
            self._queue.name,
            max_held=limits.max_held,
            kept=kept,
            on_many=self._many_late,
            clock=clock,
        )
        self._retention = Retention(
            store, publisher, self._queue.name, on_stored=on_stored, clock=clock, wall_clock=wall_clock
        )
        self.consumers = 1 + NoticeQueue.channels + webhooks.consumers
        store.on_change = self._queue.store_changed

    async def open(self, session: Session) -> None:
        """Consume on a new session.

        Raises:
            TopologyError, AMQPError, ConnectionLost: see :meth:`.Consumer.open`.
        """
        await self._queue.open(session)
        await self._notices.open(session)
        await self._webhooks.open(session)

    def start(self) -> None:
        """Begin to end the time of records."""
        self._retention.start()

    def late(self, delivery: Delivery) -> None:
        """Take a reply of this instance's queue for which no caller waits: it is stored, and then acknowledged."""
        self._late.forward(delivery)

    def _many_late(self) -> None:
        self.on_many_late()

    def waiting_for(self) -> list[str]:
        """What is missing to be ready."""
        missing = [] if self._queue.is_consumed else [f"consumer of {self._queue.name}"]
        if not self._notices.is_consumed:
            missing.append("consumer of notices")
        return missing + self._webhooks.waiting_for()

    def degraded(self) -> list[str]:
        """What cannot be done for now."""
        return [] if self._store.is_up else ["the result store is away"]

    async def close(self) -> None:
        """Finish with the replies that are held, and take no more. The store has to be open."""
        self._retention.stop()
        await self._late.empty()
        await self._queue.close()
        await self._webhooks.close()

    def stop(self) -> None:
        """Leave to the broker what :meth:`close` had no time for."""
        self._late.cancel()
        self._queue.abandon()
