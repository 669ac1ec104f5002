"""Consumers: tags, turns, and ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika import spec

from tests.contract.base import BrokerContract, Inbox, on_channel, wait_until
from tests.contract.brokers import on_both
from tests.contract.wire import CAPABILITIES

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel


@on_both
class Consumers(BrokerContract):
    """Begin and end of consuming."""

    @on_channel
    def test_tags(self, channel: BlockingChannel) -> None:
        """A consumer has the tag it asks for, or a generated one; deliveries carry it."""
        queue, client = self.queue(channel), self.wire()
        answer = client.ask(1, spec.Basic.Consume(queue=queue, consumer_tag="mine", no_ack=True))
        self.assertEqual(answer.consumer_tag, "mine")
        self.publish(channel, queue)
        self.assertEqual(client.method().consumer_tag, "mine")
        client.ask(1, spec.Basic.Cancel("mine"))
        tags = [client.ask(1, spec.Basic.Consume(queue=queue)).consumer_tag for _ in range(2)]
        self.assertEqual(len(set(tags)), 2)
        for tag in tags:
            self.assertRegex(tag, "^amq[.]ctag-[A-Za-z0-9_-]{22}$")

    @on_channel
    def test_waiting(self, channel: BlockingChannel) -> None:
        """Consume-Ok comes before the first delivery of a waiting message."""
        queue, client = self.queue(channel), self.wire()
        self.publish(channel, queue, b"1", b"2")
        client.send(1, spec.Basic.Consume(queue=queue, consumer_tag="tag"))
        received = [client.receive() for _ in range(3)]
        self.assertIsInstance(received[0].method, spec.Basic.ConsumeOk)
        self.assertEqual([each.body for each in received[1:]], [b"1", b"2"])

    @on_channel
    def test_no_wait(self, channel: BlockingChannel) -> None:
        """With no-wait, a consumer gets no Consume-Ok, only deliveries."""
        queue, client = self.queue(channel), self.wire()
        self.publish(channel, queue)
        client.send(1, spec.Basic.Consume(queue=queue, consumer_tag="tag", nowait=True))
        self.assertIsInstance(client.method(), spec.Basic.Deliver)
        client.send(1, spec.Basic.Cancel("tag", nowait=True))
        self.assertIsInstance(client.ask(1, spec.Basic.Qos()), spec.Basic.QosOk)
        self.assertEqual(channel.queue_declare(queue, passive=True).method.consumer_count, 0)

    @on_channel
    def test_duplicate_tag(self, channel: BlockingChannel) -> None:
        """A repeated tag on one channel ends the connection; on two channels it is allowed."""
        queue, client = self.queue(channel), self.wire()
        client.ask(2, spec.Channel.Open())
        for number in (1, 2):
            answer = client.ask(number, spec.Basic.Consume(queue=queue, consumer_tag="tag"))
            self.assertIsInstance(answer, spec.Basic.ConsumeOk)
        answer = client.ask(1, spec.Basic.Consume(queue=queue, consumer_tag="tag"))
        self.assertIsInstance(answer, spec.Connection.Close)
        self.assertEqual((answer.reply_code, answer.class_id, answer.method_id), (530, 60, 20))
        self.assertEqual(answer.reply_text, "NOT_ALLOWED - attempt to reuse consumer tag 'tag'")

    @on_channel
    def test_exclusive(self, channel: BlockingChannel) -> None:
        """An exclusive consumer is refused beside another one, and another one beside it."""
        queue = self.queue(channel)
        text = f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use"
        open_channel = channel.connection.channel
        inbox = Inbox(channel, queue)
        self.assert_refused(403, text, open_channel().basic_consume, queue, print, exclusive=True)
        channel.basic_cancel(inbox.tag)
        inbox = Inbox(channel, queue, exclusive=True)
        self.assert_refused(403, text, open_channel().basic_consume, queue, print)
        self.publish(channel, queue)
        self.assertEqual(inbox.wait(1), [b"1"])
        channel.basic_cancel(inbox.tag)
        Inbox(open_channel(), queue)

    @on_channel
    def test_cancel(self, channel: BlockingChannel) -> None:
        """After its cancel a consumer gets no deliveries; those that it has can be settled."""
        queue = self.queue(channel)
        inbox = Inbox(channel, queue, auto_ack=False)
        self.publish(channel, queue, b"1")
        inbox.wait(1)
        channel.basic_cancel(inbox.tag)
        self.publish(channel, queue, b"2")
        self.assertEqual(self.count(channel, queue), 1)
        channel.basic_ack(inbox.tags[0])
        self.assertEqual(inbox.settle(), [b"1"])
        self.assertEqual([self.get(channel, queue) for _ in range(2)], [b"2", None])

    @on_channel
    def test_cancel_unknown(self, channel: BlockingChannel) -> None:
        """Cancelling an unknown consumer is no error."""
        self.assertEqual(self.wire().ask(1, spec.Basic.Cancel("none")).consumer_tag, "none")

    @on_channel
    def test_queue_deleted(self, channel: BlockingChannel) -> None:
        """Consumers of a deleted queue get Basic.Cancel; the channel stays open."""
        queue, other = self.queue(channel), channel.connection.channel()
        inbox = Inbox(other, queue)
        cancelled: list[Any] = []
        other.add_on_cancel_callback(cancelled.append)
        channel.queue_delete(queue)
        wait_until(other, lambda: cancelled)
        self.assertEqual(cancelled[0].method.consumer_tag, inbox.tag)
        self.assertEqual(other.consumer_tags, [])
        other.queue_declare(queue)

    @on_channel
    def test_not_told(self, channel: BlockingChannel) -> None:
        """Without consumer_cancel_notify there is no Basic.Cancel; the tag can be used again."""
        queue, client = self.queue(channel), self.wire(login=False)
        client.open(capabilities={**CAPABILITIES, "consumer_cancel_notify": False})
        client.ask(1, spec.Basic.Consume(queue=queue, consumer_tag="tag"))
        channel.queue_delete(queue)
        channel.queue_declare(queue)
        self.assertIsInstance(client.ask(1, spec.Basic.Qos()), spec.Basic.QosOk)
        answer = client.ask(1, spec.Basic.Consume(queue=queue, consumer_tag="tag"))
        self.assertIsInstance(answer, spec.Basic.ConsumeOk)

    @on_channel
    def test_channel_closed(self, channel: BlockingChannel) -> None:
        """Consumers end with their channel."""
        queue, other = self.queue(channel), channel.connection.channel()
        Inbox(other, queue)
        self.assertEqual(channel.queue_declare(queue, passive=True).method.consumer_count, 1)
        other.close()
        self.assertEqual(channel.queue_declare(queue, passive=True).method.consumer_count, 0)


@on_both
class Turns(BrokerContract):
    """Several consumers of one queue."""

    @on_channel
    def test_round_robin(self, channel: BlockingChannel) -> None:
        """Consumers with room take turns."""
        queue = self.queue(channel)
        channels = [channel.connection.channel() for _ in range(3)]
        inboxes = [Inbox(each, queue) for each in channels]
        for number in range(6):
            self.publish(channel, queue, b"%d" % number)
        wait_until(channel, lambda: sum(len(each.bodies) for each in inboxes) == 6)
        self.assertEqual([each.bodies for each in inboxes], [[b"0", b"3"], [b"1", b"4"], [b"2", b"5"]])

    @on_channel
    def test_without_room(self, channel: BlockingChannel) -> None:
        """A consumer at its prefetch is skipped, and gets its turn when it has room again."""
        queue = self.queue(channel)
        channels = [channel.connection.channel() for _ in range(2)]
        for each in channels:
            each.basic_qos(prefetch_count=1)
        slow, quick = (Inbox(each, queue, auto_ack=False) for each in channels)
        self.publish(channel, queue, b"1", b"2", b"3", b"4")
        slow.wait(1)
        for number in range(2):
            quick.wait(number + 1)
            channels[1].basic_ack(quick.tags[number])
        self.assertEqual(quick.wait(3), [b"2", b"3", b"4"])
        self.publish(channel, queue, b"5")
        channels[0].basic_ack(slow.tags[0])
        self.assertEqual(slow.wait(2), [b"1", b"5"])

    @on_channel
    def test_requeued_to_another(self, channel: BlockingChannel) -> None:
        """Unacknowledged messages of an ended consumer go to another one, redelivered."""
        queue = self.queue(channel)
        channels = [channel.connection.channel() for _ in range(2)]
        first = Inbox(channels[0], queue, auto_ack=False)
        self.publish(channel, queue, b"1", b"2")
        first.wait(2)
        second = Inbox(channels[1], queue, auto_ack=False)
        channels[0].close()
        self.assertEqual(second.wait(2), [b"1", b"2"])
        self.assertEqual([method.redelivered for method, _, _ in second.messages], [True, True])
