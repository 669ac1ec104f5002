"""Limits that a broker is configured with: frames, channels, sizes of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pika
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker, NoFreeChannels

from tests.contract.base import BrokerContract, on_channel
from tests.contract.brokers import on_both

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

FRAME_MAX = 8192
#: Bytes of a header frame besides the properties: its start and end, class, weight, size of the body.
OVERHEAD = 8 + 12


def properties(size: int) -> pika.BasicProperties:
    """Properties that take this many bytes."""
    empty = b"".join(pika.BasicProperties(headers={"a": ""}).encode())
    return pika.BasicProperties(headers={"a": "x" * (size - len(empty))})


@on_both
class Limits(BrokerContract):
    """What a broker with lower limits tells its clients, and what it refuses."""

    def confirming(self) -> BlockingChannel:
        """A channel with confirms on a new connection."""
        channel = self.connect().channel()
        channel.confirm_delivery()
        return channel

    @on_channel
    def test_sizes(self, channel: BlockingChannel) -> None:
        """Frames up to frame_max are taken. Larger ones close the connection, larger bodies close the channel."""
        self.limit(frame_max=FRAME_MAX, max_message_size=50_000)
        queue = self.queue(channel)
        other = self.confirming()
        room = FRAME_MAX - OVERHEAD
        other.basic_publish("", queue, b"x" * 50_000, properties(room))
        ((_, sent, body),) = self.take(channel, queue)
        self.assertEqual((len(body), len(b"".join(sent.encode()))), (50_000, room))
        refused: Any = self.assertRaises(
            ChannelClosedByBroker, other.basic_publish, "", queue, b"x" * 50_001, pika.BasicProperties()
        )
        text = "PRECONDITION_FAILED - message size 50001 is larger than configured max size 50000"
        self.assertEqual((refused.reply_code, refused.reply_text), (406, text))
        # RabbitMQ takes 8 bytes more than it has agreed to.
        error: Any = self.assertRaises(
            ConnectionClosedByBroker, self.confirming().basic_publish, "", queue, b"", properties(room + 9)
        )
        self.assertEqual(error.reply_code, 501)
        self.assertIn("frame_too_large", error.reply_text)

    @on_channel
    def test_channels(self, channel: BlockingChannel) -> None:
        """The client learns how many channels it may open. A dead letter may come in a frame over frame_max."""
        self.limit(frame_max=FRAME_MAX, channel_max=2)
        connection = self.connect()
        opened = [connection.channel() for _ in range(2)]
        self.assertRaises(NoFreeChannels, connection.channel)
        queue = self.queue(channel)
        route = {"x-message-ttl": 1, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}
        waiting = self.queue(channel, "waiting", route)
        opened[0].basic_publish("", waiting, b"1", properties(FRAME_MAX - OVERHEAD))
        ((_, dead, _),) = self.take(opened[1], queue)
        self.assertGreater(len(b"".join(dead.encode())) + OVERHEAD, FRAME_MAX)
