"""Our session, publisher, consumer and declarations with the embedded broker."""

from __future__ import annotations

from typing import Any

import pika
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.amqp.consumer import Consumer, Delivery
from provider_gateway.amqp.declare import declare, declares
from provider_gateway.amqp.publisher import Publisher
from provider_gateway.amqp.session import ConnectionLost, Session
from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.devbroker.server import Broker
from provider_gateway.errors import BrokerBlocked, Nacked, NoRoute, OutcomeUnknown, TopologyError
from provider_gateway.message.message import Message
from provider_gateway.observability.metrics import Metrics
from provider_gateway.topology.result_objects import reply_queue
from tests.support.embedded_broker import Link


class ClientTestCase(SynchronousTestCase):
    """A broker, a session on it, and an entry of the queue file."""

    queue_type = "classic"

    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = Broker({"guest": "guest"}, self.clock)
        self.links: list[Link] = []
        self.session = self.connected()
        self.entry = self.entry_with()
        self.delivered: list[Delivery] = []
        self.run_(declare(self.session, [self.entry]))

    def entry_with(self, **changes: Any) -> QueueEntry:
        names = {"queueName": "fib", "topic": "ML.MQ", "exchangeType": "topic", "bindingKey": ["predict.#"]}
        return QueueEntry.model_validate({**names, "dle": True, "queueType": self.queue_type, **changes})

    def connected(self) -> Session:
        session = Session(pika.ConnectionParameters(heartbeat=30), self.clock)
        self.links.append(Link(self.clock, self.broker, session))
        self.run_(session.open())
        return session

    def pump(self) -> None:
        for _ in range(3):
            for link in self.links:
                link.pump()

    def later(self, coroutine: Any) -> list[Any]:
        """Start a coroutine; returns a list to which its result is added."""
        outcome: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(outcome.append)
        self.pump()
        return outcome

    def run_(self, coroutine: Any) -> Any:
        (result,) = self.later(coroutine)
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def publisher(self) -> Publisher:
        async def nothing(_: Session) -> None:
            pass

        publisher = Publisher(nothing, max_unsent=1000, clock=self.clock, metrics=Metrics())
        self.run_(publisher.open(self.session))
        return publisher

    def publish(self, publisher: Publisher, key: str = "predict.now", exchange: str = "ML.MQ") -> Deferred[None]:
        published = publisher.publish(Message(b"{}", message_id=f"m{self.clock.seconds()}"), exchange, key)
        self.pump()
        return published

    def consumer(self, queue: str = "fib", prefetch: int = 10) -> Consumer:
        async def declare_it(session: Session) -> None:
            await declare(session, [self.entry])

        consumer = Consumer(
            queue, prefetch=prefetch, declare=declare_it, deliver=self.delivered.append, clock=self.clock
        )
        self.run_(consumer.open(self.session))
        return consumer


class TopologyTests(ClientTestCase):
    """Declarations of an entry of the queue file."""

    def test_again(self) -> None:
        """An entry can be declared again, on the same connection and on another."""
        self.run_(declare(self.connected(), [self.entry]))

    def test_mismatch(self) -> None:
        """A queue that exists with other arguments is a TopologyError with RabbitMQ's text."""
        other = self.entry_with(retryDelay=5000)
        failure = self.assertRaises(TopologyError, self.run_, declare(self.session, [other]))
        self.assertIn("inequivalent arg 'x-message-ttl' for queue 'fib.retry' in vhost '/'", str(failure))
        self.assertIn("received '5000' but current is '60000'", str(failure))

    def test_reply_queue(self) -> None:
        """The reply queue of an instance can be declared again."""
        for _ in range(2):
            self.run_(declares(reply_queue("replies.1", [self.entry], expires=600))(self.session))


