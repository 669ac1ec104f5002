"""What looks into parking queues rely on, and that they and jobs lose and disturb nothing, on both brokers."""

from __future__ import annotations

import struct
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pika
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.config.settings import Settings
from provider_gateway.deferreds import sleep
from provider_gateway.errors import Draining
from provider_gateway.parking.errors import CountChanged, NoSuchMessage, NoSuchQueue, ParkingBusy, ParkingUnusable
from provider_gateway.parking.filters import Filter
from provider_gateway.parking.jobs import JobRequest
from provider_gateway.parking.operators import Operator
from provider_gateway.parking.parking import Parking
from provider_gateway.parking.places import places_of
from provider_gateway.topology.declarations import Binding, Exchange, Queue, objects_of
from tests.contract.base import BrokerContract
from tests.contract.brokers import on_both

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel

    from provider_gateway.parking.jobs import JobDocument

#: A morning in 2026, in milliseconds.
MORNING = 1_769_850_000_000
OPERATOR = Operator("olga", "10.0.0.7")


class ParkingContract(BrokerContract):
    """A work queue with its parking queue, and the engine.

    Attributes:
        kind: type of the queues.
        lines: the audit log.
    """

    kind = "classic"

    async def setUp(self) -> None:
        await super().setUp()
        self.lines: list[Any] = []
        self.entry = self.new_entry("work")
        self.parking = self.engine()
        await self.use(self.declare)

    def new_entry(self, what: str, **keys: Any) -> QueueEntry:
        """An entry; all its objects are deleted after the test."""
        name = self.name(what)
        for each in ("parking", "return", "parking.operator"):
            self.name(f"{what}.{each}")
        given = {"topic": self.name("topic"), "queueName": name, "bindingKey": "predict.*", "queueType": self.kind}
        return QueueEntry.model_validate({**given, **keys})

    def engine(self, *entries: QueueEntry, **options: Any) -> Parking:
        """The engine of another process."""
        given = entries or (self.entry,)
        settings = Settings(_env_file=None, rmq_url=self.url, model_url="http://127.0.0.1:1/")  # type: ignore[call-arg]
        places = places_of(given, webhooks=False)
        made = Parking(
            reactor, settings, given, tls=None, places=places, audit=self.lines.append, wall_clock=time.time, **options
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(made.stop()))
        return made

    def use(self, use: Callable[[BlockingChannel], Any]) -> Deferred[Any]:
        """Do something at the broker as another program."""
        return self.run_on_channel(use)

    def declare(self, channel: BlockingChannel, entry: QueueEntry | None = None) -> None:
        """Declare an entry's objects."""
        for each in objects_of(entry or self.entry):
            if isinstance(each, Exchange):
                channel.exchange_declare(each.name, each.type, durable=each.durable)
            elif isinstance(each, Queue):
                channel.queue_declare(each.name, durable=each.durable, arguments=dict(each.arguments))
            elif isinstance(each, Binding):
                channel.queue_bind(each.queue, each.exchange, each.key)

    def park(self, count: int, *, first: int = 0, size: int = 10, **more: Any) -> Deferred[Any]:
        """Park messages as the provider does: their bodies begin with their numbers, and every third has timed out."""

        def publish(channel: BlockingChannel) -> None:
            plain = channel.connection.channel()
            for number in range(first, first + count):
                headers = {
                    "RqUID": f"r-{number}", "pg-queue": self.entry.queue_name, "pg-attempt": 5, "pg-copy": f"c{number}",
                    "pg-reason": "5xx" if number % 3 else "timeout", "pg-parked-at": MORNING + number,
                    "pg-routing-key": "predict.now", "X-Mine": "kept", **more.get("headers", {}),
                }  # fmt: skip
                given = {"reply_to": "elsewhere", "message_id": f"m{number}", "correlation_id": f"k{number}"}
                given |= {name: value for name, value in more.items() if name != "headers"}
                properties = pika.BasicProperties(headers=headers, delivery_mode=2, **given)
                plain.basic_publish("", self.entry.parking, b"%d %b" % (number, b"x" * size), properties)
            self.wait_for_count(channel, self.entry.parking, first + count)

        return self.use(publish)

    def numbers(self, queue: str) -> Deferred[list[int]]:
        """The numbers of the messages in a queue, in their order; they stay."""

        def read(channel: BlockingChannel) -> list[int]:
            found = []
            for _ in range(self.count(channel, queue)):
                found.append(int(channel.basic_get(queue)[2].split()[0]))
            return found

        return self.use(read)

    def taken(self, queue: str) -> Deferred[list[tuple[Any, Any, bytes]]]:
        """All messages of a queue, taken from it: method, properties and body of each."""

        def take(channel: BlockingChannel) -> list[tuple[Any, Any, bytes]]:
            return [channel.basic_get(queue, auto_ack=True) for _ in range(self.count(channel, queue))]

        return self.use(take)

    def run_job(
        self, action: Any = "replay", *, engine: Parking | None = None, **request: Any
    ) -> Deferred[JobDocument]:
        """Run a job to its end."""
        given = {"queue": self.entry.queue_name, "operator": OPERATOR, **request}
        return (engine or self.parking).start(JobRequest(action=action, **given)).when_over()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something holds."""
        for _ in range(1000):
            if condition():
                return
            await sleep(reactor, 0.01)  # type: ignore[arg-type] # zope interfaces
        self.fail("what was waited for did not happen")


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


class Jobs(ParkingContract):
    """Jobs act on what matches, and on nothing else."""

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


@on_both
class LooksClassic(Looks):
    """Classic queues."""


@on_both
class LooksQuorum(Looks):
    """Quorum queues."""

    kind = "quorum"


@on_both
class JobsClassic(Jobs):
    """Classic queues."""


@on_both
class JobsQuorum(Jobs):
    """Quorum queues."""

    kind = "quorum"
