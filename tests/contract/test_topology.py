"""Exchanges and bindings: what can be declared, what is refused, and with which text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika import spec

from tests.contract.base import BrokerContract, on_channel
from tests.contract.brokers import on_both

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel


@on_both
class Exchanges(BrokerContract):
    """Declaring and deleting exchanges."""

    @on_channel
    def test_again(self, channel: BlockingChannel) -> None:
        """An exchange can be declared again with the same properties."""
        for type_ in ("direct", "fanout", "topic"):
            name = self.exchange(channel, type_, type_, durable=True)
            channel.exchange_declare(name, type_, durable=True)

    @on_channel
    def test_differs(self, channel: BlockingChannel) -> None:
        """Another type, durability, auto_delete or internal is refused; the text has existing and requested value."""
        name = self.exchange(channel, "direct")
        for argument, received, current, flags in (
            ("type", "fanout", "direct", {"exchange_type": "fanout"}),
            ("durable", "true", "false", {"durable": True}),
            ("auto_delete", "true", "false", {"auto_delete": True}),
            ("internal", "true", "false", {"internal": True}),
        ):
            text = (
                f"PRECONDITION_FAILED - inequivalent arg '{argument}' for exchange '{name}' in vhost '/': "
                f"received '{received}' but current is '{current}'"
            )
            given: dict[str, Any] = {"exchange_type": "direct", **flags}
            self.assert_refused(406, text, channel.connection.channel().exchange_declare, name, **given)

    @on_channel
    def test_passive(self, channel: BlockingChannel) -> None:
        """A passive declaration accepts an exchange with any properties, and is refused for a missing one."""
        name = self.exchange(channel, "topic")
        channel.exchange_declare(name, "direct", passive=True, durable=True)
        missing = self.name("missing")
        text = f"NOT_FOUND - no exchange '{missing}' in vhost '/'"
        self.assert_refused(404, text, channel.exchange_declare, missing, passive=True)

    @on_channel
    def test_default(self, channel: BlockingChannel) -> None:
        """The default exchange cannot be declared, even passively, nor deleted."""
        text = "ACCESS_REFUSED - operation not permitted on the default exchange"
        open_channel = channel.connection.channel
        self.assert_refused(403, text, open_channel().exchange_declare, "", "direct", durable=True)
        self.assert_refused(403, text, open_channel().exchange_declare, "", passive=True)
        self.assert_refused(403, text, open_channel().exchange_delete, "")

    @on_channel
    def test_predeclared(self, channel: BlockingChannel) -> None:
        """The broker's own exchanges exist, are durable, can be declared as they are, but not deleted."""
        for type_ in ("direct", "fanout", "topic"):
            channel.exchange_declare(f"amq.{type_}", type_, durable=True)
        text = "ACCESS_REFUSED - deletion of system exchange 'amq.topic' in vhost '/' not allowed"
        self.assert_refused(403, text, channel.exchange_delete, "amq.topic")

    @on_channel
    def test_reserved(self, channel: BlockingChannel) -> None:
        """Names that begin with "amq." are refused."""
        text = "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'"
        self.assert_refused(403, text, channel.exchange_declare, "amq.mine", "direct")

    @on_channel
    def test_unknown_type(self, channel: BlockingChannel) -> None:
        """A type that does not exist ends the connection; since 4.0, the channel only."""
        if self.since_4:
            text = "PRECONDITION_FAILED - unknown exchange type 'odd'"
            self.assert_refused(406, text, channel.exchange_declare, self.name("exchange"), "odd")
        else:
            text = "COMMAND_INVALID - unknown exchange type 'odd'"
            self.assert_disconnected(503, text, channel.exchange_declare, self.name("exchange"), "odd")

    @on_channel
    def test_delete(self, channel: BlockingChannel) -> None:
        """An exchange is deleted with its bindings; deleting a missing one is no error."""
        name, queue = self.exchange(channel, "fanout"), self.queue(channel)
        channel.queue_bind(queue, name)
        channel.exchange_delete(name)
        channel.exchange_delete(name)
        self.assertFalse(self.exists(channel.connection, name, exchange=True))
        channel.exchange_declare(name, "fanout")
        self.publish(channel, "", exchange=name)
        self.assertEqual(self.count(channel, queue), 0)

    @on_channel
    def test_delete_if_unused(self, channel: BlockingChannel) -> None:
        """With if_unused an exchange with a binding is kept."""
        name, queue = self.exchange(channel, "fanout"), self.queue(channel)
        channel.queue_bind(queue, name)
        text = f"PRECONDITION_FAILED - exchange '{name}' in vhost '/' in use"
        self.assert_refused(406, text, channel.connection.channel().exchange_delete, name, if_unused=True)
        channel.queue_unbind(queue, name)
        channel.exchange_delete(name, if_unused=True)
        self.assertFalse(self.exists(channel.connection, name, exchange=True))

    @on_channel
    def test_auto_delete(self, channel: BlockingChannel) -> None:
        """An exchange with auto_delete is deleted with its last binding, unbound or deleted with the queue."""
        queues = [self.queue(channel, f"queue{number}") for number in range(2)]
        name = self.exchange(channel, "direct", auto_delete=True)
        for queue in queues:
            channel.queue_bind(queue, name, "key")
        channel.queue_unbind(queues[0], name, "key")
        self.assertTrue(self.exists(channel.connection, name, exchange=True))
        channel.queue_delete(queues[1])
        self.assertFalse(self.exists(channel.connection, name, exchange=True))

    @on_channel
    def test_internal(self, channel: BlockingChannel) -> None:
        """A publish to an internal exchange is refused."""
        name = self.exchange(channel, "fanout", internal=True)
        text = f"ACCESS_REFUSED - cannot publish to internal exchange '{name}' in vhost '/'"
        self.assert_refused(403, text, self.publish, channel, "", exchange=name)

    @on_channel
    def test_line_ends(self, channel: BlockingChannel) -> None:
        """Line ends in an exchange's name are removed in declarations, bindings and deletions, not in publishes."""
        name, queue = self.exchange(channel, "direct", "ab"), self.queue(channel)
        written = name.replace("ab", "a\r\nb")
        channel.exchange_declare(written, passive=True)
        channel.queue_bind(queue, written, "key")
        self.publish(channel, "key", exchange=name)
        self.assertEqual(self.get(channel, queue), b"1")
        channel.queue_unbind(queue, written, "key")
        text = f"NOT_FOUND - no exchange '{written}' in vhost '/'"
        self.assert_refused(404, text, self.publish, channel, "key", exchange=written)
        other = channel.connection.channel()
        other.exchange_delete(written)
        self.assertFalse(self.exists(channel.connection, name, exchange=True))
        text = "ACCESS_REFUSED - operation not permitted on the default exchange"
        self.assert_refused(403, text, other.exchange_declare, "\n", "direct")


