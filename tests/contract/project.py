"""The project's own AMQP code, for tests on both brokers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from provider_gateway.amqp.consumer import Consumer, Delivery
from provider_gateway.amqp.endpoint import BrokerEndpoint
from provider_gateway.amqp.publisher import Publisher
from provider_gateway.config.broker_url import parse_broker_url
from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.observability.metrics import Metrics
from tests.contract.base import BrokerContract

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from provider_gateway.amqp.session import Session


async def nothing(_session: Session) -> None:
    """Declare nothing."""


class Deliveries:
    """The deliveries of a consumer."""

    def __init__(self) -> None:
        self._arrived: list[Delivery] = []
        self._waiting: list[Deferred[Delivery]] = []

    def take(self, delivery: Delivery) -> None:
        """Keep a delivery (a consumer's ``deliver``)."""
        if self._waiting:
            self._waiting.pop(0).callback(delivery)
        else:
            self._arrived.append(delivery)

    def next(self) -> Deferred[Delivery]:
        """A Deferred of the next delivery."""
        waiting: Deferred[Delivery] = Deferred()
        if self._arrived:
            waiting.callback(self._arrived.pop(0))
        else:
            self._waiting.append(waiting)
        return waiting


class Project(BrokerContract):
    """Sessions, entries, publishers and consumers with unique names."""

    async def session(self, url: str | None = None) -> Session:
        """An open session, closed after the test."""
        endpoint = BrokerEndpoint(
            reactor,
            [parse_broker_url(url or self.url)],
            tls=None,
            has_client_certificate=False,
            name="test",
            instance="contract",
            prepare=nothing,
        )
        session = await endpoint.open_session()
        self.addCleanup(session.close)
        return session

    def entry(self, **keys: Any) -> QueueEntry:
        """An entry with unique names; its queues and exchanges are deleted after the test."""
        for what in ("work", "work.retry", "work.parking", "work.return", "out"):
            self.name(what)
        entry = {"topic": self.name("topic"), "queueName": self.name("work"), "bindingKey": "predict.*"}
        return QueueEntry.model_validate({**entry, "replyTo": self.name("out"), **keys})

    async def publisher(self, session: Session) -> Publisher:
        """A publisher that is open on a session."""
        publisher = Publisher(nothing, max_unsent=1_000_000, clock=reactor, metrics=Metrics())
        await publisher.open(session)
        return publisher

    async def consumer(
        self,
        session: Session,
        queue: str,
        prefetch: int = 10,
        declare: Callable[[Session], Awaitable[None]] = nothing,
    ) -> Deliveries:
        """The deliveries of a new consumer on a session; the consumer ends before the session."""
        deliveries = Deliveries()
        consumer = Consumer(queue, prefetch=prefetch, declare=declare, deliver=deliveries.take, clock=reactor)
        await consumer.open(session)
        self.addCleanup(lambda: Deferred.fromCoroutine(consumer.cancel()))
        return deliveries

    async def assert_fails(self, error: type[Exception], attempt: Any) -> Any:
        """Check that a coroutine fails with this error; returns the error."""
        return await self.assertFailure(attempt, error)
