"""Base classes for tests of the provider and of settlement, with fakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.message.copies import History
from provider_gateway.message.message import Message
from provider_gateway.observability.metrics import Metrics
from provider_gateway.provider.expiry import Expiry
from provider_gateway.provider.intake import Intake
from provider_gateway.provider.provider import Provider
from provider_gateway.provider.reliable_publisher import ReliablePublisher
from provider_gateway.provider.reply_route import ReplyRoute
from provider_gateway.provider.retry_route import RetryRoute
from provider_gateway.provider.room import Room
from provider_gateway.provider.settlement import Settlement
from provider_gateway.provider.task import Task
from provider_gateway.provider.unstarted import Unstarted
from provider_gateway.topology.reply_addresses import ReplyAddresses
from tests.support.fakes import FakeDelivery, FakeModel, FakePublisher
from tests.support.gates import new_gate
from tests.support.observability import counted
from tests.support.queue_entries import entry

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from provider_gateway.errors import (
        ModelFailure,
    )


def death(queue: str = "waiting", reason: str = "expired") -> dict[str, Any]:
    """An entry of x-death."""
    return {"queue": queue, "reason": reason, "count": 1, "exchange": "dlx", "routing-keys": ["predict.now"]}


def waited(*deaths: Any, since_4: bool = False) -> dict[str, Any]:
    """What the broker adds to a message with these deaths, the newest first; without any, those of a first wait."""
    records = deaths or (death(),)
    told = {"first": records[-1], **({"last": records[0]} if since_4 else {})}
    named = {
        f"x-{which}-death-{name}": record[name]
        for which, record in told.items()
        for name in ("queue", "reason", "exchange")
    }
    return {"x-death": list(records), **named}


class ProviderTestCase(SynchronousTestCase):
    """A provider of the queue ``work``."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.model = FakeModel()
        self.publisher = FakePublisher()
        self.metrics = Metrics()
        work = entry(replyTo="response")
        self.gate = new_gate(work, self.clock)
        self.canceled: set[str | None] = set()
        expiry = Expiry(self.is_awaited, reply_timeout=90, wall_clock=self.clock.seconds, clock=self.clock)
        publisher = ReliablePublisher(publisher=self.publisher, clock=self.clock)
        settlement = Settlement(
            work,
            publisher,
            ReplyRoute(work, publisher, expiry, late_after=60),
            self.metrics,
            wall_clock=self.clock.seconds,
        )
        self.provider = Provider(
            work,
            model=self.model,
            timeout=30,
            max_body_bytes=1000,
            retry=RetryRoute(work, [work]),
            settlement=settlement,
            replies=ReplyAddresses(work, [work]),
            expiry=expiry,
            unstarted=Unstarted(
                work, settlement=settlement, expiry=expiry, canceled=self.canceled, metrics=self.metrics
            ),
            intake=Intake(work, Room(1_000_000), self.gate),
            gate=self.gate,
            clock=self.clock,
            metrics=self.metrics,
        )

    def is_awaited(self, _correlation_id: str) -> bool | None:
        return None

    def serve(self, body: bytes = b"{}", **message: Any) -> FakeDelivery:
        """Deliver a message."""
        values = {"headers": {"RqUID": "r1"}, "correlation_id": "c1", "reply_to": "back"}
        made = FakeDelivery(Message(body, **{**values, **message}))
        self.provider.serve(made)
        return made

    @property
    def reply(self) -> Message:
        """The reply that was published last."""
        return self.publisher.published[-1][0]

    def in_flight(self) -> float:
        return counted(self.metrics.deliveries_in_flight, "work")

    def model_requests(self, result: str) -> float:
        return counted(self.metrics.model_requests, "work", result)


class SettlementTestCase(SynchronousTestCase):
    """The settlement of the queue ``work``, and one message of it."""

    keys: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        self.clock = Clock()
        self.publisher = FakePublisher()
        self.metrics = Metrics()
        values = {"topic": "ML.MQ", "queueName": "work", "bindingKey": "predict.*", "dle": True}
        entry = QueueEntry.model_validate({**values, **self.keys})
        self.reliable = ReliablePublisher(publisher=self.publisher, clock=self.clock)
        expiry = Expiry(lambda _: None, reply_timeout=90, wall_clock=self.clock.seconds, clock=self.clock)
        replies = ReplyRoute(entry, self.reliable, expiry, late_after=60)
        self.settlement = Settlement(entry, self.reliable, replies, self.metrics, wall_clock=self.clock.seconds)
        self.task = self.new_task()

    @property
    def delivery(self) -> Any:
        return self.task.delivery

    def new_task(self, history: History | None = None, body: bytes = b"{}", **message: Any) -> Task:
        values = {"correlation_id": "c", "reply_to": "back", "message_id": "m"}
        delivery: Any = FakeDelivery(Message(body, **{**values, **message}))
        return Task(delivery, history or History(), "r1")

    def run_to(self, coroutine: Coroutine[Any, Any, None]) -> Deferred[None]:
        return Deferred.fromCoroutine(coroutine)

    def retry(self) -> Deferred[None]:
        return self.run_to(self.settlement.retry(self.task, "", "work.retry", "timeout"))

    def park(self, reply: Message | None = None) -> Deferred[None]:
        return self.run_to(self.settlement.park(self.task, "timeout", reply))

    def reply(self, task: Task | None = None) -> Deferred[None]:
        def refused(error: ModelFailure) -> Message:
            return Message(error.reason.encode())

        return self.run_to(self.settlement.reply(task or self.task, Message(b"42"), refused))

    @property
    def targets(self) -> list[tuple[str, str]]:
        """Exchange and routing key of each publish."""
        return [(exchange, key) for _, exchange, key, _ in self.publisher.published]

    @property
    def last(self) -> Message:
        return self.publisher.published[-1][0]

    def ready(self) -> None:
        """Let the publisher be ready again."""
        self.publisher.waiting.pop().callback(None)

    def assert_waits(self, seconds: float, count: int) -> None:
        """Check that the next publish, number ``count``, comes after exactly so many seconds."""
        self.clock.advance(seconds - 0.01)
        self.assertEqual(len(self.publisher.published), count - 1)
        self.clock.advance(0.01)
        self.assertEqual(len(self.publisher.published), count)
