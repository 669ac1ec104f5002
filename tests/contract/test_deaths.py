"""The x-death header, cycles of dead letters, and the retry route that the project relies on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pika
from pika import frame, spec

from tests.contract.base import BrokerContract, Inbox, on_channel
from tests.contract.brokers import on_both

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel


@on_both
class Deaths(BrokerContract):
    """The header x-death, and the headers of the first death."""

    def reject(self, channel: BlockingChannel, queue: str) -> None:
        """Wait for a message of a queue and reject it without requeue."""
        inbox = Inbox(channel, queue, auto_ack=False)
        inbox.wait(1)
        channel.basic_cancel(inbox.tag)
        channel.basic_reject(inbox.tags[0], requeue=False)

    @on_channel
    def test_first(self, channel: BlockingChannel) -> None:
        """x-death has queue, reason, time, count, exchange and routing keys; since 4.0, there is x-last-death-*."""
        name, work, dead = self.exchange(channel, "topic"), self.name("work"), self.queue(channel, "dead")
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
        channel.queue_declare(work, arguments=arguments)
        channel.queue_bind(work, name, "#")
        self.publish(channel, "a.b", exchange=name)
        self.reject(channel, work)
        [(_, properties, _)] = self.take(channel, dead)
        [death] = properties.headers["x-death"]
        age = datetime.now(UTC) - death.pop("time")
        self.assertLess(abs(age.total_seconds()), 10)
        self.assertEqual(
            death, {"count": 1, "reason": "rejected", "queue": work, "exchange": name, "routing-keys": ["a.b"]}
        )
        self.assert_other_headers(properties, queue=work, reason="rejected", exchange=name)

    def assert_other_headers(self, properties: Any, **death: str) -> None:
        """Check that the headers besides x-death tell of this one death only."""
        which = ("first", "last") if self.since_4 else ("first",)
        self.assertEqual(
            {key: value for key, value in properties.headers.items() if key != "x-death"},
            {f"x-{each}-death-{key}": value for each in which for key, value in death.items()},
        )

    @on_channel
    def test_original_expiration(self, channel: BlockingChannel) -> None:
        """x-death has the removed expiration of the message, but not the queue's time to live."""
        dead = self.queue(channel, "dead")
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
        own, queues = (
            self.queue(channel, "own", arguments),
            self.queue(channel, "queues", {**arguments, "x-message-ttl": 1}),
        )
        self.publish(channel, own, expiration="1")
        [(_, properties, _)] = self.take(channel, dead)
        [death] = properties.headers["x-death"]
        self.assertEqual((death["original-expiration"], death["reason"]), ("1", "expired"))
        self.publish(channel, queues)
        [(_, properties, _)] = self.take(channel, dead)
        self.assertNotIn("original-expiration", properties.headers["x-death"][0])

    @on_channel
    def test_newest_first(self, channel: BlockingChannel) -> None:
        """The newest death comes first; the headers of the first death stay."""
        third = self.queue(channel, "third")
        second = self.queue(
            channel,
            "second",
            {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": third, "x-message-ttl": 20},
        )
        first = self.queue(channel, "first", {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": second})
        self.publish(channel, first)
        self.reject(channel, first)
        [(_, properties, _)] = self.take(channel, third)
        deaths = [(each["queue"], each["reason"], each["routing-keys"]) for each in properties.headers["x-death"]]
        self.assertEqual(deaths, [(second, "expired", [second]), (first, "rejected", [first])])
        self.assertEqual(properties.headers["x-first-death-queue"], first)
        self.assertEqual(properties.headers["x-first-death-reason"], "rejected")

    @on_channel
    def test_counts(self, channel: BlockingChannel) -> None:
        """Deaths in one queue for one reason are counted in one record; another reason has another record."""
        work = self.name("work")
        waiting = self.queue(
            channel,
            "waiting",
            {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": work, "x-message-ttl": 10},
        )
        channel.queue_declare(work, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": waiting})
        self.publish(channel, work)
        for _ in range(3):
            self.reject(channel, work)
        [(_, properties, _)] = self.take(channel, work)
        deaths = [(each["queue"], each["reason"], each["count"]) for each in properties.headers["x-death"]]
        self.assertEqual(deaths, [(waiting, "expired", 3), (work, "rejected", 3)])

    @on_channel
    def test_reasons(self, channel: BlockingChannel) -> None:
        """Rejected and expired in one queue are two records; the one that is counted up moves to the front.

        Since 4.0, the broker forgets them when a client publishes the message again.
        """
        dead = self.queue(channel, "dead")
        work = self.queue(channel, "work", {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
        self.publish(channel, work)
        for how in ("rejected", "expired", "rejected"):
            if how == "rejected":
                self.reject(channel, work)
            [(_, properties, body)] = self.take(channel, dead)
            properties.expiration = "1" if how == "rejected" else None
            channel.basic_publish("", work, body, self.copied(properties))
        [(_, properties, _)] = self.take(channel, dead)
        deaths = [(each["queue"], each["reason"], each["count"]) for each in properties.headers["x-death"]]
        since_4 = [(work, "expired", 1)]
        self.assertEqual(deaths, since_4 if self.since_4 else [(work, "expired", 2), (work, "rejected", 2)])

    @on_channel
    def test_record_of_a_client(self, channel: BlockingChannel) -> None:
        """A client's record without a count is counted from 1; a header name in other case is another header.

        Since 4.0, what a client writes is delivered, and replaced when the message is dead-lettered.
        """
        dead = self.queue(channel, "dead")
        work = self.queue(channel, "work", {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
        written = {"queue": work, "reason": "rejected", "mine": 7}
        given = {"x-death": [written], **({"x-first-death-queue": "mine"} if self.since_4 else {})}
        self.publish(channel, work, headers=given)
        method, properties, _ = channel.basic_get(work)
        self.assertEqual(properties.headers, given)
        channel.basic_reject(method.delivery_tag, requeue=False)
        [(_, properties, _)] = self.take(channel, dead)
        if self.since_4:
            [death] = properties.headers["x-death"]
            self.assertEqual((death["count"], death["exchange"], "mine" in death), (1, "", False))
            self.assert_other_headers(properties, queue=work, reason="rejected", exchange="")
        else:
            self.assertEqual(properties.headers, {"x-death": [{**written, "count": 1}]})
        self.publish(channel, work, headers={"X-Death": "mine"})
        self.reject(channel, work)
        [(_, properties, _)] = self.take(channel, dead)
        self.assertEqual((properties.headers["X-Death"], len(properties.headers["x-death"])), ("mine", 1))

    @on_channel
    def test_odd_key(self, channel: BlockingChannel) -> None:
        """A routing key that is not UTF-8 is routed by its bytes; dead-lettering works as usual."""
        dead, client, name = self.queue(channel, "dead"), self.wire(), self.exchange(channel, "topic")
        work = self.queue(channel, "work", {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
        channel.queue_bind(work, name, "#")
        client.send(1, spec.Basic.Publish(exchange=name, routing_key=b"a.\xff"))
        client.send_bytes(frame.Header(1, 0, pika.BasicProperties()).marshal())
        self.wait_for_count(channel, work, 1)
        got = client.get(1, work)
        self.assertEqual(got.method.routing_key, b"a.\xff")
        client.send(1, spec.Basic.Reject(got.method.delivery_tag, requeue=False))
        [(_, properties, _)] = self.take(channel, dead)
        [death] = properties.headers["x-death"]
        self.assertEqual((death["reason"], death["queue"]), ("rejected", work))

    def copied(self, properties: Any) -> pika.BasicProperties:
        """Properties for a client's copy of a message."""
        return pika.BasicProperties(headers=properties.headers, expiration=properties.expiration)


@on_both
class Cycles(BrokerContract):
    """Dead letters that come back to a queue where they were."""

    @on_channel
    def test_dropped(self, channel: BlockingChannel) -> None:
        """A message that expires and is routed back to its queue without a rejection is dropped, only there."""
        name, witness = self.exchange(channel, "fanout"), self.queue(channel, "witness")
        work = self.queue(channel, "work", {"x-dead-letter-exchange": name, "x-message-ttl": 15})
        for queue in (work, witness):
            channel.queue_bind(queue, name)
        self.publish(channel, work, b"1")
        self.assertEqual(self.take(channel, witness)[0][2], b"1")
        self.publish(channel, work, b"2")
        # Had the first message come back, it would have arrived earlier.
        self.assertEqual(self.take(channel, witness)[0][2], b"2")
        self.assertEqual((self.count(channel, work), self.count(channel, witness)), (0, 0))

    @on_channel
    def test_over_two(self, channel: BlockingChannel) -> None:
        """A cycle over two queues counts as well: the first queue does not get the message again."""
        name, witness = self.exchange(channel, "fanout"), self.queue(channel, "witness")
        second = self.queue(channel, "second", {"x-dead-letter-exchange": name, "x-message-ttl": 10})
        first = self.queue(
            channel,
            "first",
            {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": second, "x-message-ttl": 10},
        )
        for queue in (first, witness):
            channel.queue_bind(queue, name)
        for body in (b"1", b"2"):
            self.publish(channel, first, body)
            self.assertEqual(self.take(channel, witness)[0][2], body)
        self.assertEqual((self.count(channel, first), self.count(channel, second)), (0, 0))

    @on_channel
    def test_rejection(self, channel: BlockingChannel) -> None:
        """With a rejection in the cycle the message goes on: a consumer decided it."""
        work = self.name("work")
        channel.queue_declare(work, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": work})
        self.publish(channel, work)
        inbox = Inbox(channel, work, auto_ack=False)
        for number in range(3):
            inbox.wait(number + 1)
            channel.basic_reject(inbox.tags[number], requeue=False)
        inbox.wait(4)
        [death] = inbox.messages[3][1].headers["x-death"]
        self.assertEqual((death["count"], death["reason"]), (3, "rejected"))
        self.assertFalse(inbox.messages[3][0].redelivered)


@on_both
class RetryRoute(BrokerContract):
    """A work queue, a retry queue with a time to live, and a fanout exchange that leads back."""

    def declare(self, channel: BlockingChannel) -> tuple[str, str, str]:
        """Declare the route; returns the names of the work queue, the retry queue and the return exchange."""
        back = self.exchange(channel, "fanout", "return", durable=True)
        work = self.queue(channel, "work", durable=True)
        arguments = {"x-message-ttl": 30, "x-dead-letter-exchange": back}
        retry = self.queue(channel, "retry", arguments, durable=True)
        channel.queue_bind(work, back)
        return work, retry, back

    @on_channel
    def test_copy_returns(self, channel: BlockingChannel) -> None:
        """A copy in the retry queue comes to the work queue through the return exchange, with the retry queue's key."""
        work, retry, back = self.declare(channel)
        channel.basic_publish("", retry, b"1", pika.BasicProperties(headers={"pg-attempts": 1}, delivery_mode=2))
        [(method, properties, body)] = self.take(channel, work)
        self.assertEqual((method.exchange, method.routing_key, method.redelivered), (back, retry, False))
        self.assertEqual((body, properties.headers["pg-attempts"], properties.delivery_mode), (b"1", 1, 2))
        [death] = properties.headers["x-death"]
        self.assertEqual((death["queue"], death["reason"], death["count"]), (retry, "expired", 1))
        self.assertEqual((death["exchange"], death["routing-keys"]), ("", [retry]))

    @on_channel
    def test_again_and_again(self, channel: BlockingChannel) -> None:
        """Copies that keep x-death are never dropped as a cycle; it is counted up, and since 4.0 begins anew."""
        work, retry, _ = self.declare(channel)
        inbox = Inbox(channel, work, auto_ack=False)
        channel.basic_publish("", retry, b"1", pika.BasicProperties(headers={}))
        for number in range(3):
            inbox.wait(number + 1)
            method, properties, body = inbox.messages[number]
            [death] = properties.headers["x-death"]
            self.assertEqual((death["queue"], death["count"]), (retry, 1 if self.since_4 else number + 1))
            channel.basic_publish("", retry, body, pika.BasicProperties(headers=properties.headers))
            channel.basic_ack(method.delivery_tag)

    @on_channel
    def test_order(self, channel: BlockingChannel) -> None:
        """Messages come back in the order in which they went to wait."""
        work, retry, _ = self.declare(channel)
        bodies = [str(number).encode() for number in range(10)]
        self.publish(channel, retry, *bodies)
        self.assertEqual([body for _, _, body in self.take(channel, work, len(bodies))], bodies)
