"""A cluster of three nodes with quorum queues loses the queue leader's node; row 29 of the matrix."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from twisted.internet.threads import deferToThread

from devtools.rabbitmq import cluster
from tests.faults.serving import LoadedTestCase
from tests.support.certificates import certificates
from tests.support.folders import folder

if TYPE_CHECKING:
    from devtools.rabbitmq import RabbitMQ
    from tests.faults.load import AMQPInitiator

#: An expired message that was for a dead node is sent again when its confirm has not come within this many
#: milliseconds; RabbitMQ's default is 3 minutes.
_PATIENCE = "application:set_env(rabbit, dead_letter_worker_publisher_confirm_timeout, 2000)."


@cache
def nodes() -> list[RabbitMQ]:
    """The nodes of the cluster."""
    return cluster(folder() / "cluster", certificates())


class ClusterTests(LoadedTestCase):
    """A gateway that knows all nodes of a cluster."""

    async def setUp(self) -> None:
        await super().setUp()
        self.nodes = await deferToThread(nodes)
        for each in self.nodes:
            self.addCleanup(deferToThread, each.stop)
            await deferToThread(each.control, "eval", _PATIENCE)

    def initiator(self, **options: Any) -> AMQPInitiator:
        """An initiator that takes replies from a quorum queue."""
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": 2**31 - 1}
        return super().initiator(reply_arguments=arguments, **options)

    async def test_29_leader_killed(self) -> None:
        """The node of the work queue's leader is killed under load: the others serve; restarted, nothing is lost."""
        self.keys |= {"queueType": "quorum", "dle": True, "retryDelay": 300, "maxAttempts": 3}
        self.broker = self.node = self.nodes[1]  # the initiator's node: one that is not killed
        self.fail_odd()
        gateway = await self.serve(RMQ_URL=",".join(node.url for node in self.nodes)).ready()
        leader = await self.leader()
        self.assertIs(leader, self.nodes[0])
        await self.load(gateway)
        await self.on_channel(self.publish_odd)
        await deferToThread(leader.kill)
        answered = self.http.statuses[200]
        await self.until("served by the others", lambda: self.http.statuses[200] > answered + 20, 20)
        self.assertIsNot(await self.leader(), leader)
        await deferToThread(leader.start)
        await self.balances(1)

    async def leader(self) -> RabbitMQ:
        """The node of the work queue's leader."""
        listed = await deferToThread(self.node.control, "list_queues", "name", "leader", "--formatter", "json")
        name = next(row["leader"] for row in json.loads(listed) if row["name"] == self.queue)
        return next(node for node in self.nodes if node.name == name)
