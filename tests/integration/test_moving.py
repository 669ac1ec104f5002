"""Beside one of the two Go services on one virtual host: the seed's file with ``durable: false``, in either order."""

from __future__ import annotations

import json
from typing import Any

import pika
from twisted.internet.threads import deferToThread

from tests.support.integration import IntegrationTestCase
from tests.support.rabbitmq import take


class MovingTests(IntegrationTestCase):
    """A team moves: some of the seed's programs still run, some are ours."""

    async def setUp(self) -> None:
        await super().setUp()
        self.waiting, self.dead = f"{self.queue}.waiting", f"{self.queue}.dead"
        self.addCleanup(self.on_channel, lambda channel: channel.queue_delete(self.waiting))
        self.addCleanup(self.on_channel, lambda channel: channel.exchange_delete(self.dead))
        params = {
            "dleExchange": self.dead,
            "dleExchangeType": "fanout",
            "dleQueue": self.waiting,
            "dleArgs": {"x-message-ttl": 100, "x-dead-letter-exchange": self.exchange},
        }
        arguments = {"x-dead-letter-exchange": self.dead}
        #: The seed's file, unchanged.
        self.seed = self.entry(dle=True, dleParams=params, argQueue=arguments)
        self.shared = [{**self.seed, "durable": False}]

    def declare_work(self, channel: Any) -> None:
        """Declare what both programs need for requests."""
        channel.exchange_declare(self.exchange, "topic", durable=True)
        channel.queue_declare(self.queue, arguments=self.seed["argQueue"])
        channel.queue_bind(self.queue, self.exchange, "predict.*")

    def declare_as_gateway(self, channel: Any) -> None:
        """Declare as provider-gateway-mq does at its start."""
        self.declare_work(channel)
        channel.queue_declare(self.output)

    def declare_as_provider(self, channel: Any) -> None:
        """Declare as provider-mq does at its start."""
        channel.exchange_declare(self.dead, "fanout", durable=True)
        channel.queue_declare(self.waiting, arguments=self.seed["dleParams"]["dleArgs"])
        channel.queue_bind(self.waiting, self.dead, "")
        self.declare_as_gateway(channel)

    def ask_as_gateway(self, channel: Any) -> tuple[pika.BasicProperties, bytes]:
        """Publish a request as provider-gateway-mq does, and take the reply."""
        self.declare_as_gateway(channel)
        properties = pika.BasicProperties(
            content_type="application/json",
            headers={"RqUID": "r-1", "Content-Type": "application/json"},
            correlation_id="msgr-1",
            reply_to=self.output,
        )
        channel.basic_publish(self.exchange, "predict.now", b'{"n": 1}', properties)
        [reply] = take(channel, self.output)
        return reply

    def answer_as_provider(self, channel: Any) -> Any:
        """Take a request and answer it as provider-mq does: acknowledge, then publish to its ``reply_to``."""
        self.declare_as_provider(channel)
        [(properties, body)] = take(channel, self.queue)
        reply = pika.BasicProperties(
            content_type="application/json", headers={"Server": "old"}, correlation_id=properties.correlation_id
        )
        channel.basic_publish("", properties.reply_to, b'{"old": true}', reply)
        return json.loads(body)

    async def test_unchanged_file(self) -> None:
        """The seed's file alone cannot share its queues: the line names the key that makes it fit."""
        await self.on_channel(self.declare_as_gateway)
        gateway = self.start(entries=[self.seed])
        self.assertEqual(await gateway.when_ended(), 1)
        self.assertIn(f"queue '{self.queue}'", gateway.errors)
        self.assertIn("set durable to false, or delete the queue", gateway.errors)

    async def test_their_gateway(self) -> None:
        """Their gateway's requests are answered by our provider, whichever was started first, also after a retry."""
        await self.on_channel(self.declare_as_gateway)
        provider = await self.start("--role", "provider", entries=self.shared).ready()
        answers = iter([(500, b"no"), (200, b'{"new": 1}'), (200, b'{"new": 2}')])
        self.model.answer = lambda _body: next(answers)
        properties, body = await self.on_channel(self.ask_as_gateway)
        self.assertEqual((properties.correlation_id, json.loads(body)), ("msgr-1", {"new": 1}))
        provider.signal("TERM")
        self.assertEqual(await provider.when_ended(), 0)
        await self.on_channel(self._delete)
        await self.start("--role", "provider", entries=self.shared).ready()
        _, body = await self.on_channel(self.ask_as_gateway)
        self.assertEqual(json.loads(body), {"new": 2})

    async def test_their_provider(self) -> None:
        """Our gateway's requests are answered by their provider, whichever was started first."""
        await self.on_channel(self.declare_as_provider)
        gateway = await self.start("--role", "gateway", entries=self.shared).ready()
        for number in range(2):
            answering = self.on_channel(self.answer_as_provider)
            response, body = await self.post(gateway, {"n": number})
            self.assertEqual((response.code, body), (200, {"old": True}))
            self.assertEqual(await answering, {"n": number})
            # The second round: their queues are gone, and ours are declared first.
            gateway.signal("TERM")
            self.assertEqual(await gateway.when_ended(), 0)
            await self.on_channel(self._delete)
            await self.on_channel(lambda channel: channel.queue_delete(self.waiting))
            gateway = await self.start("--role", "gateway", entries=self.shared).ready()


