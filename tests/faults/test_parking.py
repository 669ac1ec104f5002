"""Replays and drops of parked messages that are cut off: nothing is lost, and few messages are doubled."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Any

import pika
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from provider_gateway.config.settings import Settings
from provider_gateway.parking.filters import Filter
from provider_gateway.parking.jobs import JobRequest
from provider_gateway.parking.operators import Operator
from provider_gateway.parking.parking import Parking
from provider_gateway.parking.places import places_of
from provider_gateway.parking.sending import WINDOW
from tests.faults.base import LOOK
from tests.faults.replaying import STEPS, entry_of
from tests.faults.resources import FragileRabbitMQ, fault_broker
from tests.support.folders import ROOT
from tests.support.processes import Process
from tests.support.rabbitmq import declare_objects, on_channel, shared_broker

#: Messages of each replay.
MANY = 1000
#: At which time a process ends at a step, if not at the 500th.
TIMES = {"declare": 2, "window": 4, "note": 1, "give back": 1, "given back": 1}
OPERATOR = Operator("olga", "here")


class CutOffTestCase(TestCase):
    """Parked messages, and processes that work on them."""

    timeout = 180

    async def setUp(self) -> None:
        self.node: Any = await deferToThread(self.find_node)

    def find_node(self) -> Any:
        return shared_broker()

    async def fill(self, queue: str, kind: str, count: int = MANY) -> None:
        """Declare a queue with its parking queue, and park messages."""
        self.addCleanup(on_channel, self.node, lambda channel: self.delete(channel, queue))

        def publish(channel: Any) -> None:
            declare_objects(channel, entry_of(queue, kind))
            plain = channel.connection.channel()
            if kind == "classic":
                plain.tx_select()  # at its end, the messages survive a broker that is killed
            for number in range(count):
                headers = {"RqUID": f"r-{number}", "pg-reason": "timeout" if number % 2 else "5xx", "pg-queue": queue}
                properties = pika.BasicProperties(headers=headers, delivery_mode=2, message_id=f"m{number}")
                plain.basic_publish("", f"{queue}.parking", b"%d" % number, properties)
            if kind == "classic":
                plain.tx_commit()
            self.wait_for(channel, (f"{queue}.parking",), count)

        await on_channel(self.node, publish)

    def delete(self, channel: Any, queue: str) -> None:
        for each in (queue, f"{queue}.parking", f"{queue}.parking.operator"):
            channel.queue_delete(each)
        for each in (f"{queue}.return", f"topic.{queue}"):
            channel.exchange_delete(each)

    def ready(self, channel: Any, queue: str) -> int:
        """The number of ready messages in a queue."""
        count: int = channel.queue_declare(queue, passive=True).method.message_count
        return count

    async def contents(self, queue: str, at_least: int = MANY) -> tuple[list[int], list[int]]:
        """The numbers of the messages in work and parking queue, in their order, once all are there again."""

        def read(channel: Any) -> tuple[list[int], list[int]]:
            names = (queue, f"{queue}.parking")
            self.wait_for(channel, names, at_least)
            time.sleep(LOOK)  # more come, if they are doubled: nothing tells when no more can come
            return self.numbers(channel, names[0]), self.numbers(channel, names[1])

        found: tuple[list[int], list[int]] = await on_channel(self.node, read)
        return found

    def wait_for(self, channel: Any, queues: tuple[str, ...], count: int) -> None:
        """Wait until this many messages are ready in the queues. RabbitMQ tells nobody: it is asked again and again."""
        deadline = time.monotonic() + 20
        while sum(self.ready(channel, each) for each in queues) < count and time.monotonic() < deadline:
            time.sleep(LOOK / 10)

    def numbers(self, channel: Any, queue: str) -> list[int]:
        """The numbers of the messages in a queue; they stay."""
        reading = channel.connection.channel()
        found: list[int] = []
        count = self.ready(reading, queue)
        if count:
            reading.basic_consume(queue, lambda _channel, _method, _properties, body: found.append(int(body)))
            deadline = time.monotonic() + 20
            while len(found) < count and time.monotonic() < deadline:
                channel.connection.process_data_events(1)
        reading.close()
        return found

    def parking(self, queue: str, kind: str) -> Parking:
        """The engine, in this process."""
        url = self.node.plain_url
        settings = Settings(_env_file=None, rmq_url=url, model_url="http://127.0.0.1:1/")  # type: ignore[call-arg]
        entry = entry_of(queue, kind)
        places = places_of([entry], webhooks=False)
        parking = Parking(
            reactor, settings, [entry], tls=None, places=places, audit=lambda _: None, wall_clock=time.time
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(parking.stop()))
        return parking

    async def process(self, queue: str, kind: str, action: str, step: str = "-") -> Process:
        """Run a process to its end."""
        count = str(TIMES.get(step, 500))
        command = [
            sys.executable,
            "-m",
            "tests.faults.replaying",
            self.node.plain_url,
            queue,
            kind,
            action,
            step,
            count,
        ]
        process: Process = Process.start(self, command, {"PATH": ""}, ROOT)
        await process.when_ended()
        return process


class KilledTests(CutOffTestCase):
    """The process is killed at every step of a replay of 1,000."""

    async def check_replay(self, kind: str) -> None:
        at_once = DeferredSemaphore(3)
        steps = (at_once.run(self.run_step, kind, number, step) for number, step in enumerate(STEPS))
        await gatherResults(steps, consumeErrors=True)

    def run_step(self, kind: str, number: int, step: str) -> Deferred[None]:
        """Kill a process at one step, and have another one do the rest."""
        return Deferred.fromCoroutine(self.check_step(kind, number, step))

    async def check_step(self, kind: str, number: int, step: str) -> None:
        queue = f"killed.{kind}.{number}"
        await self.fill(queue, kind)
        process = await self.process(queue, kind, "replay", step)
        self.assertEqual(-9 if step not in ("give back", "given back") else process.ended, process.ended, step)
        sent, parked = await self.contents(queue)
        both = Counter(sent + parked)
        self.assertEqual(set(range(MANY)), set(both), f"{step}: lost")
        doubled = sum(both.values()) - MANY
        self.assertLessEqual(doubled, WINDOW, step)
        # The next one does the rest.
        job = self.parking(queue, kind).start(JobRequest(action="replay", queue=queue, operator=OPERATOR))
        found = await job.when_over()
        self.assertEqual(
            ("done", len(parked), len(parked)), (found.state, found.total, found.done), f"{step}: {found.error}"
        )
        sent, parked = await self.contents(queue, MANY + doubled)
        self.assertEqual((set(range(MANY)), MANY + doubled, []), (set(sent), len(sent), parked), step)

    async def test_replay_classic(self) -> None:
        """None is lost, and no more are doubled than were in flight: classic queues."""
        await self.check_replay("classic")

    async def test_replay_quorum(self) -> None:
        """The same on quorum queues."""
        await self.check_replay("quorum")

    async def test_drop(self) -> None:
        """A process that is killed while it drops messages has dropped what it says, and no other."""
        for step in ("audited", "acknowledged"):
            queue = f"killed.drop.{step}"
            await self.fill(queue, "classic")
            process = await self.process(queue, "classic", "drop", step)
            self.assertEqual(-9, process.ended)
            _, parked = await self.contents(queue, MANY - 500)
            self.assertEqual(parked, list(range(MANY - len(parked), MANY)))
            self.assertTrue(MANY - 500 <= len(parked) <= MANY, len(parked))


class BrokerTests(CutOffTestCase):
    """The broker ends in the middle of a job."""

    def find_node(self) -> FragileRabbitMQ:
        node = fault_broker()
        node.restore()
        self.addCleanup(deferToThread, node.restore)
        return node

    async def check(self, kind: str, stop: Any) -> None:
        queue = f"broker.{kind}"
        await self.fill(queue, kind)
        parking = self.parking(queue, kind)
        wanted = Filter(reasons=frozenset({"timeout"}))
        job = parking.start(JobRequest(action="replay", queue=queue, operator=OPERATOR, filter=wanted, rate=200))
        some: Deferred[None] = Deferred()
        job.watch(lambda document: some.callback(None) if document.done >= 100 and not some.called else None)
        await some
        await deferToThread(stop)
        document = await job.when_over()
        self.assertEqual("failed", document.state)
        self.assertIn("connection to the broker was lost", document.error)
        await deferToThread(self.node.restore)
        sent, parked = await self.contents(queue)
        both = Counter(sent + parked)
        self.assertEqual(set(range(MANY)), set(both))
        # Those in flight, and those whose acknowledgements were on their way to the broker.
        self.assertLessEqual(sum(both.values()) - MANY, 2 * WINDOW)
        self.assertEqual({1}, {number % 2 for number in sent})
        left = parking.start(JobRequest(action="replay", queue=queue, operator=OPERATOR, filter=wanted))
        document = await left.when_over()
        self.assertEqual(("done", sum(number % 2 for number in parked)), (document.state, document.done))

    async def test_killed_classic(self) -> None:
        """The broker is killed: what it had confirmed is there again."""
        await self.check("classic", self.node.kill)

    async def test_restarted_quorum(self) -> None:
        """The broker restarts in order."""
        await self.check("quorum", lambda: (self.node.stop_app(), self.node.start_app()))
