"""The reply queues that instances leave at a real broker: none after an end in order, and for a while after a crash."""

from __future__ import annotations

import json
import socket
import time

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.support.integration import IntegrationTestCase

#: Seconds between two looks at the broker, and how long a wait may take.
LOOK, PATIENCE = 0.2, 30


class ReplyQueueTests(IntegrationTestCase):
    """Reply queues of instances begin with the name of ``replyTo``."""

    async def reply_queues(self, virtual_host: str = "/") -> list[str]:
        """The reply queues at the broker."""
        text = await deferToThread(self.broker.control, "list_queues", "-p", virtual_host, "name")
        return [name for name in text.split() if name.startswith(f"{self.output}.")]

    async def test_end_in_order(self) -> None:
        """SIGTERM: an instance deletes its queue, used or not, and each worker its own; ``--check`` makes none."""
        gateways = [await self.start().ready() for _ in range(2)]
        workers = self.start(WORKERS="2")
        await workers.ready()
        response, _ = await self.post(gateways[0], [1])
        self.assertEqual((response.code, len(await self.reply_queues())), (200, 4))
        checked = self.start("--check", "--connect", MODEL_URL=self.model_url)
        await checked.when_ended()
        self.assertEqual(len(await self.reply_queues()), 4)
        for each in (*gateways, workers):
            each.signal("TERM")
        for each in (*gateways, workers):
            self.assertEqual(await each.when_ended(), 0, each.errors)
        self.assertEqual(await self.reply_queues(), [])

    async def test_quorum(self) -> None:
        """The same for an entry with quorum queues, whose reply queue is one, too; also after a failed start."""
        entries = [self.entry(queueType="quorum")]
        gateway = await self.start(entries=entries).ready()
        response, _ = await self.post(gateway, [1])
        self.assertEqual((response.code, len(await self.reply_queues())), (200, 1))
        gateway.signal("TERM")
        self.assertEqual(await gateway.when_ended(), 0, gateway.errors)
        self.assertEqual(await self.reply_queues(), [])
        with socket.create_server(("127.0.0.1", 0)) as taken:
            gateway = self.start(entries=entries, HTTP_PORT=str(taken.getsockname()[1]))
            self.assertEqual(await gateway.when_ended(), 1)
        self.assertEqual(await self.reply_queues(), [])

    async def test_failed_starts(self) -> None:
        """A start that fails leaves none: a port in use, and a queue that exists with other arguments."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            gateway = self.start(HTTP_PORT=str(taken.getsockname()[1]))
            self.assertEqual(await gateway.when_ended(), 1)
        self.assertIn("HTTP_PORT: cannot listen on ", gateway.errors)
        self.assertEqual(await self.reply_queues(), [])
        await self.on_channel(lambda channel: channel.queue_delete(self.queue))
        await self.on_channel(lambda channel: channel.queue_declare(self.queue, arguments={"x-max-length": 7}))
        gateway = self.start()
        self.assertEqual(await gateway.when_ended(), 1)
        self.assertIn(f"queue '{self.queue}'", gateway.errors)
        self.assertEqual(await self.reply_queues(), [])

    async def test_killed(self) -> None:
        """After a crash the broker deletes the queue when REPLY_QUEUE_EXPIRES is over."""
        gateway = await self.start(REPLY_QUEUE_EXPIRES="3").ready()
        (name,) = await self.reply_queues()
        gateway.signal("KILL")
        await gateway.when_ended()
        await self.on_channel(lambda channel: channel.queue_declare(name, passive=True))
        began = time.monotonic()
        while name in await self.reply_queues():  # a declaration would be a use, and keep the queue
            self.assertLess(time.monotonic() - began, PATIENCE)
            await deferLater(reactor, LOOK)

    async def test_limit_of_the_virtual_host(self) -> None:
        """A virtual host that has no room for the queue is one line that names queue and limit, not a silent start."""
        name = self.queue
        entry = {"topic": "", "queueName": "in", "bindingKey": "", "replyTo": self.output}
        await deferToThread(self.make_virtual_host, name, 3)
        self.addCleanup(deferToThread, self.broker.control, "delete_vhost", name)
        gateway = self.start(entries=[entry], RMQ_URL=f"{self.broker.url}{name}")
        line = (await gateway.logged("queue limit"))["message"]
        self.assertIn(f"queue '{self.output}.", line)
        self.assertIn("set_vhost_limits", line)
        await deferToThread(self.broker.control, "set_vhost_limits", "-p", name, json.dumps({"max-queues": 4}))
        await gateway.ready()
        gateway.signal("TERM")
        self.assertEqual((await gateway.when_ended(), await self.reply_queues(name)), (0, []))

    def make_virtual_host(self, name: str, queues: int) -> None:
        """Make a virtual host with room for some queues."""
        self.broker.control("add_vhost", name)
        self.broker.control("set_permissions", "-p", name, "provider-gateway", ".*", ".*", ".*")
        self.broker.control("set_vhost_limits", "-p", name, json.dumps({"max-queues": queues}))
