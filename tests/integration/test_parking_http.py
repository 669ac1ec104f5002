"""Parked messages over HTTP, with curl: a real gateway, RabbitMQ, and a model that is broken and mended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pika
import yaml
from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.support.integration import IntegrationTestCase

if TYPE_CHECKING:
    from tests.support.processes import Gateway

RULES = [{"identities": ["*"], "routingKeys": ["#"], "parking": ["read", "replay", "drop"], "queues": ["*"]}]


class ParkingTests(IntegrationTestCase):
    """What an operator does with curl."""

    async def setUp(self) -> None:
        await super().setUp()
        access = self.folder / "access.yaml"
        access.write_text(yaml.safe_dump(RULES))
        self.audit_log = self.folder / "audit.log"
        entry = self.entry(dle=True, retryDelay=100, maxAttempts=2)
        variables = {"HTTP_ACCESS": str(access.resolve()), "AUDIT_LOG": str(self.audit_log.resolve())}
        self.gateway: Gateway = await self.start(entries=[entry], **variables).ready()
        self.address = f"https://localhost:{await self.gateway.port('https')}"
        self.path = f"/v1/parking/{self.queue}"
        self.addCleanup(self.on_channel, lambda channel: channel.queue_delete(f"{self.queue}.parking.operator"))

    async def call(self, path: str, *arguments: str) -> tuple[int, Any]:
        """What curl gets: status, and the document."""
        status, out, errors = await self.curl("-w", "\n%{http_code}", *arguments, f"{self.address}{path}")
        self.assertEqual(status, 0, errors)
        body, _, code = out.rpartition("\n")
        return int(code), json.loads(body)

    async def order(self, action: str, **order: Any) -> tuple[int, Any]:
        """Start a job."""
        return await self.call(f"{self.path}/{action}", "--json", json.dumps(order))

    async def until_over(self, job: Any) -> Any:
        """The last document of a job."""
        while job["state"] in ("counting", "running"):
            await deferLater(reactor, 0.05)
            _, job = await self.call(job["links"]["self"])
        return job

    async def let_fail(self, count: int) -> None:
        """Have requests fail until they are parked."""
        self.model.answer = lambda _: (500, b"boom")
        for number in range(count):
            response, _ = await self.post(self.gateway, {"n": number}, RqUID=f"r-{number}")
            self.assertEqual(response.code, 502)

    async def park(self, count: int) -> None:
        """Park messages that nobody has asked a model for."""

        def publish(channel: Any) -> None:
            for number in range(count):
                properties = pika.BasicProperties(content_type="application/json", delivery_mode=2)
                channel.basic_publish("", f"{self.queue}.parking", b"%d" % number, properties, mandatory=True)

        await self.on_channel(publish)

    async def parked(self) -> int:
        """The number of parked messages, by RabbitMQ itself."""
        count: int = await self.on_channel(
            lambda channel: channel.queue_declare(f"{self.queue}.parking", passive=True).method.message_count
        )
        return count

    async def test_look_and_replay(self) -> None:
        """Failed requests are found with what the model said, shown, dropped by id, and replayed once it is mended."""
        await self.let_fail(3)
        status, listed = await self.call("/v1/parking")
        self.assertEqual((status, [each["messages"] for each in listed["queues"]]), (200, [3]))
        _, found = await self.call(f"{self.path}?reason=status&grep=%22n%22&since=1h")
        self.assertEqual((found["matching"], [each["count"] for each in found["groups"]]), (3, [3]))
        first = found["messages"][0]
        self.assertEqual((first["rquid"], first["model_error"]), ("r-0", "boom"))
        _, whole = await self.call(f"{self.path}/{first['id']}")
        self.assertEqual(whole["body"], {"text": '{"n": 0}'})
        status, job = await self.order("drop", ids=[first["id"]], why="test")
        self.assertEqual((status, (await self.until_over(job))["done"]), (202, 1))
        status, problem = await self.order("replay", all=True, expected_count=3)
        self.assertEqual((status, problem["expected"], problem["found"]), (409, 3, 2))
        status, problem = await self.order("drop", all=True)
        self.assertEqual(status, 428)
        self.model.answer = lambda _: (200, b"1")
        asked = len(self.model.requests)
        status, job = await self.order("replay", filter={"reason": ["status"]}, expected_count=2)
        self.assertEqual((status, (await self.until_over(job))["done"]), (202, 2))
        await self.model.asked(asked + 2)
        self.assertEqual(await self.parked(), 0)
        events = [json.loads(line)["event"] for line in self.audit_log.read_text().splitlines()]
        self.assertEqual(events, ["shown", "dropped", "replayed", "replayed"])
        _, metrics = await self.admin(self.gateway, "/metrics")
        for action, count in (("drop", 1), ("replay", 2)):
            labels = f'{{action="{action}",outcome="done",queue="{self.queue}"}}'
            self.assertIn(f"provider_gateway_parking_messages_total{labels} {count}.0", metrics)
        self.assertIn('route="/v1/parking/{queue}/replay"', metrics)

    async def test_drain(self) -> None:
        """A process that is told to stop ends its job in order: what was not done stays parked, and it stops soon."""
        await self.park(200)
        status, job = await self.order("drop", all=True, expected_count=200, rate=20)
        self.assertEqual((status, job["state"]), (202, "running"))
        while (await self.call(job["links"]["self"]))[1]["done"] < 3:
            await deferLater(reactor, 0.05)
        self.gateway.signal("TERM")
        self.assertEqual(await self.gateway.when_ended(), 0)
        done = len(self.audit_log.read_text().splitlines())
        self.assertEqual(done + await self.parked(), 200)
        self.assertLess(done, 100)
