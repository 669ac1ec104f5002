"""Deliveries: prefetch, acknowledgements, rejections, and fetches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pika import frame, spec

from tests.contract.base import BrokerContract, Inbox, on_channel, wait_until
from tests.contract.brokers import on_both

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel


@on_both
class Prefetch(BrokerContract):
    """The limit of unacknowledged deliveries."""

    @on_channel
    def test_per_consumer(self, channel: BlockingChannel) -> None:
        """By default each consumer has its own limit; an acknowledgement makes room for one delivery."""
        queue = self.queue(channel)
        channel.basic_qos(prefetch_count=2)
        first = Inbox(channel, queue, auto_ack=False)
        self.publish(channel, queue, *(b"%d" % number for number in range(6)))
        self.assertEqual(first.wait(2), [b"0", b"1"])
        self.assertEqual(self.count(channel, queue), 4)
        second = Inbox(channel, queue, auto_ack=False)
        self.assertEqual(second.wait(2), [b"2", b"3"])
        self.wait_for_count(channel, queue, 2)
        channel.basic_ack(first.tags[1])
        self.assertEqual(first.wait(3)[2:], [b"4"])
        self.wait_for_count(channel, queue, 1)
        self.assertEqual((len(first.bodies), len(second.bodies)), (3, 2))

    @on_channel
    def test_per_channel(self, channel: BlockingChannel) -> None:
        """A global limit covers all consumers of one channel together."""
        queue = self.queue(channel)
        channel.basic_qos(prefetch_count=3, global_qos=True)
        inboxes = [Inbox(channel, queue, auto_ack=False) for _ in range(2)]
        self.publish(channel, queue, *(b"%d" % number for number in range(5)))
        wait_until(channel, lambda: sum(len(each.bodies) for each in inboxes) == 3)
        self.assertEqual(self.count(channel, queue), 2)
        other = channel.connection.channel()
        self.assertEqual(Inbox(other, queue).wait(2), [b"3", b"4"])
        self.assertEqual(sum(len(each.bodies) for each in inboxes), 3)

    @on_channel
    def test_answer_first(self, channel: BlockingChannel) -> None:
        """Qos-Ok comes before the deliveries that a raised global limit allows."""
        queue, client = self.queue(channel), self.wire()
        client.ask(1, spec.Basic.Qos(prefetch_count=1, global_qos=True))
        client.ask(1, spec.Basic.Consume(queue=queue, consumer_tag="tag"))
        self.publish(channel, queue, b"1", b"2", b"3")
        self.assertEqual(client.receive().body, b"1")
        client.send(1, spec.Basic.Qos(prefetch_count=0, global_qos=True))
        self.assertIsInstance(client.method(), spec.Basic.QosOk)
        self.assertEqual([client.receive().body for _ in range(2)], [b"2", b"3"])

    @on_channel
    def test_later(self, channel: BlockingChannel) -> None:
        """A new limit applies to later consumers only."""
        one, two = self.queue(channel, "one"), self.queue(channel, "two")
        channel.basic_qos(prefetch_count=1)
        first = Inbox(channel, one, auto_ack=False)
        channel.basic_qos(prefetch_count=2)
        second = Inbox(channel, two, auto_ack=False)
        for queue in (one, two):
            self.publish(channel, queue, b"1", b"2", b"3")
        self.assertEqual((first.wait(1), second.wait(2)), ([b"1"], [b"1", b"2"]))
        self.assertEqual((self.count(channel, one), self.count(channel, two)), (2, 1))

    @on_channel
    def test_none(self, channel: BlockingChannel) -> None:
        """Without a limit all messages are delivered; consumers without acknowledgements have no limit."""
        queue, other = self.queue(channel), self.queue(channel, "other")
        inbox = Inbox(channel, queue, auto_ack=False)
        self.publish(channel, queue, *[b"x"] * 50)
        self.assertEqual(len(inbox.wait(50)), 50)
        channel.basic_qos(prefetch_count=1)
        unlimited = Inbox(channel, other, auto_ack=True)
        self.publish(channel, other, *[b"x"] * 50)
        self.assertEqual(len(unlimited.wait(50)), 50)

    @on_channel
    def test_get(self, channel: BlockingChannel) -> None:
        """Basic.Get has no limit."""
        queue = self.queue(channel)
        channel.basic_qos(prefetch_count=1)
        self.publish(channel, queue, b"1", b"2")
        self.assertEqual([channel.basic_get(queue)[2] for _ in range(2)], [b"1", b"2"])


@on_both
class Settling(BrokerContract):
    """Acknowledging, rejecting, and requeueing."""

    @on_channel
    def test_ack(self, channel: BlockingChannel) -> None:
        """An acknowledged message never comes back."""
        queue, connection = self.queue(channel), self.connect()
        other = connection.channel()
        self.publish(channel, queue)
        method, _, _ = other.basic_get(queue)
        other.basic_ack(method.delivery_tag)
        connection.close()
        self.assertIsNone(self.get(channel, queue))

    @on_channel
    def test_multiple(self, channel: BlockingChannel) -> None:
        """With multiple, all up to the tag are acknowledged; tag 0 means all."""
        queue, other = self.queue(channel), channel.connection.channel()
        self.publish(channel, queue, b"1", b"2", b"3", b"4", b"5")
        tags = [other.basic_get(queue)[0].delivery_tag for _ in range(5)]
        other.basic_ack(tags[1], multiple=True)
        other.basic_nack(tags[3], multiple=True, requeue=True)
        self.wait_for_count(channel, queue, 2)
        self.assertEqual([self.get(channel, queue) for _ in range(3)], [b"3", b"4", None])
        other.basic_ack(0, multiple=True)
        other.close()
        self.assertIsNone(self.get(channel, queue))

    @on_channel
    def test_requeue(self, channel: BlockingChannel) -> None:
        """A requeued message keeps its position, and is delivered again as redelivered."""
        queue = self.queue(channel)
        self.publish(channel, queue, b"1", b"2", b"3", b"4")
        tags = [channel.basic_get(queue)[0].delivery_tag for _ in range(3)]
        channel.basic_nack(tags[2], requeue=True)
        channel.basic_reject(tags[0], requeue=True)
        received = [channel.basic_get(queue, auto_ack=True) for _ in range(3)]
        seen = [(body, method.redelivered) for method, _, body in received]
        self.assertEqual(seen, [(b"1", True), (b"3", True), (b"4", False)])

    @on_channel
    def test_requeue_of_many(self, channel: BlockingChannel) -> None:
        """Requeued at once, or one by one in any order, all messages keep their positions."""
        queue, client, count = self.queue(channel), self.wire(), 4000
        bodies = [str(number).encode() for number in range(count)]
        client.publish(1, queue, *bodies)
        for tags in ([0], range(2 * count, count, -1)):
            self.wait_for_count(channel, queue, count)
            client.ask(1, spec.Basic.Consume(queue=queue, consumer_tag="tag"))
            self.assertEqual([client.receive().body for _ in range(count)], bodies)
            client.ask(1, spec.Basic.Cancel("tag"))
            nacks = [frame.Method(1, spec.Basic.Nack(tag, multiple=not tag, requeue=True)) for tag in tags]
            client.send_bytes(b"".join(each.marshal() for each in nacks))
        self.wait_for_count(channel, queue, count)
        self.assertEqual([body for _, _, body in self.take(channel, queue, count)], bodies)

    @on_channel
    def test_requeue_to_consumer(self, channel: BlockingChannel) -> None:
        """A requeued message is delivered to a consumer again, with another tag."""
        queue = self.queue(channel)
        inbox = Inbox(channel, queue, auto_ack=False)
        self.publish(channel, queue)
        inbox.wait(1)
        channel.basic_nack(inbox.tags[0], requeue=True)
        inbox.wait(2)
        self.assertEqual(inbox.tags, [1, 2])
        self.assertEqual([method.redelivered for method, _, _ in inbox.messages], [False, True])

    @on_channel
    def test_reject(self, channel: BlockingChannel) -> None:
        """A message rejected without requeue is dropped if its queue has no dead-letter exchange."""
        queue = self.queue(channel)
        self.publish(channel, queue, b"1", b"2")
        channel.basic_reject(channel.basic_get(queue)[0].delivery_tag, requeue=False)
        channel.basic_nack(channel.basic_get(queue)[0].delivery_tag, requeue=False)
        self.assertIsNone(self.get(channel, queue))

    @on_channel
    def test_unknown_tag(self, channel: BlockingChannel) -> None:
        """An unknown tag, or one acknowledged before, closes the channel; its messages are requeued."""
        queue = self.queue(channel)
        self.publish(channel, queue)
        for settle in ("basic_ack", "basic_nack", "basic_reject"):
            other = channel.connection.channel()
            method, _, _ = other.basic_get(queue)
            self.assertEqual(method.delivery_tag, 1)
            getattr(other, settle)(7)
            self.assert_closed(other, 406, "PRECONDITION_FAILED - unknown delivery tag 7")
        other = channel.connection.channel()
        other.basic_get(queue)
        for _ in range(2):
            other.basic_ack(1)
        self.assert_closed(other, 406, "PRECONDITION_FAILED - unknown delivery tag 1")
        self.assertIsNone(self.get(channel, queue))

    @on_channel
    def test_unknown_multiple(self, channel: BlockingChannel) -> None:
        """With multiple, a tag that was never delivered is unknown as well."""
        channel.basic_ack(3, multiple=True)
        self.assert_closed(channel, 406, "PRECONDITION_FAILED - unknown delivery tag 3")

    @on_channel
    def test_multiple_none(self, channel: BlockingChannel) -> None:
        """With multiple, tag 0 without any delivery is no error."""
        channel.basic_ack(0, multiple=True)
        channel.basic_nack(0, multiple=True)
        channel.basic_qos()

    @on_channel
    def test_channel_closed(self, channel: BlockingChannel) -> None:
        """Unacknowledged messages of a closed channel are requeued at their positions, as redelivered."""
        queue, other = self.queue(channel), channel.connection.channel()
        self.publish(channel, queue, b"1", b"2", b"3")
        for _ in range(2):
            other.basic_get(queue)
        other.close()
        received = [channel.basic_get(queue, auto_ack=True) for _ in range(3)]
        seen = [(body, method.redelivered) for method, _, body in received]
        self.assertEqual(seen, [(b"1", True), (b"2", True), (b"3", False)])

    @on_channel
    def test_connection_closed(self, channel: BlockingChannel) -> None:
        """So are those of a closed connection."""
        queue = self.queue(channel)
        self.publish(channel, queue, b"1", b"2")
        connection = self.connect()
        inbox = Inbox(connection.channel(), queue, auto_ack=False)
        inbox.wait(2)
        connection.close()
        again = Inbox(channel, queue, auto_ack=False)
        self.assertEqual(again.wait(2), [b"1", b"2"])
        self.assertEqual([method.redelivered for method, _, _ in again.messages], [True, True])

    @on_channel
    def test_connection_dropped(self, channel: BlockingChannel) -> None:
        """So are those of a dropped connection."""
        queue, client = self.queue(channel), self.wire()
        self.publish(channel, queue)
        client.get(1, queue)
        client.close()
        [(method, _, _)] = self.take(channel, queue)
        self.assertTrue(method.redelivered)

    @on_channel
    def test_no_ack(self, channel: BlockingChannel) -> None:
        """A message delivered without acknowledgements never comes back, even if the channel closes."""
        queue, other = self.queue(channel), channel.connection.channel()
        self.publish(channel, queue, b"1", b"2")
        self.assertEqual(other.basic_get(queue, auto_ack=True)[2], b"1")
        inbox = Inbox(other, queue, auto_ack=True)
        inbox.wait(1)
        other.close()
        self.assertIsNone(self.get(channel, queue))

    @on_channel
    def test_recover(self, channel: BlockingChannel) -> None:
        """Basic.Recover requeues all unacknowledged messages of the channel."""
        queue = self.queue(channel)
        self.publish(channel, queue, b"1", b"2")
        for _ in range(2):
            channel.basic_get(queue)
        channel.basic_recover(requeue=True)
        received = [channel.basic_get(queue, auto_ack=True) for _ in range(3)]
        self.assertEqual([body for _, _, body in received], [b"1", b"2", None])
        self.assertTrue(received[0][0].redelivered)

    @on_channel
    def test_queue_deleted(self, channel: BlockingChannel) -> None:
        """Deliveries from a deleted queue can still be settled."""
        queue = self.queue(channel)
        self.publish(channel, queue, b"1", b"2")
        tags = [channel.basic_get(queue)[0].delivery_tag for _ in range(2)]
        channel.queue_delete(queue)
        channel.basic_ack(tags[0])
        channel.basic_nack(tags[1], requeue=True)
        channel.basic_qos()
        self.assertFalse(self.exists(channel.connection, queue))


@on_both
class Getting(BrokerContract):
    """Fetching messages one by one."""

    @on_channel
    def test_get(self, channel: BlockingChannel) -> None:
        """Get-Ok has the number of remaining messages; an empty queue gives Get-Empty."""
        queue = self.queue(channel)
        self.publish(channel, queue, b"1", b"2")
        method, properties, body = channel.basic_get(queue)
        self.assertEqual((method.message_count, method.redelivered, body), (1, False, b"1"))
        self.assertEqual((method.exchange, method.routing_key), ("", queue))
        self.assertIsNone(properties.headers)
        self.assertEqual(channel.basic_get(queue)[0].message_count, 0)
        self.assertEqual(channel.basic_get(queue), (None, None, None))

    @on_channel
    def test_missing(self, channel: BlockingChannel) -> None:
        """A missing queue is refused, for Get as for Consume."""
        missing = self.name("missing")
        text = f"NOT_FOUND - no queue '{missing}' in vhost '/'"
        self.assert_refused(404, text, channel.connection.channel().basic_get, missing)
        self.assert_refused(404, text, channel.connection.channel().basic_consume, missing, print)

    @on_channel
    def test_tags(self, channel: BlockingChannel) -> None:
        """Delivery tags count from 1 on each channel, for consumers and fetches together."""
        one, two = self.queue(channel, "one"), self.queue(channel, "two")
        self.publish(channel, one, b"1", b"2")
        tags = [channel.basic_get(one, auto_ack=True)[0].delivery_tag]
        inbox = Inbox(channel, one)
        inbox.wait(1)
        self.publish(channel, two)
        tags += [*inbox.tags, channel.basic_get(two)[0].delivery_tag]
        self.assertEqual(tags, [1, 2, 3])
        other = channel.connection.channel()
        self.publish(channel, two)
        self.assertEqual(other.basic_get(two)[0].delivery_tag, 1)
