"""The gateway role, built from its parts: HTTPS requests become request messages, replies become responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from provider_gateway.gateway.api import API
from provider_gateway.gateway.expected_wait import ExpectedWaits
from provider_gateway.gateway.offer import Offer
from provider_gateway.gateway.page_requests import page_requests
from provider_gateway.gateway.readiness import Readiness
from provider_gateway.gateway.reply_queue import ReplyQueue
from provider_gateway.gateway.rpc import RPCClient
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.topology.reply_addresses import reply_queue_name
from provider_gateway.topology.routing import Routes
from provider_gateway.workbench.access import Access
from provider_gateway.workbench.page import Page
from provider_gateway.workbench.workbench import Workbench, parking_of, refusing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twisted.internet.defer import Deferred

    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.amqp.session import Session
    from provider_gateway.clocks import WallClock
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Settings
    from provider_gateway.http_server.request import BoundedRequest
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.results.results import Results
    from provider_gateway.security.credentials import Credentials
    from provider_gateway.tracing.tracer import Tracer


class GatewayRole:
    """Takes HTTPS requests, publishes them as request messages, and responds with the replies.

    Args:
        reactor: provides time.
        on_finished: called with each finished HTTP request.
        credentials: have the listener's TLS and the access rules.
        wall_clock: has the time for deadlines, dates and the expiry of certificates.
        audit: writes a line of the audit log.
        results: the requests whose answers are kept; None without a result store.
        tracer: makes spans; None without traces.

    Attributes:
        site: the factory that the HTTPS listener serves.
        consumers: queues that are consumed.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        entries: Sequence[QueueEntry],
        *,
        publisher: Publisher,
        metrics: Metrics,
        on_finished: Callable[[BoundedRequest], object],
        credentials: Credentials,
        wall_clock: WallClock,
        audit: Callable[[Mapping[str, object]], None],
        results: Results | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._results = results
        self.consumers = 1 if results is None else 1 + results.replies.consumers
        tls = credentials.server
        expected_waits = ExpectedWaits(settings.reply_timeout, reactor, metrics)
        self._rpc = RPCClient(
            publisher,
            reply_queue_name(entries, settings.instance),
            reply_timeout=settings.reply_timeout,
            clock=reactor,
            expected_waits=expected_waits,
            metrics=metrics,
            on_late=results.replies.late.forward if results is not None else None,
            on_lost=results.keeping.publish_again if results is not None else None,
            on_outcome=results.keeping.published if results is not None else lambda _id, _error: None,
        )
        self._expires = settings.reply_queue_expires
        self._replies = ReplyQueue(
            self._rpc.reply_queue,
            entries,
            expires=self._expires,
            results=results.results_queue if results is not None else None,
            deliver=self._rpc.deliver,
            clock=reactor,
        )
        if results is not None:
            results.replies.late.on_many = self._replies.make_room
        self._readiness = Readiness(self._lacks, reactor)
        routes = Routes(entries)
        self._publisher = publisher
        audit = refusing(audit)
        parking = parking_of(
            *(reactor, settings, entries), credentials=credentials, audit=audit, metrics=metrics, wall_clock=wall_clock
        )
        access = Access(credentials.access_rules, parking.places, audit)
        self._api = API(
            rpc=self._rpc,
            publisher=publisher,
            routes=routes,
            results=results,
            reply_timeout=settings.reply_timeout,
            max_in_flight=settings.max_in_flight,
            max_json_depth=settings.max_json_depth,
            cors_origins=settings.cors_origins,
            access_rules=credentials.access_rules,
            expected_waits=expected_waits,
            readiness=self._readiness,
            offer=Offer.of(settings, entries),
            clock=reactor,
            wall_clock=wall_clock,
            metrics=metrics,
            parking=access.all_rights,
            logs_responses=settings.log_level == "debug",
            tracer=tracer,
        )
        self._routes = routes
        self._expected_waits = expected_waits
        self._workbench = Workbench(
            parking,
            access,
            self._api.admission,
            lambda turns: Page(
                reactor,
                settings,
                entries,
                parking=parking,
                access=access,
                turns=turns,
                requests=page_requests(entries, self._api.admission, results),
                wait=self._newest_wait,
                metrics=metrics,
                wall_clock=wall_clock,
            ),
            metrics=metrics,
            clock=reactor,
            wall_clock=wall_clock,
        )
        self.site = GatewaySite(
            self._api.resource(self._workbench.resource_for),
            reactor,
            settings.limits,
            on_finished,
            on_dropped=lambda reason: metrics.http_dropped.labels(reason).inc(),
            still_trusts=tls.still_trusts if tls is not None else lambda _: True,
            wall_clock=wall_clock,
            error_form=self._api.error_form,
        )
        metrics.http_connections.set_function(lambda: len(self.site.channels))

    async def open(self, session: Session) -> None:
        """Consume the reply queue on a new session."""
        if self._results is not None:
            await self._results.replies.open(session)  # first: the reply queue dead-letters to the results queue
        await self._replies.open(session)
        self._readiness.open(session)
        self._workbench.open(session)

    def _newest_wait(self, queue: str) -> float | None:
        """Seconds that the message of the newest reply of a work queue waited; None if that is not known."""
        return self._expected_waits.newest_wait(
            lambda key: any(entry.queue_name == queue for entry in self._routes.entries(key))
        )

    def is_awaited(self, correlation_id: str) -> bool | None:
        """True while the caller of this request waits, False once it has given up, None for a request of others."""
        return self._rpc.is_awaited(correlation_id)

    def waiting_for(self) -> list[str]:
        """What is missing for this role to be ready."""
        missing = [] if self._replies.is_consumed else [f"consumer of {self._replies.name}"]
        return missing if self._results is None else missing + self._results.replies.waiting_for()

    def _lacks(self) -> list[str]:
        """What is missing for requests to be taken."""
        return self.waiting_for() if self._publisher.is_ready else ["a broker that takes messages", *self.waiting_for()]

    def degraded(self) -> list[str]:
        """What this role cannot do for now, as in no other process: its result store is away."""
        return [] if self._results is None else self._results.replies.degraded()

    def start(self) -> None:
        """Begin with what is done from time to time."""
        if self._results is not None:
            self._results.replies.start()

    def drain(self) -> None:
        """Answer new requests with 503 from now on, and end the waits for results, and jobs on parking queues."""
        self._api.drain()
        self._workbench.drain()
        if self._results is not None:
            self._results.drain()

    def idle(self) -> Deferred[None]:
        """Close each connection once its response is sent; the Deferred fires when all are closed."""
        return self.site.close_connections()

    def abandon(self) -> None:
        """End the requests that still wait."""
        self._rpc.abandon()
        if self._results is not None:
            self._results.abandon()

    async def close(self) -> None:
        """Finish with what is stored, forwarded and published, and delete the reply queue.

        The queue stays if a reply to a request that was given up may still come: without it, such a reply would be
        unrouted, and its message parked.
        """
        await self._workbench.close()
        if self._results is not None:
            await self._results.replies.close()
        if self._rpc.expects_replies(self._expires):
            self._log.info("{queue} is left to expire: late replies may come", queue=self._replies.name)
        else:
            await self._replies.close()
        if self._results is not None:
            await self._results.idle()  # last: a broker that confirms nothing must not keep the rest from its end

    def stop(self) -> None:
        """Leave to the broker what :meth:`close` had no time for."""
        if self._results is not None:
            self._results.replies.stop()
