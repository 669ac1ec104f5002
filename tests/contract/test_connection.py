"""Connections and channels: handshake, heartbeats, refusals, frames."""

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
        """The broker announces its capabilities, offers PLAIN, and tunes as RabbitMQ does."""
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
        """A long string as bytes; the codec may have decoded it."""
        return value.encode() if isinstance(value, str) else value

    @on_channel
    def test_login_refused(self, channel: BlockingChannel) -> None:
        """A wrong password and an unknown user are refused with the same text."""
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
        """Without authentication_failure_close, the broker ends the connection without a reason, as AMQP says."""
        capabilities = {**CAPABILITIES, "authentication_failure_close": False}
        self.assertRaises(EOFError, self.wire(login=False).open, "demo", "wrong", capabilities=capabilities)

    @on_channel
    def test_unknown_vhost(self, channel: BlockingChannel) -> None:
        """An unknown virtual host is refused."""
        refused = self.wire(login=False).open(virtual_host="nowhere")
        self.assertIsInstance(refused, spec.Connection.Close)
        self.assertEqual((refused.reply_code, refused.reply_text), (530, "NOT_ALLOWED - vhost nowhere not found"))
        self.assertRaises(ProbableAccessDeniedError, self.connect, virtual_host="nowhere")

    @on_channel
    def test_other_protocol(self, channel: BlockingChannel) -> None:
        """After another protocol header, the broker sends its own and disconnects; since 4.0, that is of AMQP 1.0."""
        own = b"AMQP\x03\x01\x00\x00" if self.since_4 else frame.ProtocolHeader().marshal()
        for header in (b"AMQP\x00\x00\x08\x00", b"GET / HT"):
            client = self.wire(login=False)
            client.send_bytes(header)
            self.assertEqual(client.receive_bytes(), own)

    @on_channel
    def test_frame_max(self, channel: BlockingChannel) -> None:
        """A client may choose a smaller frame_max, which the broker uses fully."""
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
    """The negotiated heartbeat."""

    @on_channel
    def test_silent_client(self, channel: BlockingChannel) -> None:
        """The broker beats twice per interval, and drops a client that is silent for about two intervals."""
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
        """A client that sends heartbeats, or any other frame, stays connected."""
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
        """An error on one channel does not affect consumers and unacknowledged messages of others."""
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
        """The number of a closed channel can be reused, whichever side closed it; the new channel starts afresh."""
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
    def test_many(self, channel: BlockingChannel) -> None:
        """Each of many channels of a connection gets its own deliveries."""
        channels = [channel.connection.channel() for _ in range(20)]
        inboxes = [Inbox(each, self.queue(each, f"queue{number}")) for number, each in enumerate(channels)]
        for number in range(20):
            self.publish(channel, self.name(f"queue{number}"), b"%d" % number)
        for number, inbox in enumerate(inboxes):
            self.assertEqual(inbox.wait(1), [b"%d" % number])


