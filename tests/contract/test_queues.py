"""Queues: declaration, deletion, arguments, exclusive use, and lifetime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika import spec

from tests.contract.base import BrokerContract, Inbox, on_channel
from tests.contract.brokers import on_both

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

#: Seconds until an unused queue expires.
EXPIRES = 0.06


@on_both
class Queues(BrokerContract):
    """Declaring and deleting queues."""

    @on_channel
    def test_counts(self, channel: BlockingChannel) -> None:
        """Declare-Ok has the name, and the numbers of ready messages and consumers."""
        queue = self.queue(channel)
        self.publish(channel, queue, b"1", b"2")
        inbox = Inbox(channel, queue, auto_ack=False)
        inbox.wait(2)
        channel.basic_nack(inbox.tags[0], requeue=False)
        channel.basic_cancel(inbox.tag)
        channel.basic_nack(inbox.tags[1], requeue=True)
        self.wait_for_count(channel, queue, 1)
        declared = channel.queue_declare(queue).method
        self.assertEqual((declared.queue, declared.message_count, declared.consumer_count), (queue, 1, 0))
        Inbox(channel, queue)
        self.assertEqual(channel.queue_declare(queue).method.consumer_count, 1)

    @on_channel
    def test_passive(self, channel: BlockingChannel) -> None:
        """A passive declaration accepts a queue with any properties, and is refused for a missing one."""
        queue = self.queue(channel)
        channel.queue_declare(queue, passive=True, durable=True, arguments={"x-message-ttl": 1})
        missing = self.name("missing")
        text = f"NOT_FOUND - no queue '{missing}' in vhost '/'"
        self.assert_refused(404, text, channel.queue_declare, missing, passive=True)

    @on_channel
    def test_server_named(self, channel: BlockingChannel) -> None:
        """A queue declared without a name gets one, which can be declared again."""
        names = {channel.queue_declare("", exclusive=True).method.queue for _ in range(3)}
        self.assertEqual(len(names), 3)
        for name in names:
            self.assertRegex(name, "^amq[.]gen-[A-Za-z0-9_-]{22}$")
            self.assertEqual(channel.queue_declare(name, passive=True).method.queue, name)

    @on_channel
    def test_reserved(self, channel: BlockingChannel) -> None:
        """Names that begin with "amq." are refused."""
        text = "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'"
        self.assert_refused(403, text, channel.queue_declare, "amq.mine")

    @on_channel
    def test_differs(self, channel: BlockingChannel) -> None:
        """Another durability, auto_delete or argument is refused; the text has the existing and the requested value."""
        ttl = {"x-message-ttl": 60_000}
        plain, limited = self.queue(channel, "plain"), self.queue(channel, "limited", ttl)
        number = "the value '60000' of type 'signedint'"
        for queue, given, argument, received, current in (
            (plain, {"durable": True}, "durable", "'true'", "'false'"),
            (plain, {"auto_delete": True}, "auto_delete", "'true'", "'false'"),
            (plain, {"arguments": ttl}, "x-message-ttl", number, "none"),
            (limited, {}, "x-message-ttl", "none", number),
            (limited, {"arguments": {"x-message-ttl": 5}}, "x-message-ttl", "'5'", "'60000'"),
            (plain, {"arguments": {"x-max-length": 1}}, "x-max-length", "the value '1' of type 'signedint'", "none"),
            (
                plain,
                {"arguments": {"x-dead-letter-exchange": "x"}},
                "x-dead-letter-exchange",
                "the value 'x' of type 'longstr'",
                "none",
            ),
            (plain, {"durable": True, "arguments": {"x-queue-type": "quorum"}}, "durable", "'true'", "'false'"),
        ):
            text = (
                f"PRECONDITION_FAILED - inequivalent arg '{argument}' for queue '{queue}' in vhost '/': "
                f"received {received} but current is {current}"
            )
            options: dict[str, Any] = dict(given)
            self.assert_refused(406, text, channel.connection.channel().queue_declare, queue, **options)

    @on_channel
    def test_other_type(self, channel: BlockingChannel) -> None:
        """Another queue type is refused; "classic" may be named or left out."""
        classic, quorum = {"x-queue-type": "classic"}, {"x-queue-type": "quorum"}
        plain, named = self.queue(channel, "plain", durable=True), self.queue(channel, "named", classic, durable=True)
        channel.queue_declare(plain, durable=True, arguments=classic)
        channel.queue_declare(named, durable=True)
        of_named = "received 'quorum' but current is 'classic'"
        of_plain = of_named if self.since_4 else "received the value 'quorum' of type 'longstr' but current is none"
        for queue, difference in ((plain, of_plain), (named, of_named)):
            text = (
                f"PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue '{queue}' in vhost '/': {difference}"
            )
            declare = channel.connection.channel().queue_declare
            self.assert_refused(406, text, declare, queue, durable=True, arguments=quorum)

    @on_channel
    def test_equal_arguments(self, channel: BlockingChannel) -> None:
        """The order of arguments does not matter; arguments that the broker does not know are ignored."""
        arguments = {"x-message-ttl": 60_000, "x-max-length": 5, "mine": "a"}
        queue = self.queue(channel, "queue", arguments)
        channel.queue_declare(queue, arguments={"x-max-length": 5, "x-message-ttl": 60_000, "mine": "b"})

    @on_channel
    def test_many_active_consumers(self, channel: BlockingChannel) -> None:
        """x-single-active-consumer may be false, and is compared like other arguments."""
        queue = self.queue(channel, "queue", {"x-single-active-consumer": False})
        text = (
            f"PRECONDITION_FAILED - inequivalent arg 'x-single-active-consumer' for queue '{queue}' in vhost '/': "
            "received none but current is the value 'false' of type 'bool'"
        )
        self.assert_refused(406, text, channel.queue_declare, queue)

    @on_channel
    def test_line_ends(self, channel: BlockingChannel) -> None:
        """Line ends in a queue's name are removed in declarations, bindings and deletions, not elsewhere."""
        queue, client = self.queue(channel, "ab"), self.wire()
        written = queue.replace("ab", "a\r\nb")
        for passive in (True, False):
            self.assertEqual(client.ask(1, spec.Queue.Declare(queue=written, passive=passive)).queue, queue)
        bound = client.ask(1, spec.Queue.Bind(queue=written, exchange="amq.direct", routing_key="key"))
        self.assertIsInstance(bound, spec.Queue.BindOk)
        made = client.ask(1, spec.Queue.Declare(queue="\n", exclusive=True))
        self.assertTrue(made.queue.startswith("amq.gen-"))
        self.assertEqual(client.ask(1, spec.Queue.Delete(queue=written)).message_count, 0)
        self.assertFalse(self.exists(channel.connection, queue))
        text = f"NOT_FOUND - no queue '{written}' in vhost '/'"
        self.assert_refused(404, text, channel.queue_purge, written)

    @on_channel
    def test_invalid_arguments(self, channel: BlockingChannel) -> None:
        """Invalid values of arguments are refused with the reason."""
        queue = self.name("queue")
        for argument, value, why in (
            ("x-message-ttl", -1, "{value_negative,-1}"),
            ("x-message-ttl", 315_360_000_001, "{value_too_large,315360000001}"),
            ("x-message-ttl", "5", '"expected integer, got longstr"'),
            ("x-expires", 0, "{value_zero,0}"),
            ("x-expires", 315_360_000_001, "{value_too_large,315360000001}"),
            ("x-max-length", -1, "{value_negative,-1}"),
            ("x-overflow", "spill", "invalid_overflow"),
            ("x-queue-type", "odd", "\"unsupported queue type 'odd'\""),
            ("x-dead-letter-routing-key", "key", "routing_key_but_no_dlx_defined"),
            ("x-dead-letter-routing-key", 5, "{unacceptable_type,signedint}"),
        ):
            text = f"PRECONDITION_FAILED - invalid arg '{argument}' for queue '{queue}' in vhost '/': {why}"
            self.assert_refused(
                406, text, channel.connection.channel().queue_declare, queue, arguments={argument: value}
            )
        self.assertFalse(self.exists(channel.connection, queue))
        channel.queue_declare(queue, arguments={"x-message-ttl": 315_360_000_000, "x-expires": 315_360_000_000})

    @on_channel
    def test_delete(self, channel: BlockingChannel) -> None:
        """Delete-Ok has the number of deleted messages; deleting a missing queue is no error."""
        queue = self.queue(channel)
        self.publish(channel, queue, b"1", b"2")
        self.assertEqual(channel.queue_delete(queue).method.message_count, 2)
        self.assertEqual(channel.queue_delete(queue).method.message_count, 0)
        self.assertFalse(self.exists(channel.connection, queue))

    @on_channel
    def test_delete_conditions(self, channel: BlockingChannel) -> None:
        """With if_unused a queue with a consumer is kept, with if_empty one with messages."""
        queue = self.queue(channel)
        inbox = Inbox(channel, queue)
        open_channel = channel.connection.channel
        text = f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' in use"
        self.assert_refused(406, text, open_channel().queue_delete, queue, if_unused=True)
        channel.basic_cancel(inbox.tag)
        self.publish(channel, queue)
        self.assertEqual(self.count(channel, queue), 1)
        text = f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' not empty"
        self.assert_refused(406, text, open_channel().queue_delete, queue, if_empty=True)
        self.assertEqual(channel.queue_delete(queue, if_unused=True).method.message_count, 1)

    @on_channel
    def test_purge(self, channel: BlockingChannel) -> None:
        """Purging drops ready messages, returns their number, and keeps unacked ones; a missing queue is refused."""
        queue = self.queue(channel)
        self.publish(channel, queue, b"1", b"2", b"3")
        taken, _, _ = channel.basic_get(queue)
        self.assertEqual(channel.queue_purge(queue).method.message_count, 2)
        channel.basic_nack(taken.delivery_tag)
        self.assertEqual(self.get(channel, queue), b"1")
        missing = self.name("missing")
        self.assert_refused(404, f"NOT_FOUND - no queue '{missing}' in vhost '/'", channel.queue_purge, missing)


