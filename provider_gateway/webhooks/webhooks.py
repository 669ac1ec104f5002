"""Webhooks: tells an owner's endpoint what has become of a request. What is to be told waits in a durable queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika.exceptions import AMQPError
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from provider_gateway.amqp.consumer import Consumer
from provider_gateway.amqp.declare import declares
from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.errors import TopologyError
from provider_gateway.topology.webhook_queues import WebhookQueues
from provider_gateway.webhooks.dispatcher import Dispatcher
from provider_gateway.webhooks.endpoint_client import EndpointClient
from provider_gateway.webhooks.event import Event
from provider_gateway.webhooks.mover import Mover
from provider_gateway.webhooks.tries import CALLS, HELD, Tries

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.amqp.session import Session
    from provider_gateway.clocks import WallClock
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.security.webhook_endpoints import Endpoint
    from provider_gateway.store.records import Record
    from provider_gateway.tracing.span import AnySpan
    from provider_gateway.tracing.tracer import Tracer

#: Most unacknowledged deliveries: those that are held for a call, and as many that are being moved to another queue.
_PREFETCH = 2 * HELD


class Webhooks:
    """Takes records that are final, and tells their endpoints.

    Args:
        reactor: provides TCP, host names and time.
        entries: all of the queue file.
        endpoint_now: see :meth:`.AccessRules.endpoint_now`; None without an access file: then webhooks are left to
            other instances.
        publisher: another connection than the one that consumes.
        wall_clock: has the time for signatures.
        tracer: makes spans; None without traces.

    Attributes:
        consumers: queues that are consumed.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        entries: Sequence[QueueEntry],
        *,
        endpoint_now: Callable[[str], Endpoint | None] | None,
        publisher: Publisher,
        metrics: Metrics,
        wall_clock: WallClock,
        tracer: Tracer | None = None,
    ) -> None:
        self.consumers = 0 if endpoint_now is None else 1
        self._queues = WebhookQueues.of(entries)
        self._declare = declares(*self._queues.objects())
        self._session: Session | None = None
        self._mover = Mover(publisher, self._restore, reactor)
        self._dispatcher = Dispatcher(
            self._queues,
            endpoint_now=endpoint_now or (lambda _: None),
            tries=Tries(lambda endpoint: EndpointClient(reactor, endpoint, wall_clock, CALLS)),
            mover=self._mover,
            metrics=metrics,
            clock=reactor,
            wall_clock=wall_clock,
            tracer=tracer,
        )
        self._consumer = Consumer(
            self._queues.work.name,
            prefetch=_PREFETCH,
            declare=self._declare,
            deliver=self._dispatcher.deliver,
            clock=reactor,
        )

    def publish(self, record: Record, span: AnySpan | None = None) -> Deferred[None]:
        """Put a webhook into the queue.

        To be called after the commit of each outcome of a record with a webhook, and before its reply is acknowledged:
        also when the reply was delivered before, and the outcome is not new. A webhook that is published twice has the
        same ``webhook-id``.

        Args:
            record: as it is now: final, and with a ``webhook``. Others are ignored.
            span: of what made it final; None without traces.

        Returns:
            A Deferred that fires when the broker has confirmed the webhook; until then, it is published again and
            again. It can be cancelled.
        """
        return Deferred.fromCoroutine(self._publish(record, span))

    async def _publish(self, record: Record, span: AnySpan | None) -> None:
        if record.webhook is not None and record.status.is_final and record.finished is not None:
            await self._mover.put(Event.of(record).message, self._queues.work.name, span=span)

    async def open(self, session: Session) -> None:
        """Declare the queues, and consume on a new session.

        Raises:
            TopologyError, AMQPError, ConnectionLost: see :meth:`.Consumer.open`.
        """
        self._session = session
        if self.consumers:
            await self._consumer.open(session)
        else:
            await self._declare(session)

    async def _restore(self) -> None:
        """Declare the queues once more, since one is missing. Failures are logged."""
        session = self._session
        if session is None or not session.is_open:
            return
        try:
            await self._declare(session)
        except (TopologyError, AMQPError, ConnectionLost) as error:
            self._log.warn("The queues of webhooks cannot be declared: {reason}", reason=str(error))

    def waiting_for(self) -> list[str]:
        """What keeps this part from being ready."""
        return [] if self._consumer.is_registered or not self.consumers else [f"consumer of {self._queues.work.name}"]

    async def drain(self) -> None:
        """Begin no further call. Webhooks can still be published."""
        self._dispatcher.drain()
        await self._consumer.cancel()

    async def close(self) -> None:
        """Take no more deliveries, and end the calls that are under way: the broker delivers them again."""
        try:
            await self.drain()
        except (AMQPError, ConnectionLost) as error:
            self._log.info("{queue}: {reason}", queue=self._queues.work.name, reason=str(error))
        self._dispatcher.cancel()
