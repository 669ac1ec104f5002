"""A replay of 1,000 parked messages is killed at each of its steps: nothing is lost, and little is sent twice."""

from __future__ import annotations

import uuid
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pika
import yaml
from twisted.internet import reactor

from provider_gateway.parking.sending import WINDOW
from tests.faults.proxy import Action, Direction, FaultProxy
from tests.support.integration import IntegrationTestCase
from tests.support.processes import TWISTD, Process

if TYPE_CHECKING:
    from tests.faults.proxy import Frame

SCRIPT = str(Path(TWISTD).with_name("provider-gateway"))
COUNT = 1000
TO_BROKER, FROM_BROKER = Direction.TO_TARGET, Direction.TO_CLIENT
#: The frames at which the process is killed, and how many of their kind come before. They do not arrive.
STEPS: tuple[tuple[Direction, str, int], ...] = (
    (TO_BROKER, "basic.consume", 0),  # it is about to look
    (FROM_BROKER, "basic.deliver", 10),
    (FROM_BROKER, "basic.deliver", COUNT),  # it has counted; the next ones are to be sent
    (FROM_BROKER, "basic.deliver", 2 * COUNT - 10),
    (TO_BROKER, "basic.publish", 1),  # the first is the note's
    (TO_BROKER, "basic.publish", 500),
    (FROM_BROKER, "basic.ack", 1),  # confirms: one may be for many messages
    (FROM_BROKER, "basic.ack", 8),
    (TO_BROKER, "basic.ack", 0),
    (TO_BROKER, "basic.ack", 500),
    (TO_BROKER, "basic.ack", COUNT - 1),
    (TO_BROKER, "connection.close", 0),  # all is done
)


class ReplayTestCase(IntegrationTestCase):
    """Kills of ``provider-gateway parking replay``, and a count of what is there afterwards."""

    timeout = 300
    kind: ClassVar[str] = "classic"

    async def setUp(self) -> None:
        await super().setUp()
        queues = self.folder / "queues.yaml"
        queues.write_text(yaml.safe_dump([self.entry(dle=True, queueType=self.kind)]))
        self.proxy = FaultProxy(reactor, self.broker.port)
        self.proxy.on_frame = lambda _: Action.PASS
        self.proxy.start()
        self.addCleanup(self.proxy.stop)
        url = self.broker.plain_url.replace(f":{self.broker.port}/", f":{self.proxy.port}/")
        state = str(self.folder.resolve())
        self.environ = self.environment(RMQ_URL=url, QUEUES_CONF=str(queues.resolve()), XDG_STATE_HOME=state)
        await self.on_channel(self._declare)

    def _declare(self, channel: Any) -> None:
        limit = {"x-delivery-limit": 2**31 - 1} if self.kind == "quorum" else {}
        arguments = {"x-queue-type": self.kind}
        channel.queue_declare(self.queue, durable=True, arguments=arguments)
        channel.queue_declare(f"{self.queue}.parking", durable=True, arguments={**arguments, **limit})
        channel.exchange_declare(f"{self.queue}.return", "fanout", durable=True)
        channel.queue_bind(self.queue, f"{self.queue}.return")

    def _delete(self, channel: Any) -> None:
        super()._delete(channel)
        channel.queue_delete(f"{self.queue}.parking.operator")

    def _park(self, channel: Any) -> list[str]:
        """Park messages; returns their ids."""
        # The note of a killed process would be waited for: somebody could still be at work.
        channel.queue_delete(f"{self.queue}.parking.operator")
        channel.confirm_delivery()
        ids = [uuid.uuid4().hex for _ in range(COUNT)]
        for each in ids:
            headers = {"RqUID": each, "pg-reason": "status", "pg-queue": self.queue, "pg-parked-at": 1_795_738_603_714}
            properties = pika.BasicProperties(headers=headers, message_id=each, delivery_mode=2)
            channel.basic_publish("", f"{self.queue}.parking", each.encode(), properties)
        return ids

    def _taken(self, channel: Any) -> tuple[Counter[str], list[str]]:
        """Take all messages out of both queues; returns the ids in the work queue, and those that are parked."""
        found: list[list[str]] = []
        for queue in (self.queue, f"{self.queue}.parking"):
            bodies = []
            for method, _, body in channel.consume(queue, inactivity_timeout=0.5):
                if method is None:
                    break
                bodies.append(body.decode())
                channel.basic_ack(method.delivery_tag)
            channel.cancel()
            found.append(bodies)
        return Counter(found[0]), found[1]

    async def killed_at(self, direction: Direction, name: str, before: int) -> bool:
        """Run a replay that is killed at a frame. Returns False if it ended without."""
        process: Process = Process.start(self, [SCRIPT, "parking", "replay", "--yes"], self.environ, str(self.folder))
        seen = 0

        def on_frame(frame: Frame) -> Action:
            nonlocal seen
            if process.ended is not None or process.transport is None or process.transport.pid is None:
                return Action.DROP
            if frame.direction is direction and frame.name == name:
                seen += 1
                if seen > before:
                    process.signal("KILL")
                    self.proxy.on_frame = lambda _: Action.DROP
                    return Action.DROP
            return Action.PASS

        self.proxy.on_frame = on_frame
        status = await process.when_ended()
        self.proxy.reset()
        await self.proxy.when(lambda: not self.proxy.connections)
        return status == -9

    async def check_each_step(self) -> None:
        killed = []
        for direction, name, before in STEPS:
            step = f"{name} {before} {direction.name}"
            ids = await self.on_channel(self._park)
            if await self.killed_at(direction, name, before):
                killed.append(step)
            work, parked = await self.on_channel(self._taken)
            self.assertEqual(set(ids), set(work) | set(parked), f"lost: {step}")
            self.assertEqual(len(parked), len(set(parked)), step)
            twice = sum(work.values()) + len(parked) - COUNT
            self.assertLessEqual(twice, WINDOW, step)
            # The broker puts back what was not acknowledged. A quorum queue has its own order then.
            if self.kind == "classic":
                self.assertEqual(parked, [each for each in ids if each in set(parked)], step)
        self.assertEqual(len(killed), len(STEPS), f"killed at these only: {killed}")


class ClassicReplayTests(ReplayTestCase):
    """Classic queues."""

    async def test_42_killed_classic(self) -> None:
        """Nothing is lost; at most a window of messages is in the work queue and parked as well; the order stays."""
        await self.check_each_step()


class QuorumReplayTests(ReplayTestCase):
    """Quorum queues."""

    kind = "quorum"

    async def test_42_killed_quorum(self) -> None:
        """The same, but for the order."""
        await self.check_each_step()
