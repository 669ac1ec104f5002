"""Dead letters: which messages leave a queue without an acknowledgement, where they go, and their headers."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pika
from pika.exceptions import NackError

from tests.contract.base import BrokerContract, Inbox, on_channel
from tests.contract.brokers import on_both

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel


class _DeadLetters(BrokerContract):
    """Queues with a dead-letter exchange."""

    def leading_to(self, channel: BlockingChannel, dead: str, what: str = "work", **arguments: Any) -> str:
        """Declare a queue whose dead letters go to another queue through the default exchange; returns its name."""
        ways = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
        others = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
        return self.queue(channel, what, ways | others)

    def reject(self, channel: BlockingChannel, queue: str) -> None:
        """Reject the first message of a queue without requeue."""
        method, _, _ = channel.basic_get(queue)
        channel.basic_reject(method.delivery_tag, requeue=False)


@on_both
class Expiry(_DeadLetters):
    """Messages with a time to live."""

    @on_channel
    def test_queue_ttl(self, channel: BlockingChannel) -> None:
        """A message leaves the queue after the queue's time to live, not before."""
        dead = self.queue(channel, "dead")
        work = self.leading_to(channel, dead, message_ttl=50)
        began = time.monotonic()
        self.publish(channel, work)
        self.assertEqual(self.count(channel, work), 1)
        self.take(channel, dead)
        self.assertGreaterEqual(time.monotonic() - began, 0.045)
        self.assertEqual(self.count(channel, work), 0)

    @on_channel
    def test_without_way(self, channel: BlockingChannel) -> None:
        """Without a dead-letter exchange an expired message is dropped."""
        work = self.queue(channel, "work", {"x-message-ttl": 20})
        self.publish(channel, work)
        self.wait_for_count(channel, work, 0)

    @on_channel
    def test_expiration(self, channel: BlockingChannel) -> None:
        """A message may have its own time to live; the shorter one counts."""
        dead = self.queue(channel, "dead")
        for what, ttl, expiration in (("short", 20, "60000"), ("long", 60_000, "20")):
            work = self.leading_to(channel, dead, what, message_ttl=ttl)
            self.publish(channel, work, expiration=expiration)
            [(_, properties, _)] = self.take(channel, dead)
            self.assertEqual(properties.headers["x-death"][0]["queue"], work)

    @on_channel
    def test_invalid_expiration(self, channel: BlockingChannel) -> None:
        """An expiration that is not a number of milliseconds is refused with the reason."""
        queue = self.queue(channel)
        for value, why in (
            ("soon", "no_integer"),
            ("", "no_integer"),
            ("٣", "no_integer"),
            ("5s", '{leftover_string,"s"}'),
            ("-1", "{value_negative,-1}"),
            ("315360000001", "{value_too_large,315360000001}"),
        ):
            text = f"PRECONDITION_FAILED - invalid expiration '{value}': {why}"
            other = channel.connection.channel()
            self.publish(other, queue, expiration=value)
            self.assert_closed(other, 406, text)
        self.assertEqual(self.count(channel, queue), 0)

    @on_channel
    def test_behind_another(self, channel: BlockingChannel) -> None:
        """A message behind one that lives longer expires when it reaches the head."""
        dead = self.queue(channel, "dead")
        work, other = self.leading_to(channel, dead), self.leading_to(channel, dead, "other")
        self.publish(channel, work, b"lives")
        self.publish(channel, work, b"behind", expiration="1")
        self.publish(channel, other, b"clock", expiration="60")
        self.assertEqual(self.take(channel, dead)[0][2], b"clock")
        self.assertEqual(self.count(channel, work), 2)
        self.assertEqual(self.get(channel, work), b"lives")
        self.assertIsNone(self.get(channel, work))
        self.assertEqual(self.take(channel, dead)[0][2], b"behind")

    @on_channel
    def test_zero(self, channel: BlockingChannel) -> None:
        """A message with a time to live of 0 is delivered to a waiting consumer, or else expires at once."""
        dead = self.queue(channel, "dead")
        for what, arguments, properties in (
            ("queue", {"message_ttl": 0}, {}),
            ("message", {}, {"expiration": "0"}),
        ):
            work = self.leading_to(channel, dead, what, **arguments)
            self.publish(channel, work, b"late", **properties)
            self.assertEqual(self.take(channel, dead)[0][2], b"late")
            inbox = Inbox(channel, work)
            self.publish(channel, work, b"in time", **properties)
            self.assertEqual(inbox.wait(1), [b"in time"])
            self.assertEqual(self.count(channel, dead), 0)

    @on_channel
    def test_delivered(self, channel: BlockingChannel) -> None:
        """A delivered message does not expire; when requeued after its time, it does."""
        dead = self.queue(channel, "dead")
        work, clock = self.leading_to(channel, dead, message_ttl=30), self.leading_to(channel, dead, "clock")
        inbox = Inbox(channel, work, auto_ack=False)
        self.publish(channel, work, b"held")
        inbox.wait(1)
        self.publish(channel, clock, b"clock", expiration="80")
        self.assertEqual(self.take(channel, dead)[0][2], b"clock")
        channel.basic_cancel(inbox.tag)
        channel.basic_nack(inbox.tags[0], requeue=True)
        [(_, properties, body)] = self.take(channel, dead)
        self.assertEqual((body, properties.headers["x-death"][0]["reason"]), (b"held", "expired"))


