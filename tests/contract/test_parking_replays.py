"""Replays of parked messages, on both brokers: each is published as if it were new, or it stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.parking.filters import Filter
from tests.contract.parking import OPERATOR, ParkingContract, on_both_types

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel


@on_both_types
class Replays(ParkingContract):
    """What matches goes back to its work queue; what the broker does not take stays."""

    async def test_replay(self) -> None:
        """What matches is published to the work queue with its key, as if it were new; all else stays, in order."""
        await self.park(700)
        found = await self.run_job(filter=Filter(reasons=frozenset({"timeout"})), why="the model is mended")
        self.assertEqual(("done", 234, 234, 0, 0, 0, ""), (
            found.state, found.total, found.done, found.skipped, found.missing, found.failed, found.error,
        ))  # fmt: skip
        self.assertEqual([n for n in range(700) if n % 3], await self.numbers(self.entry.parking))
        messages = await self.taken(self.entry.queue_name)
        self.assertEqual(list(range(0, 700, 3)), sorted(int(body.split()[0]) for _, _, body in messages))
        method, properties, body = messages[0]
        self.assertEqual((self.entry.return_exchange, "predict.now"), (method.exchange, method.routing_key))
        number = int(body.split()[0])
        self.assertEqual((f"m{number}", f"k{number}", "elsewhere", 2), (
            properties.message_id, properties.correlation_id, properties.reply_to, properties.delivery_mode,
        ))  # fmt: skip
        headers = properties.headers
        self.assertNotEqual(f"c{number}", headers.pop("pg-copy"))
        headers.pop("x-delivery-count", None)
        self.assertEqual(
            {
                "RqUID": f"r-{number}", "X-Mine": "kept", "pg-queue": self.entry.queue_name, "pg-reason": "replayed",
                "pg-attempt": 1, "pg-redeliveries": 0, "pg-replays": 1, "pg-routing-key": "predict.now",
            },
            headers,
        )  # fmt: skip
        self.assertEqual(234, len(self.lines))
        self.assertEqual({("replayed", "olga", "the model is mended", found.id)}, {
            (line["event"], line["operator"], line["why"], line["job"]) for line in self.lines
        })  # fmt: skip

    async def test_dry_run(self) -> None:
        """A dry run says what would be done."""
        await self.park(20)
        found = await self.run_job(dry_run=True, filter=Filter(reasons=frozenset({"timeout"})))
        self.assertEqual(("done", 7, 7, 0), (found.state, found.total, found.done, found.missing))
        self.assertEqual((list(range(20)), []), (await self.numbers(self.entry.parking), self.lines))

    async def test_max_replays(self) -> None:
        """What was replayed ``maxReplays`` times is left, unless it is forced."""
        await self.park(4, headers={"pg-replays": 2})
        await self.park(4, first=4, headers={"pg-replays": 3})
        found = await self.run_job()
        self.assertEqual((4, 4, 4), (found.total, found.done, found.skipped))
        self.assertEqual([4, 5, 6, 7], await self.numbers(self.entry.parking))
        replays = [properties.headers["pg-replays"] for _, properties, _ in await self.taken(self.entry.queue_name)]
        self.assertEqual([3, 3, 3, 3], replays)
        found = await self.run_job(force=True)
        self.assertEqual((4, 0), (found.done, found.skipped))

    async def test_not_taken(self) -> None:
        """Messages that the broker cannot route stay, and the job says why."""
        await self.park(5)
        await self.use(lambda channel: channel.queue_delete(self.entry.queue_name))
        found = await self.run_job()
        self.assertEqual(("done", 0, 5), (found.state, found.done, found.failed))
        self.assertIn("no queue is bound", found.error)
        await self.use(lambda channel: channel.exchange_delete(self.entry.return_exchange))
        found = await self.run_job()
        self.assertEqual((0, 5, []), (found.done, found.failed, self.lines))
        self.assertEqual(list(range(5)), await self.numbers(self.entry.parking))

    async def test_none_is_taken(self) -> None:
        """When many in a row are not taken, the job ends: the others would not be, either."""
        await self.park(60)
        await self.use(lambda channel: channel.queue_delete(self.entry.queue_name))
        found = await self.run_job()
        self.assertEqual("failed", found.state)
        self.assertLess(found.failed, 60)
        self.assertIn("no queue is bound", found.error)
        self.assertEqual(list(range(60)), await self.numbers(self.entry.parking))

    async def test_full_queue(self) -> None:
        """A work queue that takes no more: what it took is gone, what it refused stays."""

        def declare_full(channel: BlockingChannel) -> None:
            channel.queue_delete(self.entry.queue_name)
            arguments = {"x-queue-type": "classic", "x-max-length": 10, "x-overflow": "reject-publish"}
            channel.queue_declare(self.entry.queue_name, arguments=arguments)
            channel.queue_bind(self.entry.queue_name, self.entry.return_exchange)

        await self.park(20)
        await self.use(declare_full)
        found = await self.run_job()
        self.assertEqual(("done", 10, 10), (found.state, found.done, found.failed))
        there, parked = await self.numbers(self.entry.queue_name), await self.numbers(self.entry.parking)
        self.assertEqual(list(range(20)), sorted(there + parked))

    async def test_dead_lettered(self) -> None:
        """A message that the broker dead-lettered has the broker's reason, and goes back with its own key."""

        def reject(channel: BlockingChannel) -> None:
            work = f"{self.entry.queue_name}.dead"
            self._names.add(work)
            arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.entry.parking}
            channel.queue_declare(work, arguments=arguments)
            channel.queue_bind(work, self.entry.exchange, "predict.late")
            self.publish(channel, "predict.late", b"7", exchange=self.entry.exchange, headers={"pg-reason": "forged"})
            self.wait_for_count(channel, work, 1)
            method, _, _ = channel.basic_get(work)
            channel.basic_reject(method.delivery_tag, requeue=False)
            self.wait_for_count(channel, self.entry.parking, 1)

        # The message comes to the work queue, too.
        await self.use(reject)
        await self.use(lambda channel: channel.queue_purge(self.entry.queue_name))
        (message,) = (await self.parking.look(self.entry.queue_name, Filter(), operator=OPERATOR)).messages
        self.assertEqual(("rejected", "predict.late"), (message.reason, message.routing_key))
        self.assertIsNotNone(message.parked_at)
        self.assertEqual(1, (await self.run_job()).done)
        ((method, properties, _),) = await self.taken(self.entry.queue_name)
        self.assertEqual("predict.late", method.routing_key)
        self.assertNotIn("x-death", properties.headers)
