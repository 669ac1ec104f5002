"""Webhooks on the embedded broker, whose endpoints the test is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from provider_gateway.amqp.publisher import Publisher
from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.observability.metrics import Metrics
from provider_gateway.webhooks import webhooks as module
from provider_gateway.webhooks.endpoint_client import Answer, Result
from provider_gateway.webhooks.webhooks import Webhooks
from tests.support.embedded_broker import BrokerTestCase
from tests.support.observability import collect_log
from tests.unit.webhooks.base import new_endpoint, record

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.amqp.session import Session
    from provider_gateway.security.webhook_endpoints import Endpoint
    from provider_gateway.store.records import Record
    from provider_gateway.tracing.tracer import Tracer
    from provider_gateway.webhooks.event import Event

QUEUE = "replies.webhooks"
TIERS = {"5s": 5, "30s": 30, "5m": 300, "30m": 1800, "2h": 7200}


class FakeClient:
    """Calls that the test ends."""

    def __init__(self, calls: list[tuple[Endpoint, Event, Deferred[Answer]]], endpoint: Endpoint) -> None:
        self._calls = calls
        self._endpoint = endpoint

    async def call(self, event: Event) -> Answer:
        answer: Deferred[Answer] = Deferred()
        self._calls.append((self._endpoint, event, answer))
        return await answer


class WebhooksTestCase(BrokerTestCase):
    """Webhooks of the endpoints ``done`` and ``other`` of ``a``."""

    tracer: Tracer | None = None

    def setUp(self) -> None:
        super().setUp()
        self.calls: list[tuple[Endpoint, Event, Deferred[Answer]]] = []
        self.patch(module, "EndpointClient", lambda _reactor, endpoint, *_: FakeClient(self.calls, endpoint))
        self.logged = collect_log(self)
        self.metrics = Metrics()
        self.endpoints = {"done a": new_endpoint(), "other a": new_endpoint("other")}
        self.endpoint_now: Callable[[str], Endpoint | None] | None = self.endpoints.get
        self.entries = [QueueEntry.model_validate({"topic": "ML", "queueName": "work", "bindingKey": "k"})]
        self.begin()

    async def no_objects(self, _session: Session) -> None:
        """Declare nothing."""

    def begin(self) -> None:
        """Start, as after a restart of the process."""
        publisher = Publisher(self.no_objects, max_unsent=1_000_000, clock=self.clock, metrics=self.metrics)
        self.publishing, self.consuming = self.connect(), self.connect()
        self.run_(publisher.open(self.publishing))
        self.webhooks = Webhooks(
            self.clock,
            self.entries,
            endpoint_now=self.endpoint_now,
            publisher=publisher,
            metrics=self.metrics,
            wall_clock=self.clock.seconds,
            tracer=self.tracer,
        )
        self.run_(self.webhooks.open(self.consuming))
        # Coroutines that wait for each other must not be left to the garbage collector.
        self.addCleanup(self.webhooks._dispatcher.cancel)

    def publish(self, record: Record) -> Deferred[None]:
        publishing = self.webhooks.publish(record)
        self.pump()
        return publishing

    def tell(self, *ids: str, webhook: str = "done a") -> None:
        for each in ids:
            self.successResultOf(self.publish(record(each, webhook)))

    def answer(
        self,
        result: Result = Result.DELIVERED,
        wait: float | None = None,
        number: int = -1,
        status: int | None = None,
    ) -> None:
        self.calls.pop(number)[2].callback(Answer(result, f"it was {result}", wait, status))
        self.pump()

    def left(self) -> dict[str, int]:
        """Where how many webhooks are, by the end of the queue's name; ``unacked`` are with us."""
        names = {"": QUEUE, "parking": f"{QUEUE}.parking", **{tier: f"{QUEUE}.retry.{tier}" for tier in TIERS}}
        left = {short: self.waiting(name) for short, name in names.items()}
        left["unacked"] = self.unacked(QUEUE)
        return {short: count for short, count in left.items() if count}

    def lines(self, level: str) -> list[str]:
        return [each["log_format"].format(**each) for each in self.logged if each["log_level"].name == level]
