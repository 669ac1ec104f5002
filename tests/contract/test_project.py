"""The project's own AMQP code: declaring, publishing and consuming through its endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from provider_gateway.amqp.declare import declare, declares
from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.amqp.topology_check import Finding, TopologyCheck
from provider_gateway.config.settings import Settings
from provider_gateway.errors import Nacked, NoRoute, TopologyError
from provider_gateway.message.message import Message
from provider_gateway.topology.result_objects import reply_queue
from tests.contract.brokers import on_both
from tests.contract.project import Project

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from provider_gateway.amqp.session import Session
    from provider_gateway.config.queue_file import QueueEntry


@on_both
class Declaring(Project):
    """The objects of an entry."""

    async def test_again(self) -> None:
        """An entry with a retry route is declared, and declared again."""
        session, entry = await self.session(), self.entry(dle=True, retryDelay=50)
        for _ in range(2):
            await declare(session, [entry])

    async def test_quorum(self) -> None:
        """So is an entry of quorum queues."""
        session, entry = await self.session(), self.entry(queueType="quorum", dle=True, retryDelay=50)
        for _ in range(2):
            await declare(session, [entry])

    async def test_mismatch(self) -> None:
        """The error names the object and argument that differ; the session stays open."""
        session = await self.session()
        await declare(session, [self.entry()])
        changed = self.entry(argQueue={"x-message-ttl": 5})
        error = await self.assert_fails(TopologyError, Deferred.fromCoroutine(declare(session, [changed])))
        self.assertTrue(error.is_final)
        self.assertIn(f"queue '{changed.queue_name}'", str(error))
        self.assertIn("inequivalent arg 'x-message-ttl'", str(error))
        await declare(session, [self.entry()])

    async def test_reply_queue(self) -> None:
        """An instance's reply queue is declared, and declared again."""
        session, name = await self.session(), self.name("out.instance")
        for _ in range(2):
            await declares(reply_queue(name, [self.entry()], expires=600))(session)

    async def test_login_refused(self) -> None:
        """Errors of a wrong password and an unknown virtual host have the broker's text."""
        for url, words in (
            (self.url.replace("demo:demo", "demo:wrong"), "403 ACCESS_REFUSED - Login was refused"),
            (f"{self.url}nowhere", "530 NOT_ALLOWED - vhost nowhere not found"),
        ):
            error = await self.assert_fails(ConnectionLost, Deferred.fromCoroutine(self.session(url)))
            self.assertIn(words, str(error))

    async def test_untyped_queues(self) -> None:
        """A queue that was declared without a type, as by the two Go services, and a classic one are the same."""
        session, entry = await self.session(), self.entry(durable=False, argQueue={"x-dead-letter-exchange": "dlx"})
        arguments = {"x-dead-letter-exchange": "dlx"}

        def declare_them(channel: BlockingChannel) -> None:
            channel.queue_declare(entry.queue_name, arguments=arguments)
            channel.queue_declare(entry.reply_to)

        await self.run_on_channel(declare_them)
        await declare(session, [entry])
        await self.run_on_channel(declare_them)

    async def test_check(self) -> None:
        """The check finds what is missing, right and different, and changes nothing."""
        session, entry = await self.session(), self.entry(dle=True, queueType="quorum")

        async def check(entry: QueueEntry) -> list[str]:
            found: list[Finding] = []
            settings = Settings(rmq_url=self.url, instance="one")
            await TopologyCheck(session, found.append).run([entry], ["gateway", "provider"], settings)
            return [text for text, _ in found]

        for _ in range(2):
            missing = await check(entry)
            self.assertEqual(len(missing), 6, missing)
            for text in missing:
                self.assertIn("is not there yet and will be declared at start", text)
        await declare(session, [entry])
        for _ in range(2):
            self.assertEqual(
                await check(entry), [f"queue {entry.queue_name!r} and its bindings are as the queue file says"]
            )
        [wrong] = await check(entry.model_copy(update={"retry_delay": 5}))
        self.assertIn(f"FAILED: queue {entry.retry_queue!r}", wrong)
        self.assertIn("set retryDelay to 60000", wrong)


@on_both
class Publishing(Project):
    """Outcomes of publishes."""

    async def test_confirmed(self) -> None:
        """A routed message is confirmed, and consumed as it was published."""
        session, entry = await self.session(), self.entry()
        await declare(session, [entry])
        publisher = await self.publisher(session)
        message = Message(b"{}", {"RqUID": "r"}, correlation_id="c", reply_to="out")
        await publisher.publish(message, entry.exchange, "predict.now")
        delivery = await (await self.consumer(session, entry.queue_name)).next()
        self.assertEqual((delivery.message.body, delivery.message.headers), (b"{}", {"RqUID": "r"}))
        self.assertEqual((delivery.message.correlation_id, delivery.message.reply_to), ("c", "out"))
        self.assertEqual((delivery.exchange, delivery.routing_key), (entry.exchange, "predict.now"))
        self.assertFalse(delivery.redelivered)
        self.assertTrue(delivery.ack())

    async def test_many(self) -> None:
        """Each of many concurrent publishes gets its own outcome, routed and returned ones alternating."""
        session, entry = await self.session(), self.entry()
        await declare(session, [entry])
        publisher = await self.publisher(session)
        keys = ["predict.now" if number % 2 else "nobody" for number in range(100)]
        attempts = [publisher.publish(Message(b"1"), entry.exchange, key) for key in keys]
        for key, attempt in zip(keys, attempts, strict=True):
            if key == "nobody":
                await self.assert_fails(NoRoute, attempt)
            else:
                await attempt

    async def test_no_route(self) -> None:
        """An unbound key fails with NoRoute, and so does a missing exchange."""
        session, entry = await self.session(), self.entry()
        await declare(session, [entry])
        publisher = await self.publisher(session)
        await self.assert_fails(NoRoute, publisher.publish(Message(b"1"), entry.exchange, "nobody"))
        await self.assert_fails(NoRoute, publisher.publish(Message(b"1"), "", self.name("missing")))
        await self.assert_fails(NoRoute, publisher.publish(Message(b"1"), self.name("missing"), "key"))
        await publisher.when_ready()
        await publisher.publish(Message(b"1"), entry.exchange, "predict.now")

    async def test_nacked(self) -> None:
        """A publish to a full queue with reject-publish fails with Nacked."""
        session = await self.session()
        entry = self.entry(argQueue={"x-max-length": 1, "x-overflow": "reject-publish"})
        await declare(session, [entry])
        publisher = await self.publisher(session)
        await publisher.publish(Message(b"1"), entry.exchange, "predict.now")
        await self.assert_fails(Nacked, publisher.publish(Message(b"2"), entry.exchange, "predict.now"))


