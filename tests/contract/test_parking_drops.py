"""Drops of parked messages, on both brokers: what was found and is written down is deleted, and no more."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pika

from provider_gateway.parking.errors import CountChanged
from provider_gateway.parking.filters import Filter
from provider_gateway.parking.jobs import JobRequest
from tests.contract.parking import OPERATOR, ParkingContract, on_both_types

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel


@on_both_types
class Drops(ParkingContract):
    """Jobs act on what matches, and on nothing else."""

    async def test_drop(self) -> None:
        """What matches is gone, each with a line in the audit log; all else stays, in order."""
        await self.park(700)
        found = await self.run_job("drop", filter=Filter(reasons=frozenset({"5xx"})))
        self.assertEqual(("done", 466, 466), (found.state, found.total, found.done))
        self.assertEqual(list(range(0, 700, 3)), await self.numbers(self.entry.parking))
        self.assertEqual([], await self.taken(self.entry.queue_name))
        self.assertEqual([f"r-{n}" for n in range(700) if n % 3], [line["rquid"] for line in self.lines])
        found = await self.run_job("drop")
        self.assertEqual((234, []), (found.done, await self.numbers(self.entry.parking)))

    async def test_no_line_no_drop(self) -> None:
        """A message whose audit line cannot be written stays."""
        await self.park(30)

        def full(line: Any) -> None:
            if len(self.lines) == 5:
                raise OSError(28, "No space left on device")
            self.lines.append(line)

        self.parking._audit = full
        found = await self.run_job("drop")
        self.assertEqual(("failed", 5), (found.state, found.done))
        self.assertIn("No space left on device", found.error)
        self.assertEqual(list(range(5, 30)), await self.numbers(self.entry.parking))

    async def test_expected_count(self) -> None:
        """If another number matches than the operator saw, nothing is done."""
        await self.park(20)
        job = self.parking.start(
            JobRequest(action="drop", queue=self.entry.queue_name, operator=OPERATOR, expected_count=19)
        )
        with self.assertRaises(CountChanged) as caught:
            await job.counted()
        self.assertEqual({"expected": 19, "found": 20}, dict(caught.exception.members))
        found = await job.when_over()
        self.assertEqual(("failed", 0), (found.state, found.done))
        self.assertEqual(list(range(20)), await self.numbers(self.entry.parking))
        self.assertEqual(20, (await self.run_job("drop", expected_count=20)).done)

    async def test_alike(self) -> None:
        """Messages that are alike to the last byte share an id: as many are acted on as were found."""
        properties = pika.BasicProperties(delivery_mode=2)

        def publish(channel: BlockingChannel) -> None:
            for _ in range(3):
                channel.basic_publish("", self.entry.parking, b"7", properties)

        await self.use(publish)
        look = await self.parking.look(self.entry.queue_name, Filter(), operator=OPERATOR)
        one = Filter(ids=frozenset({look.messages[0].id}))
        self.assertEqual((3, 1), (look.matching, len({each.id for each in look.messages})))
        self.assertEqual(3, (await self.run_job("drop", filter=one)).done)

    async def test_shared(self) -> None:
        """Work queues that share a parking queue: each has its own messages alone."""
        shared = self.name("shared")
        self.name("shared.operator")
        entries = [self.new_entry(what, parkingQueue=shared) for what in ("one", "two")]
        for entry in entries:
            await self.use(partial(self.declare, entry=entry))
        engine = self.engine(*entries)
        one, two = (entry.queue_name for entry in entries)

        def publish(channel: BlockingChannel) -> None:
            for number, owner in enumerate((one, two, None, one, two)):
                headers = {} if owner is None else {"pg-queue": owner}
                self.publish(channel, shared, b"%d" % number, headers=headers)

        await self.use(publish)
        look = await engine.look(one, Filter(), operator=OPERATOR)
        self.assertEqual((5, 3, 2), (look.total, look.matching, look.others))
        self.assertEqual([0, 2, 3], [each.position for each in look.messages])
        found = await self.run_job(engine=engine, queue=two, filter=Filter(ids=frozenset({look.messages[0].id})))
        self.assertEqual(0, found.done)
        self.assertEqual(2, (await self.run_job("drop", engine=engine, queue=two, filter=Filter(limit=2))).done)
        self.assertEqual([0, 3, 4], sorted(await self.numbers(shared)))
