"""The broker goes away and comes back: before the start, between requests, and in parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from devtools.rabbitmq import RabbitMQ
from tests.support.certificates import certificates
from tests.support.integration import IntegrationTestCase
from tests.support.rabbitmq import shared_broker


class OwnBrokerTests(IntegrationTestCase):
    """A node that only the test uses, and may stop."""

    timeout = 120

    async def setUp(self) -> None:
        await super().setUp()
        self.node = RabbitMQ(Path(self.mktemp()), certificates())
        self.node.configure()
        self.addCleanup(deferToThread, self.node.stop)

    async def test_away_at_start(self) -> None:
        """Broker away at start: the process waits, live but not ready; it serves when the broker is there."""
        gateway = self.start(RMQ_URL=self.node.url)
        await gateway.logged("AMQP connection consume")
        status, text = await self.admin(gateway, "/health/live")
        self.assertEqual(status, 200, text)
        status, text = await self.admin(gateway, "/health/ready")
        self.assertEqual(status, 503)
        self.assertIn("AMQP connection publish", json.loads(text)["waiting_for"])
        await deferToThread(self.node.start)
        await gateway.ready()
        status, text = await self.admin(gateway, "/health/ready")
        self.assertEqual(status, 200, text)
        response, _ = await self.post(gateway, {"n": 1})
        self.assertEqual(response.code, 200)

    async def test_restart_between_requests(self) -> None:
        """Broker stopped: 503 at once, not ready. Started again: 200 and ready, without a restart of the process."""
        await deferToThread(self.node.start)
        gateway = await self.start(RMQ_URL=self.node.url).ready()
        response, _ = await self.post(gateway, {"n": 1})
        self.assertEqual(response.code, 200)
        lost = [gateway.logged(f"AMQP connection {name} is lost") for name in ("publish", "consume")]
        await deferToThread(self.node.stop)
        for each in lost:
            await each
        response, problem = await self.post(gateway, {"n": 2})
        self.assertEqual((response.code, problem["type"]), (503, "urn:provider-gateway:problem:broker-unavailable"))
        self.assertTrue(response.headers.hasHeader("Retry-After"))
        status, _ = await self.admin(gateway, "/health/ready")
        self.assertEqual(status, 503)
        seen = len(gateway.log)
        await deferToThread(self.node.start)
        for name in ("publish", "consume"):
            text = f"AMQP connection {name} is open"
            await gateway.when(lambda text=text: [x for x in gateway.log[seen:] if x["message"] == text])
        response, body = await self.post(gateway, {"n": 3})
        self.assertEqual((response.code, body), (200, {"n": 3}))
        _, metrics = await self.admin(gateway, "/metrics")
        self.assertIn("amqp_reconnects_total 2.0", metrics)

    async def test_blocked(self) -> None:
        """While the broker blocks publishers: 503 and not ready; afterwards 200 and ready."""
        await deferToThread(self.node.start)
        gateway = await self.start(RMQ_URL=self.node.url).ready()
        await deferToThread(self.node.control, "set_vm_memory_high_watermark", "0.00001")
        # RabbitMQ announces the block at the connection's next publish; that message waits in the socket.
        unsettled = self.client.post(
            f"https://localhost:{await gateway.port('https')}/v1/predict",
            data=b"1",
            headers={"Content-Type": "application/json", "routing-key": "predict.now"},
        )
        await gateway.logged("blocks publishers")
        response, problem = await self.post(gateway, {"n": 2})
        self.assertEqual((response.code, problem["type"]), (503, "urn:provider-gateway:problem:broker-blocked"))
        status, text = await self.admin(gateway, "/health/ready")
        self.assertEqual(status, 503, text)
        await deferToThread(self.node.control, "set_vm_memory_high_watermark", "0.6")
        await gateway.logged("accepts messages again")
        self.assertEqual((await unsettled).code, 200)
        response, _ = await self.post(gateway, {"n": 3})
        self.assertEqual(response.code, 200)

    async def test_several_urls(self) -> None:
        """Of several broker URLs, the first that accepts is used."""
        gateway = await self.start(RMQ_URL=f"{self.node.url},{shared_broker().url}").ready()
        response, _ = await self.post(gateway, {"n": 1})
        self.assertEqual(response.code, 200)


class SharedBrokerTests(IntegrationTestCase):
    """Events at the broker that need no restart."""

    async def test_queue_deleted(self) -> None:
        """A work queue that is deleted while consumed is declared and consumed again."""
        gateway = await self.start().ready()
        await self.on_channel(lambda channel: channel.queue_delete(self.queue))
        await gateway.logged(f"{self.queue} is consumed again")
        response, _ = await self.post(gateway, {"n": 1})
        self.assertEqual(response.code, 200)

    async def test_exchange_deleted(self) -> None:
        """After an exchange is deleted, the publish fails at once; then the exchange is back."""
        gateway = await self.start().ready()
        await self.on_channel(lambda channel: channel.exchange_delete(self.exchange))
        seen = len(gateway.log)
        response, _ = await self.post(gateway, {"n": 1})
        self.assertEqual(response.code, 404)
        await gateway.when(
            lambda: [x for x in gateway.log[seen:] if x["message"] == "The publishing channel is open again"]
        )
        response, _ = await self.post(gateway, {"n": 2})
        self.assertEqual(response.code, 200)

    async def test_two_in_one_process_survive_close_all(self) -> None:
        """Connections closed by an operator are opened again; the log has the broker's reason."""
        gateway = await self.start().ready()
        seen = len(gateway.log)
        await deferToThread(self.broker.control, "close_all_connections", "for the test")
        lost = await gateway.logged("is lost")
        self.assertIn("for the test", lost["message"])

        def reopened() -> Any:
            messages = [line["message"] for line in gateway.log[seen:]]
            return all(f"AMQP connection {name} is open" in messages for name in ("publish", "consume"))

        await gateway.when(reopened)
        response, _ = await self.post(gateway, {"n": 1})
        self.assertEqual(response.code, 200)
