"""Messages of all sizes and kinds are delivered unchanged."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pika
from pika.compat import long

from tests.contract.base import BrokerContract, on_channel
from tests.contract.brokers import on_both

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

HEADERS: dict[str, Any] = {
    "text": "grüß",
    "empty": "",
    "bytes": b"\xff\x00",
    "true": True,
    "false": False,
    "number": -7,
    "large": 2**40,
    "long": long(5),
    "decimal": Decimal("-1.5"),
    "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "table": {"inner": {"list": [1, "two", {"three": 3}]}},
    "list": [],
    "none": None,
    "ключ": "key",
}
#: Types that pika does not encode: signed and unsigned integers of each size, and fractions.
FIELDS = (
    *(b"\x01bb\xfe", b"\x01BB\xfe", b"\x01ss\xff\xfe", b"\x01uu\xff\xfe", b"\x01ii\xff\xff\xff\xfe"),
    *(b"\x01ff\x3f\x00\x00\x00", b"\x01dd\x3f\xe0\x00\x00\x00\x00\x00\x00"),
)
ENCODED = b"".join(FIELDS)


@on_both
class Bodies(BrokerContract):
    """Bodies."""

    @on_channel
    def test_sizes(self, channel: BlockingChannel) -> None:
        """Empty bodies, bodies that fill one frame exactly, and bodies of several frames."""
        queue = self.queue(channel)
        full = 131_072 - 8
        for size in (0, 1, full - 1, full, full + 1, 2 * full, 1_000_000):
            body = bytes(range(256)) * (size // 256) + bytes(size % 256)
            self.publish(channel, queue, body)
            self.assertTrue(self.get(channel, queue) == body, f"{size} bytes")
            self.publish(channel, queue, body)
            self.assertTrue(self.take(channel, queue)[0][2] == body, f"{size} bytes")

    @on_channel
    def test_returned(self, channel: BlockingChannel) -> None:
        """Returned bodies as well."""
        for body in (b"", b"x" * 300_000):
            with self.assertRaises(pika.exceptions.UnroutableError) as caught:
                channel.basic_publish("", self.name("missing"), body, mandatory=True)
            self.assertEqual([each.body for each in caught.exception.messages], [body])

    @on_channel
    def test_in_turn(self, channel: BlockingChannel) -> None:
        """Messages of several frames on several channels are not mixed up."""
        queues = [self.queue(channel, f"queue{number}") for number in range(3)]
        channels = [channel.connection.channel() for _ in queues]
        for number in range(4):
            for queue, each in zip(queues, channels, strict=True):
                self.publish(each, queue, (queue.encode() + b"%d" % number) * 20_000)
        for queue in queues:
            bodies = [body for _, _, body in self.take(channel, queue, 4)]
            self.assertTrue(bodies == [(queue.encode() + b"%d" % number) * 20_000 for number in range(4)])


@on_both
class Properties(BrokerContract):
    """Properties and headers."""

    def sent(self, channel: BlockingChannel, properties: pika.BasicProperties) -> Any:
        """The properties of a message after it went through a queue."""
        queue = self.queue(channel)
        channel.basic_publish("", queue, b"1", properties)
        return channel.basic_get(queue, auto_ack=True)[1]

    @on_channel
    def test_all(self, channel: BlockingChannel) -> None:
        """All properties are kept."""
        given: dict[str, Any] = {
            "content_type": "application/json",
            "content_encoding": "gzip",
            "delivery_mode": 2,
            "priority": 4,
            "correlation_id": "correlation",
            "reply_to": "queue.out",
            "expiration": "60000",
            "message_id": "message",
            "timestamp": 1_700_000_000,
            "type": "type",
            "user_id": "demo",
            "app_id": "app",
            "cluster_id": "cluster",
        }
        received = self.sent(channel, pika.BasicProperties(**given))
        self.assertEqual({name: getattr(received, name) for name in given}, given)
        self.assertIsNone(received.headers)

    @on_channel
    def test_none(self, channel: BlockingChannel) -> None:
        """A message without properties gets none; an empty property stays empty."""
        self.assertEqual(set(self.values(self.sent(channel, pika.BasicProperties()))), {None})
        received = self.sent(channel, pika.BasicProperties(content_type="", headers={}, correlation_id=""))
        self.assertEqual((received.content_type, received.headers, received.correlation_id), ("", {}, ""))
        self.assertIsNone(received.reply_to)

    def values(self, properties: Any) -> list[Any]:
        """All properties."""
        names = (*(name for name in vars(pika.BasicProperties()) if not name.startswith("_")),)
        return [getattr(properties, name) for name in names]

    @on_channel
    def test_headers(self, channel: BlockingChannel) -> None:
        """Headers of every type that pika encodes keep value and type, in deliveries and returns."""
        received = self.sent(channel, pika.BasicProperties(headers=HEADERS))
        self.assertEqual(received.headers, HEADERS)
        self.assertEqual(
            {name: type(value) for name, value in received.headers.items()},
            {name: type(value) for name, value in HEADERS.items()} | {"large": long},
        )
        with self.assertRaises(pika.exceptions.UnroutableError) as caught:
            properties = pika.BasicProperties(headers=HEADERS)
            channel.basic_publish("", self.name("missing"), b"", properties, mandatory=True)
        self.assertEqual(caught.exception.messages[0].properties.headers, HEADERS)

    @on_channel
    def test_other_headers(self, channel: BlockingChannel) -> None:
        """Headers of types that pika only decodes are kept byte for byte; since 4.0, sorted by their names."""
        queue, client = self.queue(channel), self.wire()
        client.publish_encoded(1, queue, ENCODED)
        self.wait_for_count(channel, queue, 1)
        self.assertEqual(client.get_encoded(1, queue), b"".join(sorted(FIELDS)) if self.since_4 else ENCODED)

    @on_channel
    def test_dead_letter(self, channel: BlockingChannel) -> None:
        """Dead-lettering keeps such headers as well."""
        dead = self.queue(channel, "dead")
        work = self.queue(
            channel,
            "work",
            {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead, "x-message-ttl": 5},
        )
        client = self.wire()
        client.publish_encoded(1, work, ENCODED)
        self.wait_for_count(channel, dead, 1)
        received = client.get_encoded(1, dead)
        for each in FIELDS:
            self.assertIn(each, received)

    @on_channel
    def test_foreign_user(self, channel: BlockingChannel) -> None:
        """A message may not claim to be another user's."""
        other = channel.connection.channel()
        self.publish(other, self.queue(channel), user_id="other")
        text = "PRECONDITION_FAILED - user_id property set to 'other' but authenticated user was 'demo'"
        self.assert_closed(other, 406, text)
