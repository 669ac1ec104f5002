"""Consumes the results queue: each reply is stored, told, and then acknowledged. While the store is away, it pauses.

The order is: commit, webhook, notice, acknowledgement. After a crash in between the reply is delivered again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pika.exceptions import AMQPError
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from provider_gateway.amqp.consumer import Consumer
from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.deferreds import InFlight
from provider_gateway.errors import StoreUnavailable
from provider_gateway.message.ids import rquid_of
from provider_gateway.results.outcomes import outcome_of
from provider_gateway.store.records import Status
from provider_gateway.tracing.consumed import begin_processing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.consumer import Delivery
    from provider_gateway.amqp.session import Session
    from provider_gateway.clocks import WallClock
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.results.limits import KeptLimits
    from provider_gateway.store.records import Finished, Record, ResultStore
    from provider_gateway.tracing.span import AnySpan
    from provider_gateway.tracing.tracer import Tracer

#: Replies that may be held at a time; as many may be in one commit.
_PREFETCH = 500


class ResultsQueue:
    """The results queue, which all gateways share.

    Args:
        name: of the queue.
        declare: declares it.
        limits: one reply is taken whatever its size.
        webhook: publishes the webhook of a record that is final, if it has one, until that is confirmed.
        on_stored: called with each record that is final, after that.
        clock: times the attempts to consume again.
        tracer: makes spans; None without traces.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        store: ResultStore,
        *,
        declare: Callable[[Session], Awaitable[None]],
        limits: KeptLimits,
        webhook: Callable[[Record, AnySpan | None], Deferred[None]],
        on_stored: Callable[[Record], object],
        clock: IReactorTime,
        wall_clock: WallClock,
        metrics: Metrics,
        tracer: Tracer | None = None,
    ) -> None:
        self.name = name
        self._tracer = tracer
        self._store = store
        self._limits = limits
        self._webhook = webhook
        self._on_stored = on_stored
        self._clock = clock
        self._wall_clock = wall_clock
        self._replies = metrics.replies
        self._on_unsafe = metrics.headers_dropped.inc
        self._held = 0
        self._is_paused = not store.is_up
        self._committing: dict[Delivery, Deferred[Finished]] = {}
        self._working = InFlight(lambda f: self._log.failure("{queue}: a reply cannot be stored", f, queue=name))
        self._consumer = Consumer(
            name,
            prefetch=0 if self._is_paused else _PREFETCH,
            declare=declare,
            deliver=self._arrived,
            clock=clock,
        )

    @property
    def is_consumed(self) -> bool:
        """True while the broker delivers replies, or would, were it not for a pause."""
        return self._consumer.is_registered

    async def open(self, session: Session) -> None:
        """Declare the queue and consume it, see :meth:`.Consumer.open`."""
        await self._consumer.open(session)

    def store_changed(self) -> None:
        """Pause if the store is away, and give back what is not committed, for another gateway may reach the store."""
        if not self._store.is_up:
            self._pause()
            for each in list(self._committing.values()):
                each.cancel()
        self._go_on()

    async def close(self) -> None:
        """Take no more replies, and wait for those that are held."""
        try:
            await self._consumer.cancel()
        except (AMQPError, ConnectionLost) as error:
            self._log.info("{queue}: {reason}", queue=self.name, reason=str(error) or type(error).__name__)
        await self._working.empty()

    def abandon(self) -> None:
        """Leave what is held to the broker, which delivers it again."""
        self._working.cancel()

    def _arrived(self, delivery: Delivery) -> bool:
        """Take a delivery. Returns False if it is to be given back."""
        size = len(delivery.message.body)
        if not self._store.is_up or (self._held and self._held + size > self._limits.max_held):
            self._pause()
            return False
        self._held += size
        self._working.start(self._take(delivery, size))
        return True

    def _pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._consumer.consume_with(0)

    def _go_on(self) -> None:
        if self._is_paused and self._store.is_up and self._held <= self._limits.max_held // 2:
            self._is_paused = False
            self._consumer.consume_with(_PREFETCH)

    async def _take(self, delivery: Delivery, size: int) -> None:
        if self._tracer is not None:
            delivery.message.span = begin_processing(self._tracer, delivery.message, self.name, delivery.routing_key)
        try:
            await self._store_reply(delivery)
        finally:
            if delivery.message.span is not None:
                delivery.message.span.end()
            self._held -= size
            self._go_on()

    async def _store_reply(self, delivery: Delivery) -> None:
        reply = delivery.message
        if not reply.correlation_id:
            self._drop(delivery)
            return
        limits = self._limits
        outcome = outcome_of(
            reply, self._wall_clock(), ttl=limits.ttl, max_body=limits.max_body, on_unsafe=self._on_unsafe
        )
        committed = self._committing[delivery] = self._store.finish(outcome)
        try:
            finished = await committed
        except StoreUnavailable:
            return  # it is closed, and so is the connection in a moment: the broker delivers the reply again
        except CancelledError:
            delivery.give_back()
            return
        finally:
            del self._committing[delivery]
        record = finished.record
        if record is None:
            self._drop(delivery)
            return
        self._replies.labels("stored" if finished.is_new else "repeated").inc()
        if record.status is not Status.CANCELED:
            await self._webhook(record, reply.span)
        self._on_stored(record)
        delivery.ack()

    def _drop(self, delivery: Delivery) -> None:
        """Drop a reply to a request that is unknown, and not shown to be ours."""
        self._replies.labels("dropped").inc()
        self._log.info(
            "{queue}: a reply to an unknown request is dropped",
            queue=self.name,
            rquid=rquid_of(delivery.message.headers),
            correlation_id=delivery.message.correlation_id,
        )
        delivery.ack()
