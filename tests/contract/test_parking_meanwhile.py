"""What happens while a job runs on parked messages, on both brokers: others park, purge, delete or cancel."""

from __future__ import annotations

import time
from threading import Event
from typing import TYPE_CHECKING, Any

from provider_gateway.parking.filters import Filter
from provider_gateway.parking.jobs import JobRequest
from tests.contract.parking import OPERATOR, ParkingContract, on_both_types

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel
    from twisted.internet.defer import Deferred


@on_both_types
class Meanwhile(ParkingContract):
    """A job does what is left of what it found, and says how it ended."""

    async def test_parked_meanwhile(self) -> None:
        """What is parked while a job runs is not touched, though it matches."""
        await self.park(40)
        job = self.parking.start(JobRequest(action="drop", queue=self.entry.queue_name, operator=OPERATOR, rate=100))
        await job.counted()
        await self.park_more(40, 20)
        found = await job.when_over()
        self.assertEqual((40, 40, 0), (found.total, found.done, found.missing))
        self.assertEqual(list(range(40, 60)), await self.numbers(self.entry.parking))

    def park_more(self, first: int, count: int) -> Deferred[Any]:
        """Park messages while others are held."""

        def publish(channel: BlockingChannel) -> None:
            for number in range(first, first + count):
                self.publish(channel, self.entry.parking, b"%d" % number, delivery_mode=2)

        return self.use(publish)

    async def test_gone_meanwhile(self) -> None:
        """Messages that are purged while they are not held: the job does what is left, and counts the others."""
        await self.park(60)
        job = self.parking.start(JobRequest(action="drop", queue=self.entry.queue_name, operator=OPERATOR, rate=40))
        await job.counted()
        await self.until(lambda: job.document.done >= 3)
        await self.use(lambda channel: channel.queue_purge(self.entry.parking))
        found = await job.when_over()
        self.assertEqual("done", found.state)
        self.assertEqual(60, found.done + found.missing)
        self.assertGreater(found.missing, 0)
        self.assertEqual([], await self.numbers(self.entry.parking))

    async def test_deleted_meanwhile(self) -> None:
        """A parking queue that is deleted ends the job, which says so."""
        await self.park(40)
        job = self.parking.start(JobRequest(action="drop", queue=self.entry.queue_name, operator=OPERATOR, rate=20))
        await job.counted()
        await self.until(lambda: job.document.done >= 3)
        await self.use(lambda channel: channel.queue_delete(self.entry.parking))
        found = await job.when_over()
        self.assertEqual("failed", found.state)
        self.assertIn("deleted meanwhile", found.error)

    async def test_rate(self) -> None:
        """A rate is kept, from the first second on; and a cancel is seen soon. What was not acted on stays."""
        await self.park(100)
        began = time.monotonic()
        job = self.parking.start(JobRequest(action="replay", queue=self.entry.queue_name, operator=OPERATOR, rate=20))
        await self.until(lambda: job.document.done >= 15)
        self.assertGreater(time.monotonic() - began, 0.6)
        job.cancel()
        found = await job.when_over()
        self.assertEqual("canceled", found.state)
        self.assertLess(found.done, 40)
        sent, parked = await self.numbers(self.entry.queue_name), await self.numbers(self.entry.parking)
        self.assertEqual(list(range(100)), sorted(sent) + parked)
        self.assertEqual(found.done, len(sent))

    async def test_back_soon(self) -> None:
        """Messages that somebody else held when a look counted, and that are back soon after, are looked at, too.

        So it is if another look has just lost the queue to this one.
        """
        await self.park(40)
        held, begun = Event(), Event()

        def hold(channel: BlockingChannel) -> None:
            for _ in range(10):
                channel.basic_get(self.entry.parking)
            held.set()
            begun.wait(10)
            channel.basic_nack(0, multiple=True)
            self.wait_for_count(channel, self.entry.parking, 40 - 16)

        holding = self.use(hold)
        await self.until(held.is_set)

        def until_back(*_: object) -> Deferred[Any] | None:
            if begun.is_set():
                return None
            begun.set()
            return holding

        look = await self.parking.look(self.entry.queue_name, Filter(), operator=OPERATOR, on_message=until_back)
        self.assertEqual((40, 40), (look.total, look.matching))