@on_both
class Frames(BrokerContract):
    """Frames that no client should send."""

    def closed(self, *frames: tuple[int, int, bytes], before: tuple[Any, ...] = ()) -> tuple[int, str, int, int]:
        """Send methods on channel 1 and then a frame on a new connection; returns how the broker ends it."""
        client = self.wire()
        for method in before:
            client.send(1, method)
        for each in frames:
            client.send_frame(*each)
        closed = client.method()
        self.assertIsInstance(closed, spec.Connection.Close)
        return (closed.reply_code, closed.reply_text, closed.class_id, closed.method_id)

    @on_channel
    def test_wrong_channel(self, channel: BlockingChannel) -> None:
        """Message frames on channel 0, heartbeats on other channels, and methods on the wrong channel are errors."""
        text = 'UNEXPECTED_FRAME - type 3, all octets = <<"abc">>'
        self.assertEqual(self.closed((spec.FRAME_BODY, 0, b"abc")), (505, text, 0, 0))
        text = "UNEXPECTED_FRAME - type 2, all octets = <<0,60,0,0,0,0,0,0,0,0,0,5,0,0>>"
        header = frame.Header(0, 5, pika.BasicProperties()).marshal()[7:-1]
        self.assertEqual(self.closed((spec.FRAME_HEADER, 0, header)), (505, text, 0, 0))
        text = "UNEXPECTED_FRAME - type 8, all octets = <<>>"
        self.assertEqual(self.closed((spec.FRAME_HEARTBEAT, 1, b"")), (505, text, 0, 0))
        closed = self.wire().ask(0, spec.Channel.Open())
        text = "CHANNEL_ERROR - unexpected method in connection state running"
        self.assertEqual((closed.reply_code, closed.reply_text), (504, text))

    @on_channel
    def test_heartbeat_with_payload(self, channel: BlockingChannel) -> None:
        """A heartbeat with a payload is an error."""
        text = 'FRAME_ERROR - type 8, all octets = <<"x">>: unknown_frame'
        self.assertEqual(self.closed((spec.FRAME_HEARTBEAT, 0, b"x")), (501, text, 0, 0))

    @on_channel
    def test_names_that_are_no_text(self, channel: BlockingChannel) -> None:
        """Names and keys must be UTF-8, except in a publish."""
        expected = (501, "FRAME_ERROR - Malformed UTF-8 in shortstr", 0, 0)
        for method in (
            spec.Queue.Declare(queue=b"\xff"),
            spec.Exchange.Declare(exchange=b"a\xff", type="direct"),
            spec.Queue.Unbind(queue="q", exchange="amq.direct", routing_key=b"\xc3"),
            spec.Basic.Consume(queue="", consumer_tag=b"\xc3"),
        ):
            self.assertEqual(self.closed(before=(method,)), expected)

    @on_channel
    def test_message_without_method(self, channel: BlockingChannel) -> None:
        """Message frames without a publish: on an open channel, one closed by an error, and an unknown one."""
        expected = (505, "UNEXPECTED_FRAME - expected method frame, got non method frame instead", 0, 0)
        self.assertEqual(self.closed((spec.FRAME_BODY, 1, b"x")), expected)
        self.assertEqual(self.closed((spec.FRAME_BODY, 5, b"x")), expected)
        client, missing = self.wire(), self.name("missing")
        closed = client.ask(1, spec.Queue.Declare(queue=missing, passive=True))
        self.assertIsInstance(closed, spec.Channel.Close)
        client.send_frame(spec.FRAME_BODY, 1, b"x")
        closed = client.method()
        self.assertEqual((closed.reply_code, closed.reply_text), expected[:2])

    @on_channel
    def test_method_within_message(self, channel: BlockingChannel) -> None:
        """A method within a message is an error, even one that closes the channel."""
        publish = spec.Basic.Publish(routing_key=self.name("missing"))
        text = "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead"
        for method in (
            spec.Channel.Close(200, "", 0, 0),
            spec.Channel.CloseOk(),
            spec.Channel.Open(),
            spec.Basic.Qos(),
        ):
            self.assertEqual(self.closed(before=(publish, method)), (505, text, 60, 40))
        client = self.wire()
        client.send_bytes(b"".join(each.marshal() for each in (frame.Method(1, publish), self.header(5))))
        closed = client.ask(1, spec.Channel.Close(200, "", 0, 0))
        text = "UNEXPECTED_FRAME - expected content body, got non content body frame instead"
        self.assertEqual((closed.reply_code, closed.reply_text, closed.method_id), (505, text, 40))

    def header(self, size: int) -> frame.Header:
        """The header frame of a message with this body size."""
        return frame.Header(1, size, pika.BasicProperties())

    @on_channel
    def test_body_too_long(self, channel: BlockingChannel) -> None:
        """A body longer than its header says is an error."""
        client = self.wire()
        client.publish(1, self.name("missing"), b"")
        frames = (frame.Method(1, spec.Basic.Publish()), self.header(5), frame.Body(1, b"x" * 6))
        client.send_bytes(b"".join(each.marshal() for each in frames))
        closed = client.ask(1, spec.Basic.Qos())
        text = "UNEXPECTED_FRAME - expected content body, got non content body frame instead"
        self.assertEqual((closed.reply_code, closed.reply_text, closed.method_id), (505, text, 40))

    @on_channel
    def test_after_an_error(self, channel: BlockingChannel) -> None:
        """A channel that the broker closed ignores methods, confirms a close, and cannot be opened before that."""
        client, queue, missing = self.wire(), self.queue(channel), self.name("missing")
        self.assertIsInstance(client.ask(1, spec.Queue.Declare(queue=missing, passive=True)), spec.Channel.Close)
        client.publish(1, queue, b"under way")
        client.send(1, spec.Queue.Declare(queue=missing))
        self.assertIsInstance(client.ask(1, spec.Channel.Close(200, "", 0, 0)), spec.Channel.CloseOk)
        closed = client.ask(1, spec.Channel.Open())
        self.assertEqual((closed.reply_code, closed.reply_text), (504, "CHANNEL_ERROR - second 'channel.open' seen"))
        self.assertEqual(self.count(channel, queue), 0)
        self.assertFalse(self.exists(channel.connection, missing))

    @on_channel
    def test_close_of_nothing(self, channel: BlockingChannel) -> None:
        """Closing an unopened channel is an error, and so is a Close-Ok that the broker did not ask for."""
        for number, method, code, text in (
            (5, spec.Channel.Close(200, "", 0, 0), 504, "CHANNEL_ERROR - expected 'channel.open'"),
            (5, spec.Channel.CloseOk(), 504, "CHANNEL_ERROR - expected 'channel.open'"),
            (1, spec.Channel.CloseOk(), 503, "COMMAND_INVALID - unimplemented method"),
        ):
            closed = self.wire().ask(number, method)
            self.assertEqual((closed.reply_code, closed.reply_text, closed.class_id), (code, text, 20))
