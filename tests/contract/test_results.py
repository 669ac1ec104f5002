"""What gateways with a result store use at the broker: dead-lettered reply queues, and notices."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from provider_gateway.amqp.declare import declares
from provider_gateway.amqp.notice_queue import NoticeQueue
from provider_gateway.amqp.notices import NoticePublisher
from provider_gateway.message.message import Message
from provider_gateway.topology.declarations import Exchange
from provider_gateway.topology.result_objects import reply_queue, results_queue
from tests.contract.brokers import on_both
from tests.contract.project import Project


class _Heard:
    """What a queue for notices heard, and when it was bound."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.bound = 0
        self._waiting: list[Deferred[None]] = []

    def hear(self, key: str) -> None:
        self.keys.append(key)
        self._tell()

    def bind(self) -> None:
        self.bound += 1
        self._tell()

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    async def until(self, key: str | None = None, bound: int = 0) -> None:
        """Wait until a key was heard, and the queue was bound so often."""
        while (key is not None and key not in self.keys) or self.bound < bound:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            await waiting


@on_both
class ReplyQueues(Project):
    """Reply queues of instances that dead-letter."""

    async def test_dead_lettered(self) -> None:
        """A reply that an instance does not take goes to the results queue, in both types of queues."""
        session = await self.session()
        for queue_type in ("classic", "quorum"):
            entry = self.entry(queueName=self.name(f"{queue_type}.in"), queueType=queue_type)
            results = replace(results_queue([entry]), name=self.name(f"{queue_type}.results"))
            name = self.name(f"{queue_type}.one")
            for _ in range(2):
                await declares(results, reply_queue(name, [entry], expires=2, results=results.name))(session)
            publisher = await self.publisher(session)
            await publisher.publish(Message(b"1", {"pg-owner": "alice"}, correlation_id="c"), "", name)
            delivery = await (await self.consumer(session, results.name)).next()
            self.assertEqual((delivery.message.body, delivery.message.correlation_id), (b"1", "c"))
            self.assertEqual(delivery.message.headers["pg-owner"], "alice")
            [death] = delivery.message.headers["x-death"]
            self.assertEqual((death["queue"], death["reason"]), (name, "expired"))
            self.assertTrue(delivery.ack())

    async def test_taken(self) -> None:
        """A reply that its instance holds unacknowledged stays there, however long."""
        session, entry = await self.session(), self.entry()
        results = replace(results_queue([entry]), name=self.name("results"))
        names = [self.name("one"), self.name("other")]
        await declares(results, *(reply_queue(each, [entry], expires=1, results=results.name) for each in names))(
            session
        )
        publisher = await self.publisher(session)
        await publisher.publish(Message(b"1"), "", names[0])
        held = await (await self.consumer(session, names[0])).next()
        await publisher.publish(Message(b"2"), "", names[1])  # has expired when the first one would have
        delivery = await (await self.consumer(session, results.name)).next()
        self.assertEqual(delivery.message.body, b"2")
        self.assertTrue(held.ack())


@on_both
class Notices(Project):
    """A publisher of notices, and a queue that is bound by keys."""

    async def setUp(self) -> None:
        await super().setUp()
        self.exchange = Exchange(self.name("done"), "direct")
        self.heard = _Heard()
        self.publisher_of_notices = NoticePublisher(declares(self.exchange), reactor)
        self.queue_of_notices = NoticeQueue(
            self.name("notices"),
            self.exchange,
            on_notice=self.heard.hear,
            on_bound=self.heard.bind,
            clock=reactor,
        )
        await self.publisher_of_notices.open(await self.session())
        self.consuming = await self.session()
        await self.queue_of_notices.open(self.consuming)

    def notify(self, *keys: str) -> None:
        for key in keys:
            self.publisher_of_notices.notify(self.exchange.name, key)

    async def bind(self, key: str) -> None:
        self.assertTrue(await self.queue_of_notices.bind(key))

    async def test_heard(self) -> None:
        """Notices are heard by who is bound by their key; others are dropped, and end no channel."""
        await self.bind("a")
        await self.bind("b")
        self.queue_of_notices.unbind("b")
        await self.bind("c")  # behind the unbinding
        self.notify("nobody", "b", "a", "c")
        await self.heard.until("c")
        self.assertEqual(self.heard.keys, ["a", "c"])

    async def test_fanout(self) -> None:
        """Every queue of a fanout exchange hears all."""
        canceled, heard = Exchange(self.name("canceled"), "fanout"), [_Heard(), _Heard()]
        for each in heard:
            queue = NoticeQueue(self.name("each"), canceled, keys=[""], on_notice=each.hear, clock=reactor)
            await queue.open(await self.session())
        self.publisher_of_notices.notify(canceled.name, "x")
        for each in heard:
            await each.until("x")

    async def test_connection_lost(self) -> None:
        """After a loss, a new queue is bound by the same keys; the old one goes with its connection."""
        await self.bind("a")
        self.consuming.abort()
        await self.consuming.when_lost()
        self.assertFalse(await self.queue_of_notices.bind("b"))
        await self.queue_of_notices.open(await self.session())
        self.assertEqual(self.heard.bound, 2)
        self.notify("a", "b")
        await self.heard.until("b")
        self.assertEqual(self.heard.keys, ["a", "b"])

    async def test_exchange_deleted(self) -> None:
        """Both sides declare an exchange again that somebody deleted; a notice of that time is repeated."""
        await self.bind("a")
        await self.run_on_channel(lambda channel: channel.exchange_delete(self.exchange.name))
        self.assertFalse(await self.queue_of_notices.bind("b"))
        self.notify("b")
        await self.heard.until(bound=2)
        self.notify("a")
        await self.heard.until("a")