@on_both
class Bindings(BrokerContract):
    """Binding queues to exchanges, and unbinding them."""

    @on_channel
    def test_twice(self, channel: BlockingChannel) -> None:
        """Binding twice makes one binding; unbinding twice is no error."""
        name, queue = self.exchange(channel, "direct"), self.queue(channel)
        for _ in range(2):
            channel.queue_bind(queue, name, "key")
        self.publish(channel, "key", exchange=name)
        self.assertEqual(self.count(channel, queue), 1)
        for _ in range(2):
            channel.queue_unbind(queue, name, "key")
        self.publish(channel, "key", exchange=name)
        self.assertEqual(self.count(channel, queue), 1)

    @on_channel
    def test_missing(self, channel: BlockingChannel) -> None:
        """Binding a missing queue, or to a missing exchange, is refused."""
        name, queue, missing = self.exchange(channel, "direct"), self.queue(channel), self.name("missing")
        open_channel = channel.connection.channel
        text = f"NOT_FOUND - no queue '{missing}' in vhost '/'"
        self.assert_refused(404, text, open_channel().queue_bind, missing, name)
        text = f"NOT_FOUND - no exchange '{missing}' in vhost '/'"
        self.assert_refused(404, text, open_channel().queue_bind, queue, missing)

    @on_channel
    def test_undo_missing(self, channel: BlockingChannel) -> None:
        """Unbinding a missing queue, or from a missing exchange, is no error."""
        name, queue, missing = self.exchange(channel, "direct"), self.queue(channel), self.name("missing")
        channel.queue_unbind(missing, name, "key")
        channel.queue_unbind(queue, missing, "key")
        channel.queue_unbind(missing, missing, "key")

    @on_channel
    def test_default(self, channel: BlockingChannel) -> None:
        """The bindings of the default exchange cannot be changed."""
        queue = self.queue(channel)
        text = "ACCESS_REFUSED - operation not permitted on the default exchange"
        self.assert_refused(403, text, channel.connection.channel().queue_bind, queue, "", "key")
        self.assert_refused(403, text, channel.connection.channel().queue_unbind, queue, "", queue)

    @on_channel
    def test_arguments(self, channel: BlockingChannel) -> None:
        """Bindings that differ in arguments are unbound one by one; a message still comes once."""
        name, queue = self.exchange(channel, "direct"), self.queue(channel)
        channel.queue_bind(queue, name, "key", {"number": 1})
        channel.queue_bind(queue, name, "key", {"number": 2})
        self.publish(channel, "key", exchange=name)
        self.assertEqual(self.count(channel, queue), 1)
        channel.queue_unbind(queue, name, "key", {"number": 1})
        self.publish(channel, "key", exchange=name)
        self.assertEqual(self.count(channel, queue), 2)

    @on_channel
    def test_odd_arguments(self, channel: BlockingChannel) -> None:
        """Names of arguments need not be UTF-8."""
        name, queue, client = self.exchange(channel, "direct"), self.queue(channel), self.wire()
        table = b"\x02\xff\xfet\x01\x01at\x01"
        strings = b"".join(bytes([len(each)]) + each.encode() for each in (queue, name, "key"))
        payload = b"\x00\x32\x00\x14\x00\x00" + strings + b"\x00" + len(table).to_bytes(4, "big") + table
        client.send_frame(spec.FRAME_METHOD, 1, payload)
        self.assertIsInstance(client.method(), spec.Queue.BindOk)
        self.publish(channel, "key", exchange=name)
        self.assertEqual(self.get(channel, queue), b"1")

    @on_channel
    def test_undo_locked(self, channel: BlockingChannel) -> None:
        """Unbinding another connection's exclusive queue is refused, unless there is no such binding."""
        name, queue = self.exchange(channel, "direct"), self.queue(channel, exclusive=True)
        channel.queue_bind(queue, name, "key")
        other = self.connect().channel()
        other.queue_unbind(queue, name, "another key")
        text = (
            f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost '/'. It could be "
            "originally declared on another connection or the exclusive property value does not match that of the "
            "original declaration."
        )
        self.assert_refused(405, text, other.queue_unbind, queue, name, "key")
        self.publish(channel, "key", exchange=name)
        self.assertEqual(self.get(channel, queue), b"1")

    @on_channel
    def test_last_declared(self, channel: BlockingChannel) -> None:
        """An empty name stands for the queue that the channel declared last, and an empty key then for its name."""
        name, queue = self.exchange(channel, "direct"), self.queue(channel)
        channel.queue_bind("", name, "")
        self.publish(channel, queue, exchange=name)
        self.assertEqual(self.get(channel, ""), b"1")
        other = channel.connection.channel()
        self.assert_refused(404, "NOT_FOUND - no previously declared queue", other.basic_get, "")
