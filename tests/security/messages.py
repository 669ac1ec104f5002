"""The base of the tests with hostile AMQP clients: queues of several kinds, and checks of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pika

from tests.security.base import SecurityTestCase, channel
from tests.security.client import post
from tests.support.rabbitmq import take

if TYPE_CHECKING:
    from tests.security.base import Deployment

MAX_BODY = 100_000


class MessagesTestCase(SecurityTestCase):
    """A queue with retries and any reply address, one with certain addresses, one named like a reply queue."""

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """A small limit for bodies."""
        return {"MAX_BODY_BYTES": str(MAX_BODY)}

    @classmethod
    def entries(cls, deployment: Deployment, entry: dict[str, Any]) -> list[dict[str, Any]]:
        """The queues."""
        strict, below = f"{deployment.queue}.strict", f"{deployment.output}.work"
        return [
            {**entry, "dle": True},
            {**entry, "queueName": strict, "bindingKey": "strict", "replyToAllowed": ["allowed.*", "some.#"]},
            {**entry, "queueName": below, "bindingKey": "below"},
        ]

    def setUp(self) -> None:
        super().setUp()
        self.queue, self.output = self.deployment.queue, self.deployment.output
        self.strict = f"{self.queue}.strict"
        with channel() as opened:
            opened.queue_purge(self.output)

    def publish(self, body: bytes = b'"hostile"', key: str = "predict.now", **properties: Any) -> None:
        """Publish a message for one of the queues, with any headers and properties."""
        with channel() as opened:
            opened.basic_publish(
                self.deployment.exchange, key, body, pika.BasicProperties(**properties), mandatory=True
            )

    def taken(self, queue: str) -> tuple[Any, bytes]:
        """Wait for one message of a queue; returns its properties and body."""
        with channel() as opened:
            ((properties, body),) = take(opened, queue)
        return properties, body

    def assert_parked(self, reason: str, queue: str | None = None) -> Any:
        """Check that a message is parked for this reason; returns its properties."""
        properties, _ = self.taken(f"{queue or self.queue}.parking")
        self.assertEqual(properties.headers["pg-reason"], reason)
        return properties

    def assert_at_rest(self) -> None:
        """Check that the queues are consumed, and that no message is ready or unacknowledged."""
        self.model.forget()
        self.assertEqual(self.ask(post(b'"good"')).body, b'"good"')
        for name in (entry["queueName"] for entry in self.deployment.entries):
            self.until_metric(f'provider_gateway_deliveries_in_flight{{queue="{name}"}}', 0)
            with channel() as opened:
                for queue in (name, f"{name}.parking"):
                    self.assertEqual(opened.queue_declare(queue, passive=True).method.message_count, 0, queue)