@on_both
class Consuming(Project):
    """Deliveries, and retries."""

    async def test_ack(self) -> None:
        """The prefetch is kept; an acknowledgement brings the next message."""
        session, entry = await self.session(), self.entry()
        await declare(session, [entry])
        publisher = await self.publisher(session)
        for body in (b"1", b"2", b"3"):
            await publisher.publish(Message(body), entry.exchange, "predict.now")
        deliveries = await self.consumer(session, entry.queue_name, prefetch=1)
        for body in (b"1", b"2", b"3"):
            delivery = await deliveries.next()
            self.assertEqual((delivery.message.body, delivery.redelivered), (body, False))
            self.assertTrue(delivery.ack())

    async def test_redelivery(self) -> None:
        """Unacknowledged deliveries of a lost session come to the next one, redelivered."""
        session, entry = await self.session(), self.entry()
        await declare(session, [entry])
        publisher = await self.publisher(session)
        for body in (b"1", b"2"):
            await publisher.publish(Message(body), entry.exchange, "predict.now")
        lost = await self.session()
        deliveries = await self.consumer(lost, entry.queue_name)
        for _ in range(2):
            delivery = await deliveries.next()
        lost.abort()
        await lost.when_lost()
        self.assertFalse(delivery.ack())
        deliveries = await self.consumer(session, entry.queue_name)
        for body in (b"1", b"2"):
            delivery = await deliveries.next()
            self.assertEqual((delivery.message.body, delivery.redelivered), (body, True))
            delivery.ack()

    async def test_retry_route(self) -> None:
        """A copy in the retry queue comes back through the entry's return exchange, in both types of queues."""
        session = await self.session()
        for queue_type in ("classic", "quorum"):
            entry = self.entry(
                queueName=self.name(queue_type), queueType=queue_type, replyTo=None, dle=True, retryDelay=30
            )
            for name in (entry.parking, entry.retry_queue, entry.return_exchange):
                self._names.add(name)
            await declare(session, [entry])
            publisher = await self.publisher(session)
            deliveries = await self.consumer(session, entry.queue_name)
            await publisher.publish(Message(b"1", {"pg-attempts": 1}), "", entry.retry_queue)
            delivery = await deliveries.next()
            self.assertEqual((delivery.exchange, delivery.routing_key), (entry.return_exchange, entry.retry_queue))
            self.assertEqual(delivery.message.headers["pg-attempts"], 1)
            [death] = delivery.message.headers["x-death"]
            self.assertEqual((death["queue"], death["reason"]), (entry.retry_queue, "expired"))
            self.assertTrue(delivery.ack())

    async def test_delivery_limit(self) -> None:
        """A quorum queue's message over the delivery limit is parked; each delivery has its count."""
        session = await self.session()
        entry = self.entry(queueType="quorum", argQueue={"x-delivery-limit": 2})
        await declare(session, [entry])
        publisher = await self.publisher(session)
        await publisher.publish(Message(b"1"), entry.exchange, "predict.now")
        for returns in (None, 1, 2):
            lost = await self.session()
            deliveries = await self.consumer(lost, entry.queue_name)
            delivery = await deliveries.next()
            self.assertEqual(delivery.message.headers.get("x-delivery-count"), returns)
            self.assertEqual(delivery.redelivered, returns is not None)
            lost.abort()
            await lost.when_lost()
        deliveries = await self.consumer(session, entry.parking)
        delivery = await deliveries.next()
        [death] = delivery.message.headers["x-death"]
        self.assertEqual((death["queue"], death["reason"]), (entry.queue_name, "delivery_limit"))
        self.assertTrue(delivery.ack())

    async def test_queue_deleted(self) -> None:
        """A consumer whose queue is deleted declares and consumes it again."""
        session, entry = await self.session(), self.entry()
        again: Deferred[None] = Deferred()
        declared = 0

        async def declare_entry(session: Session) -> None:
            nonlocal declared
            await declare(session, [entry])
            declared += 1
            if declared == 2:
                again.callback(None)

        deliveries = await self.consumer(session, entry.queue_name, declare=declare_entry)
        await self.run_on_channel(lambda channel: channel.queue_delete(entry.queue_name))
        await again
        publisher = await self.publisher(session)
        await publisher.publish(Message(b"1"), entry.exchange, "predict.now")
        self.assertTrue((await deliveries.next()).ack())
