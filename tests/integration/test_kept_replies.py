"""Providers and a real broker: where the replies go whose answers are kept, and what is canceled in another process."""

from __future__ import annotations

from typing import Any

import pika

from tests.support.integration import IntegrationTestCase
from tests.support.rabbitmq import take


class KeptReplyTests(IntegrationTestCase):
    """A provider process; the test does what gateways with a store do, for classic and quorum queues."""

    async def setUp(self) -> None:
        await super().setUp()
        self.results, self.canceled = f"{self.output}.results", f"{self.output}.canceled"
        self.addCleanup(self.on_channel, self._delete_shared)

    def _delete_shared(self, channel: Any) -> None:
        channel.queue_delete(self.results)
        channel.exchange_delete(self.canceled)

    async def provide(self, queue_type: str) -> Any:
        """Start a provider that follows cancellations, beside a results queue."""
        arguments = {"x-queue-type": queue_type}
        await self.on_channel(lambda channel: channel.queue_declare(self.results, durable=True, arguments=arguments))
        entries = [self.entry(queueType=queue_type)]
        return await self.start("--role", "provider", entries=entries, CANCELLATIONS="true").ready()

    async def ask(self, id_: str, reply_to: str, **headers: Any) -> None:
        """Publish a request whose answer is kept."""
        kept = {"pg-results": self.results, "pg-owner": "alice", **headers}
        properties = pika.BasicProperties(
            correlation_id=id_, message_id=id_, reply_to=reply_to, headers=kept, delivery_mode=2
        )
        await self.on_channel(
            lambda channel: channel.basic_publish(self.exchange, "predict.now", b"[1]", properties, mandatory=True)
        )

    async def stored(self) -> tuple[str, dict[str, Any]]:
        """The next reply in the results queue: its id, and its headers of ours."""
        [(properties, _)] = await self.on_channel(lambda channel: take(channel, self.results))
        return properties.correlation_id, {k: v for k, v in properties.headers.items() if k.startswith("pg-")}

    async def check(self, queue_type: str) -> None:
        await self.provide(queue_type)
        record = {"pg-owner": "alice", "pg-routing-key": "predict.now"}
        await self.ask("dead", f"{self.output}.dead")
        self.assertEqual(await self.stored(), ("dead", {**record, "pg-status": 200, "pg-attempts": 1}))
        await self.ask("late", self.output, **{"pg-deadline": 1})
        expected = {**record, "pg-status": 504, "pg-reason": "expired", "pg-attempts": 0}
        self.assertEqual(await self.stored(), ("late", expected))
        await self.on_channel(lambda channel: channel.basic_publish(self.canceled, "canceled", b""))
        await self.ask("canceled", self.results)
        await self.ask("behind", self.results)
        self.assertEqual((await self.stored())[0], "behind")
        self.assertEqual(len(self.model.requests), 2)

    async def test_classic(self) -> None:
        """Replies to dead instances, and words of expiries, reach the results queue; what is canceled is dropped."""
        await self.check("classic")

    async def test_quorum(self) -> None:
        """The same with quorum queues."""
        await self.check("quorum")
