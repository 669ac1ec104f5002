"""Looks into parking queues, on both brokers: they tell what is there, and change nothing."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Any

import pika
from twisted.internet import reactor

from provider_gateway.deferreds import sleep
from provider_gateway.parking.errors import NoSuchMessage, NoSuchQueue, ParkingUnusable
from provider_gateway.parking.filters import Filter
from provider_gateway.parking.jobs import JobRequest
from tests.contract.parking import MORNING, OPERATOR, ParkingContract, on_both_types

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel


@on_both_types
class Looks(ParkingContract):
    """Looks change nothing."""

    async def test_look(self) -> None:
        """All messages are counted by reason, those that are asked for are told, and all stay as they were."""
        await self.park(300)
        for after, expected in ((-1, range(100)), (99, range(100, 200)), (199, range(200, 300))):
            look = await self.parking.look(self.entry.queue_name, Filter(), operator=OPERATOR, after=after)
            self.assertEqual((300, 300, 300, 0), (look.total, look.looked_at, look.matching, look.others))
            self.assertEqual([("5xx", 200), ("timeout", 100)], [(each.reason, each.count) for each in look.groups])
            self.assertEqual([f"r-{number}" for number in expected], [each.rquid for each in look.messages])
            self.assertEqual(None if after == 199 else after + 100, look.next)
            self.assertEqual((MORNING + 1) / 1000, look.groups[0].oldest)
        self.assertEqual(list(range(300)), await self.numbers(self.entry.parking))
        self.assertEqual([], self.lines)
        self.assertEqual({self.entry.queue_name: 300}, await self.parking.counts())

    async def test_ids_are_stable(self) -> None:
        """A message has the same id in each look, whatever the broker counts in its headers."""
        await self.park(30)
        looks = [await self.parking.look(self.entry.queue_name, Filter(), operator=OPERATOR) for _ in range(3)]
        ids = [[each.id for each in look.messages] for look in looks]
        self.assertEqual(ids[0], ids[1])
        self.assertEqual(ids[0], ids[2])
        self.assertEqual(30, len(set(ids[0])))

    async def test_filter(self) -> None:
        """Only what matches is told; a limit counts from the head."""
        await self.park(60, size=2000)
        look = partial(self.parking.look, self.entry.queue_name, operator=OPERATOR)
        self.assertEqual(20, (await look(Filter(reasons=frozenset({"timeout"})))).matching)
        self.assertEqual(["r-7"], [each.rquid for each in (await look(Filter(rquid="r-7"))).messages])
        self.assertEqual(10, (await look(Filter(before=(MORNING + 10) / 1000))).matching)
        self.assertEqual(11, (await look(Filter(grep="^5\\d* x+$"))).matching)
        first = await look(Filter(reasons=frozenset({"5xx"}), limit=3))
        self.assertEqual(["r-1", "r-2", "r-4"], [each.rquid for each in first.messages])
        self.assertEqual(list(range(60)), await self.numbers(self.entry.parking))

    async def test_show(self) -> None:
        """One message with its whole body; somebody may read it, and so it is in the audit log."""
        await self.park(40, size=5000)
        look = await self.parking.look(self.entry.queue_name, Filter(rquid="r-31"), operator=OPERATOR)
        message, body = await self.parking.show(self.entry.queue_name, look.messages[0].id, operator=OPERATOR, why="w")
        self.assertEqual(("r-31", 5003, b"31 " + b"x" * 5000), (message.rquid, message.size, body))
        (line,) = self.lines
        self.assertEqual(("shown", "olga", "10.0.0.7", "w", "r-31"), (
            line["event"], line["operator"], line["from"], line["why"], line["rquid"],
        ))  # fmt: skip
        with self.assertRaises(NoSuchMessage):
            await self.parking.show(self.entry.queue_name, "0" * 32, operator=OPERATOR)
        self.assertEqual(list(range(40)), await self.numbers(self.entry.parking))

    async def test_export(self) -> None:
        """Each message is handed over with its body, one after the other, and has an audit line."""
        await self.park(40)
        bodies = []

        async def slowly(_message: Any, body: bytes) -> None:
            await sleep(reactor, 0)  # type: ignore[arg-type] # zope interfaces
            bodies.append(int(body.split()[0]))

        look = await self.parking.export(
            self.entry.queue_name, Filter(reasons=frozenset({"timeout"})), slowly, operator=OPERATOR
        )
        self.assertEqual((14, list(range(0, 40, 3))), (look.matching, bodies))
        self.assertEqual([("exported", f"r-{n}") for n in bodies], [(x["event"], x["rquid"]) for x in self.lines])
        self.assertEqual(list(range(40)), await self.numbers(self.entry.parking))

    async def test_nothing_there(self) -> None:
        """An empty queue; a queue that is not declared yet, and is then; and a name that there is not."""
        for _ in range(2):
            look = await self.parking.look(self.entry.queue_name, Filter(), operator=OPERATOR)
            self.assertEqual((0, 0, ()), (look.total, look.matching, look.messages))
            await self.use(lambda channel: channel.queue_delete(self.entry.parking))
            self.assertEqual({self.entry.queue_name: None}, await self.parking.counts())
        with self.assertRaises(NoSuchQueue):
            await self.parking.look("nowhere", Filter(), operator=OPERATOR)
        with self.assertRaises(NoSuchQueue):
            self.parking.start(JobRequest(action="drop", queue="nowhere", operator=OPERATOR))

    async def test_hostile(self) -> None:
        """Headers that have no Python value, and texts that are no texts, disturb nothing."""
        late = b"\x04late" + b"T" + struct.pack(">Q", 2**62)
        odd = b"\x09pg-reason" + b"S" + struct.pack(">I", 2) + b"\xff\xfe"

        class Odd(pika.BasicProperties):
            def encode(self) -> list[bytes]:
                table = late + odd
                return [struct.pack(">HI", 1 << 13, len(table)) + table]

        await self.use(lambda channel: channel.basic_publish("", self.entry.parking, b"0", Odd()))
        await self.park(2, first=1)
        look = await self.parking.look(self.entry.queue_name, Filter(), operator=OPERATOR)
        self.assertEqual(3, look.matching)
        look.messages[0].reason.encode()
        (done,) = [await self.run_job(filter=Filter(ids=frozenset({look.messages[0].id})))]
        self.assertEqual(("done", 1), (done.state, done.done))
        # pika cannot read it.
        self.assertEqual(1, await self.use(lambda channel: self.count(channel, self.entry.queue_name)))

    async def test_other_arguments(self) -> None:
        """A parking queue that somebody has declared in another way is left alone: it may have a delivery limit."""

        def declare_otherwise(channel: BlockingChannel) -> None:
            channel.queue_delete(self.entry.parking)
            arguments = {"x-queue-type": self.kind, "x-max-length": 7}
            channel.queue_declare(self.entry.parking, durable=True, arguments=arguments)

        await self.use(declare_otherwise)
        with self.assertRaises(ParkingUnusable) as caught:
            await self.parking.look(self.entry.queue_name, Filter(), operator=OPERATOR)
        self.assertIn("x-max-length", str(caught.exception))

    async def test_sizes(self) -> None:
        """Messages that are suddenly much larger: they are read a few at a time, and all are seen, in their order."""
        await self.park(700)
        await self.park(24, first=700, size=1_500_000)
        await self.park(300, first=724)
        seen = []
        look = await self.parking.look(
            self.entry.queue_name,
            Filter(),
            operator=OPERATOR,
            on_message=lambda _, body: seen.append(int(body.split()[0])),
        )
        self.assertEqual((1024, list(range(1024))), (look.matching, seen))
        self.assertEqual(list(range(1024)), await self.numbers(self.entry.parking))

    async def test_cut(self) -> None:
        """More bytes than one look may hold: the first messages are looked at, and the result says how many."""
        await self.park(100, size=10_000)
        engine = self.engine(max_held=300_000)
        look = await engine.look(self.entry.queue_name, Filter(), operator=OPERATOR)
        self.assertEqual((100, look.looked_at), (look.total, look.matching))
        self.assertTrue(20 <= look.looked_at < 100, look.looked_at)
        self.assertEqual(list(range(100)), await self.numbers(self.entry.parking))