class UpgradeTests(IntegrationTestCase):
    """What the version before declared is used as it is: no queue has to be deleted for an upgrade."""

    def declare_as_before(self, channel: Any) -> None:
        """Declare as the version before queues were declared with their type, and ``replyTo`` with a delivery limit."""
        quorum = {"x-queue-type": "quorum"}
        safe = {**quorum, "x-overflow": "reject-publish", "x-dead-letter-strategy": "at-least-once"}
        way_back = {"x-message-ttl": 60_000, "x-dead-letter-exchange": f"{self.queue}.return"}
        declared: dict[str, dict[str, Any]] = {
            f"{self.queue}.parking": {**quorum, "x-delivery-limit": 2_147_483_647},
            self.queue: {
                **safe,
                "x-delivery-limit": 20,
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": f"{self.queue}.parking",
            },
            f"{self.queue}.retry": {**safe, **way_back},
            self.output: quorum,
            f"{self.queue}-2.parking": {},
            f"{self.queue}-2": {},
            f"{self.queue}-2.retry": {**way_back, "x-dead-letter-exchange": f"{self.queue}-2.return"},
            f"{self.output}-2": {},
        }
        channel.exchange_declare(self.exchange, "topic", durable=True)
        for name, arguments in declared.items():
            channel.queue_declare(name, durable=True, arguments=arguments)
        for name in (self.queue, f"{self.queue}-2"):
            channel.exchange_declare(f"{name}.return", "fanout", durable=True)

    def delete_second(self, channel: Any) -> None:
        """Delete the queues of the second entry."""
        for name in (f"{self.queue}-2", f"{self.queue}-2.parking", f"{self.queue}-2.retry", f"{self.output}-2"):
            channel.queue_delete(name)
        channel.exchange_delete(f"{self.queue}-2.return")

    async def test_upgrade(self) -> None:
        """The entry of our templates, and a classic one: a request is answered, and the check has one remark."""
        await self.on_channel(self.declare_as_before)
        self.addCleanup(self.on_channel, self.delete_second)
        second = {"queueName": f"{self.queue}-2", "replyTo": f"{self.output}-2", "bindingKey": "second"}
        entries = [self.entry(queueType="quorum", dle=True), self.entry(dle=True, **second)]
        gateway = await self.start(entries=entries).ready()
        await gateway.logged(f"queue '{self.output}' is used as it is, without x-delivery-limit")
        response, _ = await self.post(gateway, {"n": 1})
        self.assertEqual(response.code, 200)
        check = self.start("--check", "--connect", entries=entries)
        self.assertEqual(await check.when_ended(), 0, check.lines)
        remarks = [
            line for line in check.lines if line.startswith("topology: ") and "as the queue file says" not in line
        ]
        self.assertEqual(len(remarks), 1, remarks)
        self.assertIn("without x-delivery-limit", remarks[0])


class DefaultTypeTests(IntegrationTestCase):
    """A virtual host whose ``default_queue_type`` is quorum (RabbitMQ 3.11 and later)."""

    async def test_classic(self) -> None:
        """Queues without ``queueType`` are classic there, too, and so is the parking queue."""
        vhost = f"v-{self.queue}"
        definitions = {
            "vhosts": [{"name": vhost, "default_queue_type": "quorum"}],
            "permissions": [
                {"user": "provider-gateway", "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}
            ],
        }
        path = self.folder / "definitions.json"
        path.write_text(json.dumps(definitions))
        await deferToThread(self.broker.control, "import_definitions", str(path.resolve()))
        self.addCleanup(deferToThread, self.broker.control, "delete_vhost", vhost)
        await self.start(RMQ_URL=f"{self.broker.url}{vhost}", entries=[self.entry(dle=True)]).ready()
        listed = await deferToThread(self.broker.control, "list_queues", "-p", vhost, "name", "type")
        types = dict(line.split("\t") for line in listed.splitlines() if self.queue in line or self.output in line)
        self.assertEqual(len(types), 5, types)
        self.assertEqual({kind.removeprefix("rabbit_").removesuffix("_queue") for kind in types.values()}, {"classic"})
