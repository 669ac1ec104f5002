"""A provider on the embedded broker; the test is the model."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from provider_gateway.amqp.consumer import Consumer
from provider_gateway.amqp.declare import declare
from provider_gateway.amqp.publisher import Publisher
from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.observability.metrics import Metrics
from provider_gateway.provider.expiry import Expiry
from provider_gateway.provider.intake import Intake
from provider_gateway.provider.provider import Provider
from provider_gateway.provider.reliable_publisher import ReliablePublisher
from provider_gateway.provider.reply_route import ReplyRoute
from provider_gateway.provider.retry_route import RetryRoute
from provider_gateway.provider.room import Room
from provider_gateway.provider.settlement import Settlement
from provider_gateway.provider.unstarted import Unstarted
from provider_gateway.topology.reply_addresses import ReplyAddresses
from tests.support.embedded_broker import BrokerTestCase
from tests.support.fakes import FakeModel
from tests.support.gates import new_gate
from tests.support.observability import counted

if TYPE_CHECKING:
    from provider_gateway.message.message import Message


class ProviderOnBrokerTestCase(BrokerTestCase):
    """A provider of the queue ``work`` on two connections, with three attempts a minute apart."""

    keys: ClassVar[dict[str, Any]] = {"dle": True, "maxAttempts": 3}
    #: Bytes of the bodies in work.
    room = 1_000_000

    def setUp(self) -> None:
        super().setUp()
        self.model = FakeModel()
        self.metrics = Metrics()
        self.given_up: set[str] = set()
        self.canceled: set[str | None] = set()
        values = {"topic": "ML.MQ", "queueName": "work", "bindingKey": "predict.*"}
        self.entry = QueueEntry.model_validate({**values, **self.keys})
        self.publisher = Publisher(
            partial(declare, entries=[self.entry]), max_unsent=10_000, clock=self.clock, metrics=self.metrics
        )
        self.make_queue("back")
        self.open_publisher()
        self.begin()

    def open_publisher(self) -> None:
        self.publishing = self.connect()
        self.run_(self.publisher.open(self.publishing))

    def is_awaited(self, correlation_id: str) -> bool | None:
        """What the gateway role in this process says."""
        return False if correlation_id in self.given_up else None

    def begin(self) -> None:
        """Start a provider without memory, as after a restart of the process."""
        self.reliable = ReliablePublisher(publisher=self.publisher, clock=self.clock)
        self.gate = new_gate(self.entry, self.clock)
        intake = Intake(self.entry, Room(self.room), self.gate)
        expiry = Expiry(self.is_awaited, reply_timeout=90, wall_clock=self.clock.seconds, clock=self.clock)
        replies = ReplyRoute(self.entry, self.reliable, expiry, late_after=60)
        settlement = Settlement(self.entry, self.reliable, replies, self.metrics, wall_clock=self.clock.seconds)
        self.provider = Provider(
            self.entry,
            model=self.model,
            timeout=30,
            max_body_bytes=1000,
            retry=RetryRoute(self.entry, [self.entry]),
            settlement=settlement,
            replies=ReplyAddresses(self.entry, [self.entry]),
            expiry=expiry,
            unstarted=Unstarted(
                self.entry, settlement=settlement, expiry=expiry, canceled=self.canceled, metrics=self.metrics
            ),
            intake=intake,
            gate=self.gate,
            clock=self.clock,
            metrics=self.metrics,
        )
        self.consumer = Consumer(
            "work",
            prefetch=100,
            declare=partial(declare, entries=[self.entry]),
            deliver=self.provider.serve,
            clock=self.clock,
        )
        intake.consume = self.consumer.consume_with
        self.consume()

    def consume(self) -> None:
        """Consume on a new connection."""
        self.consuming = self.connect()
        self.run_(self.consumer.open(self.consuming))
        self.pump()

    def reconnect(self) -> None:
        """Lose the consuming connection and open a new one."""
        self.lose(self.consuming)
        self.consume()

    def kill(self) -> None:
        """Let the process die during its deliveries."""
        self.provider.abandon()
        self.lose(self.consuming)

    def die(self) -> None:
        """Let the process die during its deliveries, and restart it."""
        self.kill()
        self.begin()

    def ask(self, body: bytes = b"{}", exchange: str = "ML.MQ", key: str = "predict.now", **properties: Any) -> None:
        """Publish a request."""
        values = {"headers": {"RqUID": "r1"}, "correlation_id": "c1", "reply_to": "back", "message_id": "m"}
        self.put(exchange, key, body, **{**values, **properties})

    def answer(self, status: int = 200, body: bytes = b"42", number: int = -1) -> None:
        self.model.answer(status, body, number)
        self.pump()

    def fail_call(self, reason: str = "timeout", number: int = -1) -> None:
        self.model.fail(reason, number)
        self.pump()

    def taken(self, queue: str) -> Message:
        """The only message that waits in a queue."""
        (message,) = self.take(queue)
        return message

    def assert_left(self, **expected: int) -> None:
        """Check how many messages are unacked, ready, in retry, in parking and in the reply queue; 0 if not given."""
        names = {"retry": "work.retry", "parking": "work.parking", "back": "back", "ready": "work"}
        left = {short: self.waiting(name) for short, name in names.items() if short != "retry" or self.entry.dle}
        left["unacked"] = self.unacked("work")
        self.assertEqual({short: count for short, count in left.items() if count}, expected)

    def parked(self, reason: str) -> float:
        return counted(self.metrics.parked, "work", reason)

    def in_flight(self) -> float:
        return counted(self.metrics.deliveries_in_flight, "work")