class PublisherTests(ClientTestCase):
    """Outcomes of a publish."""

    def test_outcomes(self) -> None:
        """A publish is confirmed, returned, refused for a missing exchange, nacked, or its outcome is unknown."""
        publisher = self.publisher()
        self.successResultOf(self.publish(publisher))
        self.failureResultOf(self.publish(publisher, "nobody"), NoRoute)
        self.broker.faults.nack_publishes()
        self.failureResultOf(self.publish(publisher), Nacked)
        self.broker.faults.swallow_confirms()
        unknown = self.publish(publisher)
        self.assertNoResult(unknown)
        self.broker.faults.cut_frames()
        self.publish(publisher).addErrback(lambda _: None)
        self.pump()
        self.failureResultOf(unknown, OutcomeUnknown)

    def test_missing_exchange(self) -> None:
        """A missing exchange closes the channel; the publisher opens another."""
        publisher = self.publisher()
        self.failureResultOf(self.publish(publisher, exchange="none"), NoRoute)
        self.clock.advance(1)
        self.pump()
        self.successResultOf(self.publish(publisher))

    def test_out_of_order(self) -> None:
        """Confirms that come out of order reach their publishes."""
        publisher = self.publisher()
        self.broker.faults.hold_confirms()
        published = [self.publish(publisher) for _ in range(3)]
        self.broker.faults.release_confirms(backwards=True)
        self.pump()
        for each in published:
            self.successResultOf(each)

    def test_blocked(self) -> None:
        """Nothing is published while the broker blocks publishers."""
        publisher = self.publisher()
        self.broker.faults.block()
        self.pump()
        self.failureResultOf(self.publish(publisher), BrokerBlocked)
        self.broker.faults.unblock()
        self.pump()
        self.successResultOf(self.publish(publisher))


class ConsumerTests(ClientTestCase):
    """Deliveries, retry and parking."""

    def test_prefetch(self) -> None:
        """A consumer gets as many deliveries as its prefetch, and one more for each that it acknowledges."""
        publisher = self.publisher()
        self.consumer(prefetch=2)
        for _ in range(3):
            self.publish(publisher)
        self.assertEqual(len(self.delivered), 2)
        self.delivered[0].ack()
        self.pump()
        self.assertEqual(len(self.delivered), 3)

    def test_retry(self) -> None:
        """A copy in the retry queue comes back through the return exchange after the delay."""
        publisher = self.publisher()
        self.consumer()
        self.successResultOf(self.publish(publisher, "fib.retry", ""))
        self.clock.advance(59)
        self.pump()
        self.assertEqual(self.delivered, [])
        self.clock.advance(1)
        self.pump()
        (delivery,) = self.delivered
        self.assertEqual((delivery.exchange, delivery.redelivered), ("fib.return", False))
        (death,) = delivery.message.headers["x-death"]
        self.assertEqual((death["queue"], death["reason"]), ("fib.retry", "expired"))

    def test_parking(self) -> None:
        """A message in the parking queue stays there."""
        self.successResultOf(self.publish(self.publisher(), "fib.parking", ""))
        self.clock.advance(100_000)  # nobody beats for that long
        self.pump()
        self.session = self.connected()
        self.consumer("fib.parking")
        self.assertEqual(len(self.delivered), 1)

    def test_connection_lost(self) -> None:
        """Unacknowledged deliveries of a lost session are redelivered to the next one."""
        self.consumer()
        self.successResultOf(self.publish(self.publisher()))
        self.session.abort()
        self.pump()
        self.session = self.connected()
        self.consumer()
        self.assertEqual([each.redelivered for each in self.delivered], [False, True])

    def test_queue_deleted(self) -> None:
        """A consumer whose queue is deleted declares it again and goes on."""
        consumer = self.consumer()
        self.run_(self.delete("fib"))
        self.clock.advance(1)
        self.pump()
        self.assertTrue(consumer.is_registered)
        self.successResultOf(self.publish(self.publisher()))
        self.assertEqual(len(self.delivered), 1)

    async def delete(self, queue: str) -> None:
        channel = await self.session.channel()
        await channel.queue_delete(queue)


class QuorumTests(ConsumerTests):
    """The same tests with quorum queues."""

    queue_type = "quorum"


class SessionTests(ClientTestCase):
    """The end of a session."""

    def test_close(self) -> None:
        """A session closes with Close and Close-Ok."""
        closing = self.session.close()
        self.pump()
        self.assertEqual(str(self.successResultOf(closing)), "closed by us")

    def test_refused(self) -> None:
        """A refused login ends the session with the broker's reason."""
        credentials = pika.PlainCredentials("guest", "wrong")
        session = Session(pika.ConnectionParameters(credentials=credentials), self.clock)
        self.links.append(Link(self.clock, self.broker, session))
        failure = self.assertRaises(ConnectionLost, self.run_, session.open())
        self.assertIn("403 ACCESS_REFUSED - Login was refused", str(failure))

    def test_heartbeats(self) -> None:
        """Heartbeats keep an idle session open."""
        for _ in range(20):
            self.clock.advance(10)
            self.pump()
        self.assertTrue(self.session.is_open)