@on_both
class Overflow(_DeadLetters):
    """Queues with a maximal length."""

    @on_channel
    def test_drop_head(self, channel: BlockingChannel) -> None:
        """A full queue drops its oldest message in favour of the new one."""
        dead = self.queue(channel, "dead")
        work = self.leading_to(channel, dead, max_length=2)
        self.publish(channel, work, b"1", b"2", b"3")
        [(_, properties, body)] = self.take(channel, dead)
        self.assertEqual((body, properties.headers["x-death"][0]["reason"]), (b"1", "maxlen"))
        self.assertEqual([self.get(channel, work) for _ in range(3)], [b"2", b"3", None])

    @on_channel
    def test_unacknowledged(self, channel: BlockingChannel) -> None:
        """Unacknowledged messages do not count towards the length."""
        dead = self.queue(channel, "dead")
        work = self.leading_to(channel, dead, max_length=1)
        inbox = Inbox(channel, work, auto_ack=False)
        self.publish(channel, work, b"1", b"2", b"3")
        self.assertEqual(inbox.wait(3), [b"1", b"2", b"3"])
        self.assertEqual(self.count(channel, dead), 0)

    @on_channel
    def test_zero(self, channel: BlockingChannel) -> None:
        """A queue of length 0 delivers to waiting consumers."""
        dead = self.queue(channel, "dead")
        work = self.leading_to(channel, dead, max_length=0)
        self.publish(channel, work, b"late")
        self.assertEqual(self.take(channel, dead)[0][2], b"late")
        inbox = Inbox(channel, work)
        self.publish(channel, work, b"in time")
        self.assertEqual(inbox.wait(1), [b"in time"])

    @on_channel
    def test_reject_publish(self, channel: BlockingChannel) -> None:
        """A full queue with reject-publish keeps its messages and dead-letters none."""
        dead = self.queue(channel, "dead")
        work = self.leading_to(channel, dead, max_length=2, overflow="reject-publish")
        self.publish(channel, work, b"1", b"2")
        self.assertRaises(NackError, channel.basic_publish, "", work, b"3")
        self.assertEqual([self.get(channel, work) for _ in range(3)], [b"1", b"2", None])
        self.assertEqual(self.count(channel, dead), 0)


