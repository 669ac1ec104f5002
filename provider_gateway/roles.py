"""The two roles, each put together from its parts: the gateway (HTTPS → AMQP) and the provider (AMQP → model).

A role knows how to prepare a new AMQP session, what it still waits for, and how to come to rest.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from provider_gateway.amqp.consumer import Consumer
from provider_gateway.amqp.topology import declare, declare_reply_queue
from provider_gateway.api import API
from provider_gateway.model import Model
from provider_gateway.model_client import model_client
from provider_gateway.provider import Provider
from provider_gateway.reply_address import ReplyAddresses, reply_prefix
from provider_gateway.retry import RetryRoute
from provider_gateway.routing import Routes
from provider_gateway.rpc import RPCClient
from provider_gateway.settlement import Settlement
from provider_gateway.site import GatewaySite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred
    from twisted.web.iweb import IPolicyForHTTPS

    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.amqp.session import Session
    from provider_gateway.credentials import Credentials
    from provider_gateway.http_request import BoundedRequest
    from provider_gateway.metrics import Metrics
    from provider_gateway.queues import QueueEntry
    from provider_gateway.settings import Settings

#: Replies that may be unacknowledged at a time; they are acknowledged as they arrive.
_REPLY_PREFETCH = 1000


class GatewayRole:
    """HTTPS requests become messages, replies become answers.

    Args:
        on_finished: is told each finished HTTP request.
        credentials: of the listener.

    Attributes:
        site: what the HTTPS listener serves.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        entries: Sequence[QueueEntry],
        publisher: Publisher,
        metrics: Metrics,
        on_finished: Callable[[BoundedRequest], object],
        credentials: Credentials,
    ) -> None:
        tls = credentials.server
        self._rpc = RPCClient(
            publisher, f"{reply_prefix(entries)}.{settings.instance}", settings.reply_timeout, reactor, metrics
        )
        self._consumer = Consumer(
            self._rpc.reply_queue,
            prefetch=_REPLY_PREFETCH,
            declare=declare_reply_queue(self._rpc.reply_queue, entries),
            deliver=self._rpc.deliver,
            clock=reactor,
        )
        self._api = API(
            rpc=self._rpc,
            publisher=publisher,
            routes=Routes(entries),
            reply_timeout=settings.reply_timeout,
            max_in_flight=settings.max_in_flight,
            max_json_depth=settings.max_json_depth,
            cors_origins=settings.cors_origins,
            authorization=credentials.authorization,
            clock=reactor,
            metrics=metrics,
            logs_answers=settings.log_level == "debug",
        )
        self.site = GatewaySite(
            self._api.app.resource(),
            reactor,
            settings.limits,
            on_finished,
            on_dropped=lambda reason: metrics.http_dropped.labels(reason).inc(),
            still_trusts=tls.still_trusts if tls is not None else lambda _: True,
        )
        metrics.http_connections.set_function(lambda: len(self.site.channels))

    async def open(self, session: Session) -> None:
        """Consume the reply queue on a new session."""
        await self._consumer.open(session)

    def has_given_up(self, correlation_id: str) -> bool:
        """True if the caller of this request has left, or its time is over."""
        return self._rpc.has_given_up(correlation_id)

    def waiting_for(self) -> list[str]:
        """What is missing for this role to be ready."""
        return [] if self._consumer.is_registered else [f"consumer of {self._consumer.queue}"]

    def refuse(self) -> None:
        """Answer new requests with 503 from now on."""
        self._api.drain()

    def idle(self) -> Deferred[None]:
        """Close every connection when its answer is sent; the Deferred fires when all are closed."""
        return self.site.close_connections()

    def abandon(self) -> None:
        """End the requests that still wait."""
        self._rpc.abandon()


class ProviderRole:
    """Messages of every queue of the queue file become model calls.

    Args:
        tls: TLS towards the model.
        has_given_up: says by a correlation id whether its caller, who waits in this process, is gone.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        entries: Sequence[QueueEntry],
        publisher: Publisher,
        metrics: Metrics,
        tls: IPolicyForHTTPS,
        has_given_up: Callable[[str], bool],
    ) -> None:
        client = model_client(reactor, tls, connections=sum(entry.prefetch for entry in entries))
        url = settings.effective_model_url.reveal()
        model = Model(reactor, client, url, settings.max_body_bytes, metrics.headers_dropped.inc)
        self._providers: list[Provider] = []
        self._consumers: list[Consumer] = []
        for entry in entries:
            provider = Provider(
                entry,
                model=model,
                timeout=entry.timeout if entry.timeout is not None else settings.model_timeout,
                max_body_bytes=settings.max_body_bytes,
                retry=RetryRoute(entry, entries),
                settlement=Settlement(entry, publisher, reactor, metrics),
                replies=ReplyAddresses(entry, entries),
                has_given_up=has_given_up,
                clock=reactor,
                metrics=metrics,
            )
            self._providers.append(provider)
            self._consumers.append(
                Consumer(
                    entry.queue_name,
                    prefetch=entry.prefetch,
                    declare=partial(declare, entries=[entry]),
                    deliver=provider.serve,
                    clock=reactor,
                )
            )

    async def open(self, session: Session) -> None:
        """Consume every queue on a new session."""
        for consumer in self._consumers:
            await consumer.open(session)

    def waiting_for(self) -> list[str]:
        """What is missing for this role to be ready."""
        missing = [f"consumer of {c.queue}" for c in self._consumers if not c.is_registered]
        for provider in self._providers:
            missing += provider.waiting_for()
        return missing

    async def cancel_consumers(self) -> None:
        """Take no more messages."""
        for consumer in self._consumers:
            await consumer.cancel()

    async def idle(self) -> None:
        """Return when no delivery is being served."""
        for provider in self._providers:
            await provider.idle()

    def abandon(self) -> None:
        """Leave what is being served unacknowledged: the broker delivers it again."""
        for provider in self._providers:
            provider.abandon()