@on_both
class QueueLives(BrokerContract):
    """Exclusive queues, and queues that are deleted automatically."""

    def locked(self, queue: str) -> str:
        """The text that refuses an exclusive queue."""
        return (
            f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost '/'. It could be "
            "originally declared on another connection or the exclusive property value does not match that of the "
            "original declaration."
        )

    @on_channel
    def test_exclusive(self, channel: BlockingChannel) -> None:
        """Other connections are refused every use of an exclusive queue."""
        queue = self.queue(channel, exclusive=True)
        other = self.connect()
        for call in (
            lambda each: each.queue_declare(queue, exclusive=True),
            lambda each: each.queue_declare(queue, passive=True),
            lambda each: each.queue_bind(queue, "amq.direct", "key"),
            lambda each: each.queue_purge(queue),
            lambda each: each.queue_delete(queue),
            lambda each: each.basic_get(queue),
            lambda each: each.basic_consume(queue, print),
        ):
            self.assert_refused(405, self.locked(queue), call, other.channel())
        self.publish(other.channel(), queue)
        self.assertEqual(self.take(channel, queue)[0][2], b"1")

    @on_channel
    def test_exclusive_or_not(self, channel: BlockingChannel) -> None:
        """Even the owner cannot declare an exclusive queue as not exclusive, or the reverse."""
        mine, other = self.queue(channel, "mine", exclusive=True), self.queue(channel, "other")
        channel.queue_declare(mine, exclusive=True)
        open_channel = channel.connection.channel
        self.assert_refused(405, self.locked(mine), open_channel().queue_declare, mine)
        self.assert_refused(405, self.locked(other), open_channel().queue_declare, other, exclusive=True)

    @on_channel
    def test_exclusive_goes(self, channel: BlockingChannel) -> None:
        """An exclusive queue is deleted with its connection, not with its channel."""
        connection = self.connect()
        first = connection.channel()
        queue = self.queue(first, exclusive=True)
        first.close()
        connection.channel().queue_declare(queue, passive=True)
        connection.close()
        self.assertFalse(self.exists(channel.connection, queue))

    @on_channel
    def test_exclusive_dropped(self, channel: BlockingChannel) -> None:
        """An exclusive queue is deleted with a dropped connection as well."""
        client, queue = self.wire(), self.name("queue")
        self.assertIsInstance(client.ask(1, spec.Queue.Declare(queue=queue, exclusive=True)), spec.Queue.DeclareOk)
        client.close()
        self.wait_until_gone(channel.connection, queue)

    @on_channel
    def test_auto_delete(self, channel: BlockingChannel) -> None:
        """A queue with auto_delete is deleted with its last consumer, by a cancel or with its channel, not before."""
        for how in ("cancel", "close"):
            queue = self.queue(channel, how, auto_delete=True)
            self.publish(channel, queue)
            one, two = (channel.connection.channel() for _ in range(2))
            first, second = Inbox(one, queue), Inbox(two, queue)
            one.basic_cancel(first.tag)
            self.assertTrue(self.exists(channel.connection, queue))
            if how == "cancel":
                two.basic_cancel(second.tag)
            else:
                two.close()
            self.assertFalse(self.exists(channel.connection, queue))

    @on_channel
    def test_expires(self, channel: BlockingChannel) -> None:
        """A queue with x-expires is deleted, with its messages, when unused for that long; a consumer counts as use."""
        used, unused = (self.queue(channel, name, {"x-expires": int(1000 * EXPIRES)}) for name in ("used", "unused"))
        inbox = Inbox(channel, used)
        self.publish(channel, unused)
        self.wait_until_expired(channel, unused)
        self.assertTrue(self.exists(channel.connection, used))
        channel.basic_cancel(inbox.tag)
        self.wait_until_expired(channel, used)

    def wait_until_expired(self, channel: BlockingChannel, queue: str) -> None:
        """Wait until a queue has expired; each look at it counts as use."""
        self.wait_until_gone(channel.connection, queue, 2.5 * EXPIRES)
