"""Late replies and a real broker whose results queue refuses them: the gateway answers all the same, and loses none."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

import pika
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.support.integration import IntegrationTestCase
from tests.support.rabbitmq import delete_result_objects

#: More than any prefetch of ours.
MANY = 1500


class RefusingResultsQueueTests(IntegrationTestCase):
    """An operator's policy lets the results queue take nothing for a while; for classic and quorum queues."""

    async def setUp(self) -> None:
        await super().setUp()
        self.addCleanup(self.on_channel, lambda channel: delete_result_objects(channel, self.output))
        self.policy = f"refuses-{self.output}"
        self.addCleanup(self.accept)
        self.ids = [f"{number:032x}" for number in range(MANY)]

    async def refuse(self, over: int) -> None:
        """Have the results queue refuse what comes while more than this many messages wait in it.

        A quorum queue takes what it can deliver at once, and a few messages before it notices.
        """
        definition = json.dumps({"max-length": over, "overflow": "reject-publish"})
        pattern = rf"^{self.output}\.results$".replace(".", r"\.", 1)
        command = ("set_policy", "--apply-to", "queues", self.policy, pattern, definition)
        await deferToThread(self.broker.control, *command)

    async def accept(self) -> None:
        """Let it take replies again."""
        if self.policy in await deferToThread(self.broker.control, "list_policies"):
            await deferToThread(self.broker.control, "clear_policy", self.policy)

    async def check(self, queue_type: str) -> None:
        entries = [self.entry(queueType=queue_type)]
        file = (self.folder / "results.db").resolve()
        environment = {"RESULT_STORE": f"sqlite://{file}", "INSTANCE": "one"}
        gateway = await self.start("--role", "gateway", entries=entries, **environment).ready()
        await self.start("--role", "provider", entries=entries).ready()
        text = await deferToThread(self.broker.control, "list_queues", "name")
        (queue,) = [each for each in text.split() if each.startswith(f"{self.output}.one") and ".done." not in each]

        def publish(confirming: Any, ids: list[str]) -> None:
            channel = confirming.connection.channel()  # without waiting for each confirm
            for each in ids:
                properties = pika.BasicProperties(
                    correlation_id=each, headers={"pg-status": 200, "pg-owner": ""}, delivery_mode=2
                )
                channel.basic_publish("", queue, each.encode(), properties, mandatory=True)

        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            # The store is away: so the results queue is not consumed, and the first reply waits in it.
            other.execute("BEGIN IMMEDIATE")
            await self.on_channel(lambda channel: publish(channel, self.ids[:1]))
            await gateway.logged("The result store is away")
            # In two steps: a classic queue that does not refuse yet drops what is over its new limit.
            await self.refuse(over=MANY)
            await self.refuse(over=0)
            await self.on_channel(lambda channel: publish(channel, self.ids[1:]))
            for number in range(3):
                response, answer = await self.post(gateway, [number])
                self.assertEqual((response.code, answer), (200, [number]))
            await gateway.logged("A late reply is published again")
            await self.accept()
        stored = f'results_stored_total{{status="succeeded"}} {float(MANY)}'
        while stored not in (await self.admin(gateway, "/metrics"))[1]:
            await deferLater(reactor, 0.1)  # metrics tell nobody when they change
        port = await gateway.port("https")
        for each in (*self.ids[::100], self.ids[-1]):
            response = await self.client.get(f"https://localhost:{port}/v1/requests/{each}/result")
            self.assertEqual((response.code, await response.content()), (200, each.encode()))

    async def test_classic(self) -> None:
        """More late replies than the prefetch, with classic queues."""
        await self.check("classic")

    async def test_quorum(self) -> None:
        """The same with quorum queues."""
        await self.check("quorum")
