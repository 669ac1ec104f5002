"""Which queues a message goes to, and returns of unrouted messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika import spec
from pika.exceptions import UnroutableError

from tests.contract.base import BrokerContract, on_channel
from tests.contract.brokers import on_both

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pika.adapters.blocking_connection import BlockingChannel


@on_both
class Routing(BrokerContract):
    """Types of exchanges."""

    @on_channel
    def test_default(self, channel: BlockingChannel) -> None:
        """The default exchange routes to the queue named like the key; other exchanges have no such bindings."""
        queue, other = self.queue(channel), self.queue(channel, "other")
        channel.queue_bind(other, "amq.direct", queue)
        self.publish(channel, queue)
        channel.queue_unbind(other, "amq.direct", queue)
        self.assertEqual((self.count(channel, queue), self.count(channel, other)), (1, 0))
        method, _, _ = channel.basic_get(queue, auto_ack=True)
        self.assertEqual((method.exchange, method.routing_key), ("", queue))

    @on_channel
    def test_direct(self, channel: BlockingChannel) -> None:
        """A direct exchange compares keys exactly, even an empty key and keys with wildcards."""
        name = self.exchange(channel, "direct")
        queues = {key: self.queue(channel, f"queue{number}") for number, key in enumerate(("", "a", "a.b", "#", "A"))}
        for key, queue in queues.items():
            channel.queue_bind(queue, name, key)
        for key in (*queues, "*", "a.", ".a", "b"):
            self.publish(channel, key, key.encode(), exchange=name)
        for key, queue in queues.items():
            self.assertEqual(self.bodies(channel, queue), [key.encode()])

    @on_channel
    def test_direct_several(self, channel: BlockingChannel) -> None:
        """All queues with the same key get the message; a queue may have several keys."""
        name = self.exchange(channel, "direct")
        one, two = self.queue(channel, "one"), self.queue(channel, "two")
        for queue, key in ((one, "a"), (one, "b"), (two, "b")):
            channel.queue_bind(queue, name, key)
        self.publish(channel, "a", b"1", exchange=name)
        self.publish(channel, "b", b"2", exchange=name)
        self.assertEqual((self.bodies(channel, one), self.bodies(channel, two)), ([b"1", b"2"], [b"2"]))

    @on_channel
    def test_fanout(self, channel: BlockingChannel) -> None:
        """A fanout exchange routes every key to every queue, once."""
        name = self.exchange(channel, "fanout")
        queues = [self.queue(channel, f"queue{number}") for number in range(3)]
        for number, queue in enumerate(queues):
            channel.queue_bind(queue, name, f"key{number}")
            channel.queue_bind(queue, name, "")
        self.publish(channel, "other", exchange=name)
        self.assertEqual([self.count(channel, queue) for queue in queues], [1, 1, 1])

    @on_channel
    def test_several_bindings(self, channel: BlockingChannel) -> None:
        """A queue with several matching bindings gets the message once."""
        name, queue = self.exchange(channel, "topic"), self.queue(channel)
        for key in ("#", "a.*", "*.b", "a.b"):
            channel.queue_bind(queue, name, key)
        self.publish(channel, "a.b", exchange=name)
        self.assertEqual(self.count(channel, queue), 1)

    def bodies(self, channel: BlockingChannel, queue: str) -> list[bytes]:
        """The bodies of the ready messages in a queue."""
        bodies = []
        while (body := self.get(channel, queue)) is not None:
            bodies.append(body)
        return bodies


@on_both
class Topics(BrokerContract):
    """Which keys a binding of a topic exchange matches."""

    def assert_matches(self, channel: BlockingChannel, binding: str, yes: Iterable[str], no: Iterable[str]) -> None:
        """Check which keys a binding matches."""
        name, queue = self.exchange(channel, "topic"), self.queue(channel)
        channel.queue_bind(queue, name, binding)
        try:
            for key, expected in (*((key, 1) for key in yes), *((key, 0) for key in no)):
                self.publish(channel, key, exchange=name)
                self.assertEqual(self.count(channel, queue), expected, f"{key!r} and {binding!r}")
                channel.queue_purge(queue)
        finally:
            channel.queue_unbind(queue, name, binding)

    @on_channel
    def test_plain(self, channel: BlockingChannel) -> None:
        """Without wildcards keys are compared exactly."""
        self.assert_matches(channel, "a.b", ["a.b"], ["a", "a.b.c", "A.b", "a.b.", ".a.b", "ab", ""])
        self.assert_matches(channel, "", [""], ["a", "."])

    @on_channel
    def test_star(self, channel: BlockingChannel) -> None:
        """A star matches exactly one word, which may be empty between dots."""
        self.assert_matches(channel, "*", ["a", "ab"], ["a.b", "."])
        self.assert_matches(channel, "a.*", ["a.b", "a.", "a.*"], ["a", "a.b.c", "b.a", "a..b"])
        self.assert_matches(channel, "*.b", ["a.b", ".b"], ["b", "a.a.b"])
        self.assert_matches(channel, "a.*.c", ["a.b.c", "a..c"], ["a.c", "a.b.b.c"])
        self.assert_matches(channel, "*.*", ["a.b", "."], ["a", "", "a.b.c", ".."])

    @on_channel
    def test_star_empty(self, channel: BlockingChannel) -> None:
        """The empty key has no word: no star matches it."""
        self.assert_matches(channel, "*", [], [""])
        self.assert_matches(channel, "*.#", [], [""])
        self.assert_matches(channel, "#.*", [], [""])

    @on_channel
    def test_hash(self, channel: BlockingChannel) -> None:
        """A hash matches any number of words, even none."""
        self.assert_matches(channel, "#", ["", "a", "a.b.c", ".", ".."], [])
        self.assert_matches(channel, "a.#", ["a", "a.b", "a.b.c", "a."], ["b", "ab", "", "b.a"])
        self.assert_matches(channel, "#.c", ["c", "b.c", "a.b.c", ".c"], ["c.d", "", "bc"])
        self.assert_matches(channel, "a.#.c", ["a.c", "a.b.c", "a.b.b.c", "a..c"], ["a", "c", "a.c.b"])

    @on_channel
    def test_both(self, channel: BlockingChannel) -> None:
        """Stars and hashes together."""
        self.assert_matches(channel, "*.#", ["a", "a.b", "a.b.c", "."], [])
        self.assert_matches(channel, "#.*", ["a", "a.b", "a.b.c"], [])
        self.assert_matches(channel, "#.*.#", ["a", "a.b", "a.b.c"], [])
        self.assert_matches(channel, "#.#", ["", "a", "a.b"], [])
        self.assert_matches(channel, "*.a.#", ["b.a", "b.a.c", "a.a", ".a"], ["a", "a.b", "c.b.a"])
        self.assert_matches(channel, "#.a.*", ["a.b", "c.a.b", "a.a.b", "a.a"], ["a", "b.a", "a.b.c"])

    @on_channel
    def test_no_wildcards(self, channel: BlockingChannel) -> None:
        """A wildcard must be a whole word; other special characters have no meaning."""
        self.assert_matches(channel, "a*", ["a*"], ["ab", "a"])
        self.assert_matches(channel, "a.b#", ["a.b#"], ["a.b", "a.bc"])
        self.assert_matches(channel, "a.(b|c)+?", ["a.(b|c)+?"], ["a.b"])
        self.assert_matches(channel, "*.ü", ["ä.ü"], ["ä.u"])


@on_both
class NoRoute(BrokerContract):
    """Unrouted messages."""

    @on_channel
    def test_mandatory(self, channel: BlockingChannel) -> None:
        """An unrouted mandatory message is returned unchanged, with 312 NO_ROUTE."""
        name = self.exchange(channel, "topic")
        properties = spec.BasicProperties(message_id="m", headers={"number": 7})
        error: Any = self.assertRaises(
            UnroutableError, channel.basic_publish, name, "no.where", b"body", properties, mandatory=True
        )
        [returned] = error.messages
        method = returned.method
        self.assertEqual((method.reply_code, method.reply_text), (312, "NO_ROUTE"))
        self.assertEqual((method.exchange, method.routing_key), (name, "no.where"))
        self.assertEqual((returned.properties.message_id, returned.properties.headers), ("m", {"number": 7}))
        self.assertEqual(returned.body, b"body")

    @on_channel
    def test_mandatory_default(self, channel: BlockingChannel) -> None:
        """The default exchange returns a mandatory message for a missing queue."""
        missing = self.name("missing")
        error: Any = self.assertRaises(UnroutableError, channel.basic_publish, "", missing, b"1", mandatory=True)
        [returned] = error.messages
        self.assertEqual((returned.method.exchange, returned.method.routing_key), ("", missing))

    @on_channel
    def test_mandatory_routed(self, channel: BlockingChannel) -> None:
        """A mandatory message that goes to one queue is not returned."""
        queue = self.queue(channel)
        channel.basic_publish("", queue, b"1", mandatory=True)
        self.assertEqual(self.count(channel, queue), 1)

    @on_channel
    def test_not_mandatory(self, channel: BlockingChannel) -> None:
        """An unrouted message without mandatory is dropped and confirmed."""
        channel.basic_publish("", self.name("missing"), b"1")
        channel.basic_publish(self.exchange(channel, "direct"), "key", b"1")

    @on_channel
    def test_missing_exchange(self, channel: BlockingChannel) -> None:
        """A publish to a missing exchange closes its channel, mandatory or not, and no other channel."""
        missing, queue = self.name("missing"), self.queue(channel)
        for mandatory in (False, True):
            other = channel.connection.channel()
            other.basic_publish(missing, "key", b"1", mandatory=mandatory)
            self.assert_closed(other, 404, f"NOT_FOUND - no exchange '{missing}' in vhost '/'")
        self.publish(channel, queue)
        self.assertEqual(self.count(channel, queue), 1)

    @on_channel
    def test_after_close(self, channel: BlockingChannel) -> None:
        """Methods after a publish that closes the channel have no effect."""
        client, missing, queue = self.wire(), self.name("missing"), self.queue(channel)
        client.publish(1, "key", exchange=missing)
        client.publish(1, queue, b"1", b"2")
        closed = client.method()
        self.assertIsInstance(closed, spec.Channel.Close)
        self.assertEqual((closed.reply_code, closed.class_id, closed.method_id), (404, 60, 40))
        client.send(1, spec.Channel.CloseOk())
        self.assertIsInstance(client.ask(1, spec.Channel.Open()), spec.Channel.OpenOk)
        client.ask(1, spec.Confirm.Select())
        client.publish(1, queue, b"3")
        self.assertIsInstance(client.method(), spec.Basic.Ack)
        self.assertEqual(self.get(channel, queue), b"3")
