"""Frames and messages as bytes: cut anywhere, malformed, large, on channels that are closed."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from pika import frame as pika_frame, spec
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.amqp.frames import BODY, HEADER, HEARTBEAT, METHOD, FrameBuffer, frame
from provider_gateway.message.message import Message
from tests.support.amqp_peer import Peer, content, open_peer, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provider_gateway.amqp.message_channel import Content, MessageChannel

STREAM = frame(METHOD, 1, b"abc") + frame(HEARTBEAT, 0, b"") + frame(BODY, 65535, b"x" * 300)


class FrameBufferTests(SynchronousTestCase):
    """A stream of three frames."""

    def frames(self, *pieces: bytes) -> list[tuple[int, int, Any]]:
        buffer = FrameBuffer()
        return [tuple(each) for piece in pieces for each in buffer.add(piece, {})]

    def test_any_cut(self) -> None:
        """The same frames come out wherever the stream is cut."""
        expected = self.frames(STREAM)
        self.assertEqual([each[:2] for each in expected], [(METHOD, 1), (HEARTBEAT, 0), (BODY, 65535)])
        self.assertEqual(b"".join(each[2] for each in expected), STREAM)
        for cut in range(len(STREAM)):
            self.assertEqual(self.frames(STREAM[:cut], STREAM[cut:]), expected, cut)
        self.assertEqual(self.frames(*(bytes([each]) for each in STREAM)), expected)
        self.assertEqual(self.frames(STREAM * 3), expected * 3)

    def test_large(self) -> None:
        """Large bodies come out whole wherever the stream is cut, and their frames are as they arrived."""
        stream = STREAM + b"".join(frame(kind, 1, bytes([kind]) * 40_000) for kind in (BODY, HEADER, BODY)) + STREAM
        expected = [(kind, channel, bytes(data)) for kind, channel, data in self.frames(stream)]
        self.assertEqual(
            ([1, 8, 3, 3, 2, 3, 1, 8, 3], stream),
            ([each[0] for each in expected], b"".join(each[2] for each in expected)),
        )
        for size in (1000, 16_384, 39_999, 40_007, 40_008, 40_009, 65_536):
            pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
            self.assertEqual(expected, self.frames(*pieces), size)

    def test_large_holds_no_more(self) -> None:
        """A large body that arrived in pieces holds nothing of the next frame, which arrived with its end."""
        large = frame(BODY, 1, bytes(40_000))
        (_, _, first), (_, _, second) = self.frames(large[:30_000], large[30_000:] + large[:20_000], large[20_000:])
        for each in (first, second):
            self.assertIsInstance(each, memoryview)
            self.assertEqual(large, each.obj)

    def test_no_frame_behind_a_large_one(self) -> None:
        """Bytes behind a large frame that cannot be a frame come out, too."""
        large, garbage = frame(BODY, 1, bytes(40_000)), b"AMQP\x00\x00\x09\x01"
        found = self.frames(large[:30_000], large[30_000:] + garbage)
        self.assertEqual([large, garbage], [bytes(each[2]) for each in found])
        self.assertEqual((0, 0), found[1][:2])

    def test_no_frame(self) -> None:
        """Bytes that cannot be a frame come out unchanged, with everything after them."""
        for garbage in (b"AMQP\x00\x00\x09\x01", b"HTTP/1.1 400 Bad Request\r\n\r\n"):
            found = self.frames(STREAM[:11], garbage + STREAM)
            self.assertEqual(found[1:], [(0, 0, garbage + STREAM)])


class MessageChannelTests(SynchronousTestCase):
    """A channel for messages on an open session."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.peer: Peer = open_peer(self.clock)
        self.channel: MessageChannel = run(self.peer, self.peer.protocol.message_channel())
        self.number = self.channel.channel.channel_number
        self.delivered: list[Content] = []
        self.returned: list[Content] = []
        self.confirmed: list[tuple[int, bool, bool]] = []
        self.channel.on_delivery = self.delivered.append
        self.channel.on_return = self.returned.append
        self.channel.on_confirm = lambda *confirm: self.confirmed.append(confirm)

    def deliver(self, body: bytes, *more: Any, properties: spec.BasicProperties | None = None) -> None:
        method = spec.Basic.Deliver("consumer", 2**40, True, "ML.MQ", "predict.now")
        self.peer.send(method, self.number, *content(self.number, body, properties or spec.BasicProperties()), *more)

    def assert_dropped(self) -> None:
        """Check that the connection was aborted over these bytes."""
        self.assertTrue(self.peer.transport.aborted)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_published(self) -> None:
        """A message is sent as one: method, properties, and a body in pieces that fit into frames."""
        writes: list[bytes] = []

        def write_pieces(pieces: Iterator[bytes], size: int) -> None:
            *full, last = pieces
            if len(body) % 131_064:  # there is room in the last frame: all writes before fill eight TLS records
                self.assertEqual({131_072}, {*map(len, full)})
            writes.append(b"".join((*full, last)))
            self.assertEqual(size, len(writes[-1]))

        self.patch(self.channel, "_write", writes.append)
        self.patch(self.channel._outbox, "write_pieces", write_pieces)
        for size in (0, 1, 131_064, 131_065, 250_000, 2 * 131_064, 300_000):
            body = b"x" * size
            message = Message(body, {"a": "b"}, correlation_id="c", reply_to="r", message_id="m")
            tag = self.channel.publish("ML.MQ", "predict.now", message.properties(), body)
            self.assertEqual(tag, len(writes))
            self.peer.transport.write(writes[-1])
            self.peer.pump()
            sent = self.peer.published[-1]
            self.assertEqual((sent.channel, sent.body), (self.number, body))
            method = sent.method
            self.assertEqual((method.exchange, method.routing_key, method.mandatory), ("ML.MQ", "predict.now", True))
            self.assertEqual((sent.properties.headers, sent.properties.delivery_mode), ({"a": "b"}, 2))
            sizes = [len(each) for each in frames_of(writes[-1])]
            self.assertEqual((len(sizes), max(sizes) <= 131_072), (2 + math.ceil(size / 131_064), True))

    def test_delivered(self) -> None:
        """A message arrives complete, whatever the sizes of its pieces are."""
        large = bytes(range(256)) * 2000
        for body, size in (
            (b"", 2),
            (b"1", 2),
            (b"12345", 2),
            (large, 131_064),
            (large[:40_000], 131_064),
            (large, 9_999),
        ):
            method = spec.Basic.Deliver("consumer", 2**40, True, "ML.MQ", "predict.now")
            pieces = [pika_frame.Body(self.number, body[at : at + size]) for at in range(0, len(body), size)]
            header = pika_frame.Header(self.number, len(body), spec.BasicProperties(message_id="m"))
            self.peer.send(method, self.number, header, *pieces)
            found = self.delivered.pop()
            self.assertEqual(found[:4], (2**40, True, "ML.MQ", "predict.now"))
            self.assertEqual((found.body, found.properties), (body, b"\x00\x80\x01m"))
            self.assertIs(bytes, type(found.body))

    def test_delivered_in_pieces(self) -> None:
        """Wherever the bytes of deliveries are cut, the same messages come in the same order."""
        stream, expected = b"", []
        for tag, body in enumerate((b"", b"1", b"12345", b"x" * 300), 1):
            deliver = spec.Basic.Deliver("consumer", tag, tag % 2 == 0, "ML.MQ", f"key.{tag}")
            header = pika_frame.Header(self.number, len(body), spec.BasicProperties(message_id="m")).marshal()
            stream += Peer.marshal(deliver, self.number) + header
            stream += pika_frame.Body(self.number, body).marshal() if body else b""
            expected.append((tag, tag % 2 == 0, "ML.MQ", f"key.{tag}", b"\x00\x80\x01m", body))
        for cut in range(len(stream) + 1):
            for piece in (stream[:cut], stream[cut:], Peer.marshal(spec.Basic.Ack(cut + 1), self.number)):
                self.peer.receive(piece)
            self.assertEqual(expected, [tuple(each) for each in self.delivered], cut)
            self.delivered.clear()
        self.assertEqual([(cut + 1, False, True) for cut in range(len(stream) + 1)], self.confirmed)

    def test_returned(self) -> None:
        """on_return is called with the message, its exchange and its routing key."""
        method = spec.Basic.Return(312, "NO_ROUTE", "ML.MQ", "nowhere")
        self.peer.send(method, self.number, *content(self.number, b"1", spec.BasicProperties()))
        self.assertEqual(
            [(each.exchange, each.routing_key, each.body) for each in self.returned], [("ML.MQ", "nowhere", b"1")]
        )
        self.assertEqual(self.delivered, [])

    def test_confirmed(self) -> None:
        """on_confirm is called with tag, multiple, and ack or nack."""
        self.peer.send(spec.Basic.Ack(1, multiple=False), self.number)
        self.peer.send(spec.Basic.Ack(2**33, multiple=True), self.number)
        self.peer.send(spec.Basic.Nack(9, multiple=True), self.number)
        self.assertEqual(self.confirmed, [(1, False, True), (2**33, True, True), (9, True, False)])

    def test_acknowledged(self) -> None:
        """ack() acknowledges one delivery."""
        self.channel.ack(2**40)
        self.peer.pump()
        (ack,) = self.peer.sent(spec.Basic.Ack)
        self.assertEqual((ack.delivery_tag, ack.multiple), (2**40, False))
        self.assertEqual(self.peer.channel_of(spec.Basic.Ack), self.number)

    def test_acknowledged_along(self) -> None:
        """An acknowledgement that is not urgent goes out with the next write, in its order."""
        self.channel.ack(1, is_urgent=False)
        self.channel.ack(2, is_urgent=False)
        self.peer.pump()
        self.assertEqual(self.peer.sent(spec.Basic.Ack), [])
        self.channel.ack(3)
        self.peer.pump()
        self.assertEqual([each.delivery_tag for each in self.peer.sent(spec.Basic.Ack)], [1, 2, 3])

    def test_heard(self) -> None:
        """Messages count as a sign that the broker is alive, for pika too."""
        before = self.channel.channel.connection.bytes_received
        self.deliver(b"12345")
        self.assertGreater(self.channel.channel.connection.bytes_received, before + 50)

    def test_unexpected(self) -> None:
        """A frame that cannot follow, or a body that is too long, ends the connection."""
        deliver = Peer.marshal(spec.Basic.Deliver("consumer", 1, False, "", "q"), self.number)
        header = pika_frame.Header(self.number, 2, spec.BasicProperties()).marshal()
        body = pika_frame.Body(self.number, b"123").marshal()
        for stream in (
            deliver + deliver,
            deliver + body,
            deliver + header + header,
            deliver + header + body,
        ):
            self.setUp()
            self.peer.receive(stream)
            self.assert_dropped()
            self.assertEqual(self.delivered, [])

    def test_malformed(self) -> None:
        """A frame that is cut off, or has no end mark, ends the connection."""
        deliver = struct.pack(">HH", 60, 60) + b"\x08consumer" + bytes(3)
        header = struct.pack(">HHQ", 60, 0, 0)
        whole = Peer.marshal(spec.Basic.Deliver("consumer", 1, False, "", "q"), self.number)
        ends = [len(whole) - 1]
        for each in (pika_frame.Header(self.number, 1, spec.BasicProperties()), pika_frame.Body(self.number, b"1")):
            whole += each.marshal()
            ends.append(len(whole) - 1)
        for stream in (
            frame(METHOD, self.number, deliver) + frame(HEADER, self.number, header + b"\0\0"),
            frame(METHOD, self.number, struct.pack(">HHB", 60, 80, 0)),
            Peer.marshal(spec.Basic.Ack(1), self.number)[:-1] + b"\xcd",
            frame(METHOD, self.number, struct.pack(">HH", 60, 60)) + frame(HEADER, self.number, b"\0"),
            *(whole[:at] + b"\xcd" + whole[at + 1 :] for at in ends),
        ):
            self.setUp()
            self.peer.receive(stream)
            self.assert_dropped()

    def test_closed(self) -> None:
        """A new channel may have the number of a closed one. Nothing reaches the closed one."""
        self.channel.channel.close()
        self.peer.pump()
        other: MessageChannel = run(self.peer, self.peer.protocol.message_channel())
        self.assertEqual(other.channel.channel_number, self.number)
        self.deliver(b"1")
        self.assertEqual(self.delivered, [])
        self.assertFalse(self.channel.is_open)
        self.assertTrue(other.is_open)


def frames_of(stream: bytes) -> list[bytes]:
    """The frames of a stream, which ends with a whole frame."""
    return [each.data for each in FrameBuffer().add(stream, {})]
