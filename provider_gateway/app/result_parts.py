"""The parts of a process that keep results, put together: the store, the requests, and notices to other processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.amqp.declare import declares
from provider_gateway.amqp.notices import NoticePublisher
from provider_gateway.results.limits import KeptLimits
from provider_gateway.results.results import Results
from provider_gateway.topology.result_objects import check_result_names, result_objects
from provider_gateway.webhooks.webhooks import Webhooks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred

    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.amqp.session import Session
    from provider_gateway.clocks import WallClock
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Settings
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.security.access_rules import AccessRules
    from provider_gateway.store.records import ResultStore
    from provider_gateway.tracing.tracer import Tracer

#: Bodies of the greatest size that may wait in memory, for the store, and as many for the broker.
_BODIES = 8


class ResultParts:
    """The parts that keep results.

    Args:
        reactor: provides time.
        store: closed by :meth:`close`.
        access_rules: register webhook endpoints; None without an access file.
        tracer: makes spans; None without traces.

    Attributes:
        results: the requests whose answers are kept.

    Raises:
        SettingsError: an object that they need at the broker has a name that AMQP cannot carry, or that is taken.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        entries: Sequence[QueueEntry],
        store: ResultStore,
        *,
        access_rules: AccessRules | None,
        publisher: Publisher,
        metrics: Metrics,
        wall_clock: WallClock,
        tracer: Tracer | None = None,
    ) -> None:
        check_result_names(entries)
        self._store = store
        self._publisher = publisher
        self._declare = declares(*result_objects(entries))
        self._notices = NoticePublisher(self._declare, reactor)
        max_body = settings.effective_result_max_bytes
        self.results = Results(
            store,
            publisher,
            self._notices,
            Webhooks(
                reactor,
                entries,
                endpoint_now=None if access_rules is None else access_rules.endpoint_now,
                publisher=publisher,
                metrics=metrics,
                wall_clock=wall_clock,
                tracer=tracer,
            ),
            entries,
            instance=settings.instance,
            limits=KeptLimits(
                ttl=settings.result_ttl,
                idempotency_ttl=settings.idempotency_ttl,
                max_body=max_body,
                max_held=_BODIES * max_body,
                confirm_timeout=settings.reply_timeout,
            ),
            clock=reactor,
            wall_clock=wall_clock,
            metrics=metrics,
            tracer=tracer,
        )

    def open(self) -> Deferred[None]:
        """Open the store: see :meth:`.ResultStore.open`. While it is away, the process is degraded."""
        return self._store.open()

    async def open_publishing(self, session: Session) -> None:
        """Publish on a new session: messages, and notices.

        Raises:
            TopologyError, AMQPError, ConnectionLost: see :meth:`.Publisher.open`.
        """
        await self._notices.open(session)  # declares the results queue, which late replies are published to
        await self._publisher.open(session)

    def close(self, seconds: float) -> Deferred[None]:
        """Close the store. To be called when the connections to the broker are closed.

        Args:
            seconds: for commits that are under way.
        """
        return self._store.close(seconds)
