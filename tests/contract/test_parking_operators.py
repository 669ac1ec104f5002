"""Several who use one parking queue at once, on both brokers: whoever comes second waits, or is told who is there."""

from __future__ import annotations

import pika
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from provider_gateway.deferreds import sleep
from provider_gateway.errors import Draining
from provider_gateway.parking.errors import ParkingBusy
from provider_gateway.parking.filters import Filter
from provider_gateway.parking.jobs import JobRequest
from provider_gateway.parking.operators import Operator
from tests.contract.brokers import on_both
from tests.contract.parking import OPERATOR, ParkingContract


@on_both
class Operators(ParkingContract):
    """Two operators, in two processes. The type of the queue makes no difference."""

    async def test_busy(self) -> None:
        """Whoever comes second is told who is there; both may be in one process, or in two."""
        await self.park(60)
        job = self.parking.start(
            JobRequest(action="drop", queue=self.entry.queue_name, operator=OPERATOR, rate=10, why="late")
        )
        await job.counted()
        other = self.engine()
        for engine in (self.parking, other):
            with self.assertRaises(ParkingBusy) as caught:
                await engine.look(self.entry.queue_name, Filter(), operator=Operator("second", "10.0.0.8"))
            self.assertIn("olga (from 10.0.0.7, process", str(caught.exception))
            self.assertIn("has a drop on it", str(caught.exception))
        seen = await other.job(job.document.id)
        while seen is not None and seen.state == "counting":  # a note is up to a second old
            await sleep(reactor, 0.1)  # type: ignore[arg-type] # zope interfaces
            seen = await other.job(job.document.id)
        assert seen is not None
        self.assertEqual(("running", 60), (seen.state, seen.total))
        at_work = (await other.at_work())[self.entry.queue_name]
        self.assertEqual((job.document.id, "late"), (at_work.id, at_work.why))
        self.assertIsNone(await other.job("0" * 16))
        self.assertFalse(await other.cancel("0" * 16))
        # Canceled from the other process.
        self.assertTrue(await other.cancel(job.document.id))
        found = await job.when_over()
        self.assertEqual("canceled", found.state)
        self.assertEqual({}, await other.at_work())
        left = await self.numbers(self.entry.parking)
        self.assertEqual(list(range(found.done, 60)), left)

    async def test_last_job(self) -> None:
        """Another process can tell how the last job ended, also after a look."""
        await self.park(10)
        found = await self.run_job("drop", filter=Filter(limit=4))
        other = self.engine()
        await other.look(self.entry.queue_name, Filter(), operator=OPERATOR)
        seen = await other.job(found.id)
        assert seen is not None
        self.assertEqual(("done", 4), (seen.state, seen.done))
        self.assertFalse(await other.cancel(found.id))

    async def test_other_program(self) -> None:
        """Another program that consumes the queue, and leaves no note."""
        await self.park(3)
        connection = await deferToThread(lambda: pika.BlockingConnection(pika.URLParameters(self.url)))
        channel = await deferToThread(connection.channel)
        await deferToThread(channel.basic_consume, self.entry.parking, print, exclusive=True)
        try:
            with self.assertRaises(ParkingBusy) as caught:
                await self.parking.look(self.entry.queue_name, Filter(), operator=OPERATOR)
            self.assertIn("another program consumes it", str(caught.exception))
        finally:
            await deferToThread(connection.close)

    async def test_looks_at_once(self) -> None:
        """Looks of one process wait for each other."""
        await self.park(200)
        looks = [
            Deferred.fromCoroutine(self.parking.look(self.entry.queue_name, Filter(), operator=OPERATOR))
            for _ in range(4)
        ]
        self.assertEqual([200] * 4, [(await each).matching for each in looks])
        self.assertEqual(list(range(200)), await self.numbers(self.entry.parking))

    async def test_stop(self) -> None:
        """A process that stops cancels its jobs, lets go of their messages, and begins no more."""
        await self.park(60)
        job = self.parking.start(JobRequest(action="replay", queue=self.entry.queue_name, operator=OPERATOR, rate=10))
        await job.counted()
        await self.parking.stop()
        self.assertEqual("canceled", job.document.state)
        sent, parked = await self.numbers(self.entry.queue_name), await self.numbers(self.entry.parking)
        self.assertEqual(list(range(60)), sorted(sent) + parked)
        with self.assertRaises(Draining):
            await self.parking.look(self.entry.queue_name, Filter(), operator=OPERATOR)
        with self.assertRaises(Draining):
            self.parking.start(JobRequest(action="drop", queue=self.entry.queue_name, operator=OPERATOR))
