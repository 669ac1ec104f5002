"""Messages that are larger than the broker takes, and what becomes of those beside them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pika import spec
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.amqp.outcomes import Refusal
from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.errors import (
    BodyTooLarge,
    BrokerUnavailable,
    HeadersTooLarge,
    NoRoute,
    OutcomeUnknown,
    PublishRefused,
)
from provider_gateway.message.copies import Copy, History
from provider_gateway.message.message import Message
from tests.support.header_tables import decoded, header
from tests.unit.amqp.base import PublisherTestCase

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred


class HeadersTests(PublisherTestCase):
    """Properties travel in one frame, whose size was agreed on with the broker."""

    def with_frames(self, size: int) -> None:
        self.broker.limits.frame_max = size
        self.lose(self.session)
        self.session = self.opened()

    def publish_headers(self, size: int) -> Deferred[None]:
        """Publish a message whose properties take this many bytes."""
        message = Message(b"1", {"a": ""}, message_id="m")
        message = Message(b"1", {"a": "x" * (size - len(message.properties()))}, message_id="m")
        published = self.publisher.publish(message, "ML.MQ", "predict.now")
        self.pump()
        return published

    def test_limit(self) -> None:
        """Properties that fill a frame are published. One byte more is refused, and nothing is sent."""
        for frame_max, agreed in ((4096, 4096), (8192, 8192), (131_072, 131_072), (0, 131_072), (10**6, 131_072)):
            self.with_frames(frame_max)
            room = agreed - 8 - 12
            self.successResultOf(self.publish_headers(room))
            error = self.failureResultOf(self.publish_headers(room + 1), HeadersTooLarge).value
            self.assertIn(f"take {room + 1} bytes in the message; the broker allows {room}", error.detail)
            self.assertEqual(len(self.take("work")), 1)
            self.assertTrue(self.publisher.is_ready)

    def test_bodies(self) -> None:
        """Bodies of any size are cut into frames of the agreed size."""
        self.with_frames(4096)
        for size in (4087, 4088, 4089, 8176, 8177, 20_000):
            self.successResultOf(self.publish(b"x" * size))
            self.assertEqual([len(message.body) for message in self.take("work")], [size])

    def test_copy(self) -> None:
        """A copy loses headers instead, as many as the frames of this connection ask for; the log says so."""
        table = b"".join(header(name, b"S" + struct.pack(">I", 5000) + b"v" * 5000) for name in ("a", "b", "c"))
        copy = Copy.of(Message.received(decoded(table).encoded, b"1"), "work", History(2), "timeout")
        for frame_max, lost in ((131_072, None), (8192, "a, b"), (4096, "a, b, c"), (131_072, None)):
            self.with_frames(frame_max)
            published = self.publisher.publish(copy, "ML.MQ", "predict.now")
            self.pump()
            self.successResultOf(published)
            (message,) = self.take("work")
            self.assertEqual(message.headers.get("pg-dropped"), lost)


class BodyTests(PublisherTestCase):
    """``max_message_size``: the broker closes the channel, and names its limit."""

    def setUp(self) -> None:
        super().setUp()
        self.broker.limits.max_message_size = 100

    def test_alone(self) -> None:
        """The first body over the limit is refused by the broker: it is certainly not accepted."""
        error = self.failureResultOf(self.publish(b"x" * 101), BodyTooLarge).value
        self.assertEqual(error.detail, "The body has 101 bytes; the broker takes at most 100 (its max_message_size).")
        self.assertEqual(self.outcomes(), {"refused": 1})

    def test_others(self) -> None:
        """Of messages beside it, those before it were read, and may be confirmed. Those after it were not: 503."""
        self.faults.hold_confirms()
        returned = self.publish(routing_key="nowhere")
        before = self.publish()
        between = [self.publisher.publish(Message(b"x" * size), "ML.MQ", "predict.now") for size in (101, 1, 500, 2)]
        self.pump()
        self.failureResultOf(returned, NoRoute)
        self.assertTrue(self.failureResultOf(before, OutcomeUnknown).value.was_read)
        for published, kind in zip(between, 2 * [BodyTooLarge, BrokerUnavailable], strict=True):
            self.failureResultOf(published, kind)
        self.assertEqual((self.outcomes(), self.waiting("work")), ({"returned": 1, "unknown": 1, "refused": 4}, 1))

    def test_learned(self) -> None:
        """From then on, larger bodies are not sent, and harm nobody. Others are."""
        self.failureResultOf(self.publish(b"x" * 101))
        self.advance(1)
        self.faults.hold_confirms()
        beside = self.publish(b"x" * 100)
        self.failureResultOf(self.publish(b"x" * 101), BodyTooLarge)
        self.release()
        self.successResultOf(beside)

    def test_forgotten(self) -> None:
        """The next connection may be to a broker that takes more."""
        self.failureResultOf(self.publish(b"x" * 101))
        self.broker.limits.max_message_size = 1000
        self.lose(self.session)
        self.opened()
        self.successResultOf(self.publish(b"x" * 1000))

    def test_empty(self) -> None:
        """A limit of 0 does not stop empty bodies."""
        self.broker.limits.max_message_size = 0
        self.failureResultOf(self.publish(b"1"), BodyTooLarge)
        self.advance(1)
        self.successResultOf(self.publish(b""))


class ClosedConnectionTests(PublisherTestCase):
    """The broker closes the connection, not only the channel."""

    def closed(self, code: int, *bodies: bytes) -> list[Deferred[None]]:
        """Publish messages, over one of which the connection is closed."""
        self.faults.refusal = lambda body: code if body == b"bad" else 0
        published = [self.publisher.publish(Message(body), "ML.MQ", "predict.now") for body in bodies]
        self.pump()
        self.assertFalse(self.session.is_open)
        self.session = self.opened()
        return published

    def test_codes(self) -> None:
        """A code that blames what was sent is a refusal. With any other, the outcome is unknown."""
        for code in (501, 502, 503, 504, 505, 506, 540, 541):
            (published,) = self.closed(code, b"bad")
            error = self.failureResultOf(published, PublishRefused).value
            self.assertTrue(error.is_certain)
            self.assertIn("as a test wants it", error.detail)
        for code in (320, 402, 530):
            for bodies in ([b"bad"], [b"1", b"bad"]):
                self.faults.hold_confirms()
                for published in self.closed(code, *bodies):
                    failure = self.failureResultOf(published)
                    self.assertEqual((failure.type, failure.value.is_alone), (OutcomeUnknown, len(bodies) == 1))
                self.faults.release_confirms()

    def test_several(self) -> None:
        """With several unconfirmed messages, any may be the cause."""
        self.faults.hold_confirms()
        for published in self.closed(541, b"1", b"bad", b"2"):
            self.assertFalse(self.failureResultOf(published, PublishRefused).value.is_certain)

    def test_another_class(self) -> None:
        """A declaration that closes the connection says nothing about messages (the class in Connection.Close)."""
        for class_id, expected in ((0, 541), (60, 541), (50, None), (20, None)):
            refusal = Refusal.told_by(ConnectionLost("lost", spec.Connection.Close(541, "no", class_id, 10)))
            self.assertEqual(refusal and refusal.code, expected)


class RefusalTests(SynchronousTestCase):
    """What is read of the broker's words."""

    def test_max_body(self) -> None:
        """The limit is read from RabbitMQ's texts, of all series."""
        for text, expected in (
            ("PRECONDITION_FAILED - message size 501 is larger than configured max size 500", 500),
            ("PRECONDITION_FAILED - message size 536870913 is larger than max size 536870912", 536870912),
            ("NOT_FOUND - no exchange 'larger than max size 5' in vhost '/'", None),
            ("PRECONDITION_FAILED - invalid message", None),
        ):
            self.assertEqual(Refusal(406 if "PRE" in text else 404, text).max_body, expected, text)
