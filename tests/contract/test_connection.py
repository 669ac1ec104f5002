"""Connections and channels: the handshake, heartbeats, refusals, and messages of all sizes and kinds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pika
from pika import frame, spec
from pika.exceptions import ChannelClosedByBroker, ProbableAccessDeniedError, ProbableAuthenticationError

from tests.contract.base import BrokerContract, Inbox, on_channel
from tests.contract.brokers import on_both
from tests.contract.wire import CAPABILITIES

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

LOGIN_REFUSED = (
    "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile."
)


@on_both
class Handshake(BrokerContract):
    """From the first byte to an open connection."""

    @on_channel
    def test_start(self, channel: BlockingChannel) -> None:
        """The broker says what clients ask for before they use it, offers PLAIN, and tunes as RabbitMQ does."""
        client = self.wire(login=False)
        start = client.start("demo", "demo")
        self.assertEqual((start.version_major, start.version_minor), (0, 9))
        capabilities = start.server_properties["capabilities"]
        for name in (*CAPABILITIES, "per_consumer_qos"):
            self.assertIs(capabilities[name], True, name)
        self.assertIn(b"PLAIN", self.as_bytes(start.mechanisms).split())
        self.assertIn(b"en_US", self.as_bytes(start.locales).split())
        tune = client.method()
        self.assertEqual((tune.channel_max, tune.frame_max, tune.heartbeat), (2047, 131_072, 60))

    def as_bytes(self, value: str | bytes) -> bytes:
        """A long string, which the codec makes text of or not."""
        return value.encode() if isinstance(value, str) else value

    @on_channel
    def test_login_refused(self, channel: BlockingChannel) -> None:
        """A wrong pass word and an unknown user are refused with the same words."""
        for user, password in (("demo", "wrong"), ("nobody", "demo"), ("demo", "")):
            refused = self.wire(login=False).open(user, password)
            self.assertIsInstance(refused, spec.Connection.Close)
            self.assertEqual((refused.reply_code, refused.reply_text), (403, LOGIN_REFUSED))
        error: Any = self.assertRaises(
            ProbableAuthenticationError, self.connect, credentials=pika.PlainCredentials("demo", "wrong")
        )
        self.assertIn(LOGIN_REFUSED, str(error))

    @on_channel
    def test_login_refused_silently(self, channel: BlockingChannel) -> None:
        """A client without the capability is not told why, as the standard has it."""
        capabilities = {**CAPABILITIES, "authentication_failure_close": False}
        self.assertRaises(EOFError, self.wire(login=False).open, "demo", "wrong", capabilities=capabilities)

    @on_channel
    def test_unknown_vhost(self, channel: BlockingChannel) -> None:
        """A virtual host that is not there is refused."""
        refused = self.wire(login=False).open(virtual_host="nowhere")
        self.assertIsInstance(refused, spec.Connection.Close)
        self.assertEqual((refused.reply_code, refused.reply_text), (530, "NOT_ALLOWED - vhost nowhere not found"))
        self.assertRaises(ProbableAccessDeniedError, self.connect, virtual_host="nowhere")

    @on_channel
    def test_other_protocol(self, channel: BlockingChannel) -> None:
        """Whoever begins with something else is told the protocol, and disconnected."""
        for header in (b"AMQP\x00\x00\x08\x00", b"GET / HT"):
            client = self.wire(login=False)
            client.send_bytes(header)
            self.assertEqual(client.receive_bytes(), frame.ProtocolHeader().marshal())

    @on_channel
    def test_frame_max(self, channel: BlockingChannel) -> None:
        """A client may have smaller frames, which the broker fills to the byte."""
        queue, client = self.queue(channel), self.wire(login=False)
        client.open(frame_max=4096)
        self.publish(channel, queue, b"x" * 10_000)
        received = client.get(1, queue)
        self.assertEqual((len(received.body), received.sizes[:-1]), (10_000, (4096, 4096)))

    @on_channel
    def test_close(self, channel: BlockingChannel) -> None:
        """A close is confirmed."""
        self.assertIsInstance(self.wire().ask(0, spec.Connection.Close(200, "bye", 0, 0)), spec.Connection.CloseOk)


@on_both
class Heartbeats(BrokerContract):
    """The agreed number of seconds."""

    @on_channel
    def test_silent_client(self, channel: BlockingChannel) -> None:
        """The broker beats twice in the time, and drops a client that is silent for about twice the time."""
        client = self.wire(login=False)
        client.open(heartbeat=1)
        began, beats = time.monotonic(), []
        with self.assertRaises(EOFError):
            while True:
                beats.append(client.receive().method)
        self.assertEqual(set(beats), {None})
        self.assertGreaterEqual(len(beats), 2)
        self.assertTrue(1.5 < time.monotonic() - began < 6, time.monotonic() - began)

    @on_channel
    def test_negotiated(self, channel: BlockingChannel) -> None:
        """A client that beats lives; whatever else it sends counts as a beat."""
        client = self.wire(login=False)
        client.open(heartbeat=1)
        for _ in range(5):
            self.assertIsNone(client.receive().method)
            client.send_bytes(frame.Heartbeat().marshal())
        client.send(1, spec.Basic.Qos())
        while (method := client.receive().method) is None:
            continue
        self.assertIsInstance(method, spec.Basic.QosOk)


@on_both
class Channels(BrokerContract):
    """Channels of one connection."""

    @on_channel
    def test_error(self, channel: BlockingChannel) -> None:
        """An error on one channel leaves the others alone, their consumers and what is unacknowledged too."""
        queue, bad = self.queue(channel), channel.connection.channel()
        inbox = Inbox(channel, queue, auto_ack=False)
        self.publish(channel, queue, b"1")
        inbox.wait(1)
        self.assertRaises(ChannelClosedByBroker, bad.queue_declare, self.name("missing"), passive=True)
        self.publish(channel, queue, b"2")
        self.assertEqual(inbox.wait(2), [b"1", b"2"])
        channel.basic_ack(inbox.tags[0])
        self.assertFalse(channel.queue_declare(queue, passive=True).method.message_count)

    @on_channel
    def test_number_again(self, channel: BlockingChannel) -> None:
        """The number of a closed channel may be used again, whoever closed it; it begins anew."""
        client = self.wire()
        client.ask(1, spec.Confirm.Select())
        closed = client.ask(1, spec.Queue.Declare(queue=self.name("missing"), passive=True))
        self.assertIsInstance(closed, spec.Channel.Close)
        self.assertEqual((closed.reply_code, closed.class_id, closed.method_id), (404, 50, 10))
        client.send(1, spec.Channel.CloseOk())
        for _ in range(2):
            self.assertIsInstance(client.ask(1, spec.Channel.Open()), spec.Channel.OpenOk)
            client.publish(1, self.name("missing"))
            self.assertIsInstance(client.ask(1, spec.Channel.Close(200, "bye", 0, 0)), spec.Channel.CloseOk)

    @on_channel
    def test_not_open(self, channel: BlockingChannel) -> None:
        """A method on a channel that is not open, and opening one twice, end the connection."""
        closed = self.wire().ask(2, spec.Basic.Qos())
        self.assertEqual((closed.reply_code, closed.reply_text), (504, "CHANNEL_ERROR - expected 'channel.open'"))
        closed = self.wire().ask(1, spec.Channel.Open())
        self.assertEqual(closed.reply_code, 504)
        self.assertEqual(closed.reply_text, "CHANNEL_ERROR - second 'channel.open' seen")

    @on_channel
    def test_unexpected_frame(self, channel: BlockingChannel) -> None:
        """A method where the message of a publish should come ends the connection."""
        client = self.wire()
        client.send(1, spec.Basic.Publish(routing_key="key"))
        closed = client.ask(1, spec.Basic.Qos())
        self.assertIsInstance(closed, spec.Connection.Close)
        self.assertEqual((closed.reply_code, closed.class_id, closed.method_id), (505, 60, 40))

    @on_channel
    def test_many(self, channel: BlockingChannel) -> None:
        """Many channels of one connection each get what is theirs."""
        channels = [channel.connection.channel() for _ in range(20)]
        inboxes = [Inbox(each, self.queue(each, f"queue{number}")) for number, each in enumerate(channels)]
        for number in range(20):
            self.publish(channel, self.name(f"queue{number}"), b"%d" % number)
        for number, inbox in enumerate(inboxes):
            self.assertEqual(inbox.wait(1), [b"%d" % number])