@on_both
class Ways(_DeadLetters):
    """Where dead letters go."""

    @on_channel
    def test_rejected(self, channel: BlockingChannel) -> None:
        """Rejected and nacked messages are dead-lettered, several at once in their order; requeued ones are not."""
        dead = self.queue(channel, "dead")
        work = self.leading_to(channel, dead)
        inbox = Inbox(channel, work, auto_ack=False)
        self.publish(channel, work, b"1", b"2", b"3", b"4")
        inbox.wait(4)
        channel.basic_reject(inbox.tags[0], requeue=False)
        channel.basic_nack(inbox.tags[2], multiple=True, requeue=False)
        self.assertEqual([body for _, _, body in self.take(channel, dead, 3)], [b"1", b"2", b"3"])
        channel.basic_cancel(inbox.tag)
        channel.basic_nack(inbox.tags[3], requeue=True)
        self.assertEqual(self.get(channel, work), b"4")
        self.assertEqual(self.count(channel, dead), 0)

    @on_channel
    def test_deleted(self, channel: BlockingChannel) -> None:
        """Messages that are purged, or deleted with their queue, are not dead-lettered."""
        dead = self.queue(channel, "dead")
        work = self.leading_to(channel, dead)
        self.publish(channel, work, b"purged")
        channel.queue_purge(work)
        self.publish(channel, work, b"deleted")
        channel.queue_delete(work)
        self.leading_to(channel, dead)
        self.publish(channel, work, b"rejected")
        self.reject(channel, work)
        self.assertEqual(self.take(channel, dead)[0][2], b"rejected")

    @on_channel
    def test_exchange(self, channel: BlockingChannel) -> None:
        """Without x-dead-letter-routing-key, a dead letter keeps its routing key."""
        name, dead, other = self.exchange(channel, "direct"), self.queue(channel, "dead"), self.queue(channel, "other")
        work = self.queue(channel, "work", {"x-dead-letter-exchange": name})
        channel.queue_bind(dead, name, work)
        channel.queue_bind(other, name, "other")
        self.publish(channel, work)
        self.reject(channel, work)
        [(method, _, _)] = self.take(channel, dead)
        self.assertEqual((method.exchange, method.routing_key), (name, work))
        self.assertEqual(self.count(channel, other), 0)

    @on_channel
    def test_routing_key(self, channel: BlockingChannel) -> None:
        """With x-dead-letter-routing-key it has that; several queues may get it."""
        name = self.exchange(channel, "topic")
        dead = [self.queue(channel, f"dead{number}") for number in range(2)]
        arguments = {"x-dead-letter-exchange": name, "x-dead-letter-routing-key": "dead.letter"}
        work = self.queue(channel, "work", arguments)
        for queue in dead:
            channel.queue_bind(queue, name, "dead.*")
        self.publish(channel, work)
        self.reject(channel, work)
        for queue in dead:
            [(method, _, _)] = self.take(channel, queue)
            self.assertEqual((method.exchange, method.routing_key), (name, "dead.letter"))

    @on_channel
    def test_missing(self, channel: BlockingChannel) -> None:
        """With a missing dead-letter exchange or queue it is dropped; once declared, that gets the next one."""
        name = self.name("exchange")
        work = self.queue(channel, "work", {"x-dead-letter-exchange": name})
        self.publish(channel, work, b"1", b"2")
        self.reject(channel, work)
        dead = self.queue(channel, "dead")
        self.assertEqual(self.count(channel, work), 1)
        channel.exchange_declare(name, "fanout")
        channel.queue_bind(dead, name)
        self.reject(channel, work)
        self.assertEqual(self.take(channel, dead)[0][2], b"2")

    @on_channel
    def test_properties(self, channel: BlockingChannel) -> None:
        """A dead letter has the message's body and properties, without its expiration."""
        dead = self.queue(channel, "dead")
        work = self.leading_to(channel, dead)
        properties = pika.BasicProperties(
            content_type="text/plain", headers={"mine": 1}, priority=3, correlation_id="c", expiration="20", type="t"
        )
        channel.basic_publish("", work, b"body", properties)
        [(_, received, body)] = self.take(channel, dead)
        self.assertEqual(body, b"body")
        self.assertEqual((received.content_type, received.headers["mine"]), ("text/plain", 1))
        self.assertEqual((received.priority, received.correlation_id, received.type), (3, "c", "t"))
        self.assertIsNone(received.expiration)

    @on_channel
    def test_long_chain(self, channel: BlockingChannel) -> None:
        """A message can be dead-lettered by any number of queues, one after the other."""
        names = [self._prefix + str(number) for number in range(220)]
        for name, following in pairwise(names):
            arguments = {"x-max-length": 0, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": following}
            channel.queue_declare(name, exclusive=True, arguments=arguments)
        channel.queue_declare(names[-1], exclusive=True)
        self.publish(channel, names[0])
        [(_, properties, _)] = self.take(channel, names[-1])
        self.assertEqual(len(properties.headers["x-death"]), len(names) - 1)
