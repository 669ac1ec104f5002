"""Messages of hostile AMQP clients: each is answered or parked and settled; none ends the process."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pika

from tests.security.base import channel
from tests.security.messages import MAX_BODY, MessagesTestCase
from tests.security.model import says


class RawHeaders(pika.BasicProperties):
    """Properties with a header table of given bytes, and nothing else."""

    def __init__(self, table: bytes) -> None:
        super().__init__()
        self._table = table

    def encode(self) -> list[bytes]:
        """The encoded properties (AMQP 0-9-1, 4.2.6.1: flags, then the values)."""
        return [struct.pack(">HI", self.FLAG_HEADERS, len(self._table)), self._table]


class PropertiesTests(MessagesTestCase):
    """Properties, headers and bodies that no well-behaved client sends."""

    def test_no_properties(self) -> None:
        """A message without any property is served, and answered at the configured replyTo."""
        self.publish()
        properties, body = self.taken(self.output)
        self.assertEqual((body, properties.correlation_id), (b'"hostile"', None))
        self.assert_at_rest()

    def test_correlation_id(self) -> None:
        """A reply has the correlation id of its request, whatever that is, or none."""
        for correlation_id in (None, "x" * 255, "a\r\nb", "\0", "é"):
            self.publish(correlation_id=correlation_id)
            self.assertEqual(self.taken(self.output)[0].correlation_id, correlation_id)
        self.assert_at_rest()

    def test_nested_headers(self) -> None:
        """Tables within tables, 100 deep, and lists within lists are served like other headers."""
        table: Any = {"end": 1}
        lists: Any = [1]
        for _ in range(100):
            table, lists = {"t": table}, [lists]
        self.publish(headers={"X-Table": table, "X-Lists": lists})
        self.assertEqual(self.taken(self.output)[1], b'"hostile"')
        self.assert_at_rest()

    def test_wrong_types(self) -> None:
        """Headers of the gateway and the broker with values of a wrong type count as absent."""
        for value in ({"a": [1]}, [{}], None, True, -1, 2**62, Decimal("1.5"), datetime.now(UTC), b"\xff\x00", "text"):
            names = (
                "pg-status",
                "pg-reason",
                "pg-copy",
                "pg-queue",
                "pg-attempt",
                "pg-redeliveries",
                "RqUID",
                "x-death",
            )
            self.publish(headers=dict.fromkeys(names, value))
            self.assertEqual(self.taken(self.output)[1], b'"hostile"', value)
        for value in ({"a": [1]}, [{}], None, True, "1", b"\xff"):
            self.publish(headers={"pg-deadline": value, "pg-published": value})
            self.assertEqual(self.taken(self.output)[1], b'"hostile"', value)
        self.assert_at_rest()

    def test_every_type_of_a_field(self) -> None:
        """Messages with a header of each type that the broker accepts, even those pika does not send, are settled."""
        fields = (
            b"t\x02", b"b\xff", b"B\xff", b"s\xff\xff", b"u\xff\xff", b"I\xff\xff\xff\xff", b"i\xff\xff\xff\xff",
            b"l" + b"\xff" * 8, b"f\x3f\xc0\x00\x00", b"d\x3f\xf8\x00\x00\x00\x00\x00\x00", b"D\xff\xff\xff\xff\xff",
            b"S\x00\x00\x00\x02\xff\xfe", b"A\x00\x00\x00\x02t\x01", b"T" + b"\xff" * 8, b"F\x00\x00\x00\x00", b"V",
            b"x\x00\x00\x00\x01\xff",
        )  # fmt: skip
        for name in (b"pg-attempt", b"X-Any"):
            for field in fields:
                with channel() as opened:
                    told = RawHeaders(bytes([len(name)]) + name + field)
                    opened.basic_publish(self.deployment.exchange, "predict.now", b'"hostile"', told)
                self.assertEqual(self.taken(self.output)[1], b'"hostile"', field)
        self.assert_at_rest()

    def test_deaths(self) -> None:
        """A client's x-death, in any form, is not believed."""
        true_to_form = [{"queue": f"{self.queue}.retry", "reason": "expired", "count": 99, "exchange": ""}]
        for deaths in (
            true_to_form,
            [[]],
            [{}],
            [None],
            [{"queue": {}, "reason": []}],
            {"reason": "expired"},
            "expired",
        ):
            self.publish(headers={"x-death": deaths, "pg-attempt": 1000, "pg-queue": self.queue})
            self.assertEqual(self.taken(self.output)[1], b'"hostile"', deaths)
        self.assert_at_rest()

    def test_not_utf_8(self) -> None:
        """A message with text that is not UTF-8, in properties, header names or values, is settled."""
        raw = b"\xff\xfe"
        self.publish(headers={raw: raw, "X-Raw": raw}, content_type=raw, correlation_id=raw, message_id=raw, type=raw)
        self.assertEqual(self.taken(self.output)[1], b'"hostile"')
        self.publish(reply_to=raw)
        self.assert_parked("reply")
        self.assert_at_rest()

    def test_history_through_the_return_exchange(self) -> None:
        """A message published to the return exchange with a senseless history is settled."""
        for value in ({"a": 1}, -5, 2**62, True, "9", None):
            with channel() as opened:
                told = pika.BasicProperties(headers={"pg-attempt": value, "pg-redeliveries": value, "pg-queue": value})
                opened.basic_publish(f"{self.queue}.return", "any", b'"hostile"', told)
            self.assertEqual(self.taken(self.output)[1], b'"hostile"', value)
        self.assert_at_rest()

    def test_nonsense_that_fails(self) -> None:
        """A hostile message that the model fails on is parked with all that can be copied of it."""
        self.model.answer = says(500)
        with channel() as opened:
            headers = {
                "pg-attempt": 1000,
                "X-Table": {"a": [None, {"b": 2**40}]},
                b"\xff": b"\xfe",
                "CC": [],
                "x-death": [{}],
            }
            told = pika.BasicProperties(
                headers=headers, correlation_id="a", expiration="100000", priority=9, app_id="any"
            )
            opened.basic_publish(f"{self.queue}.return", "any", b'"hostile"', told)
        properties = self.assert_parked("status")
        self.assertEqual((properties.correlation_id, properties.headers["X-Table"]), ("a", {"a": [None, {"b": 2**40}]}))
        self.taken(self.output)
        self.assert_at_rest()

    def test_empty_body(self) -> None:
        """An empty body reaches the model, and is answered."""
        self.publish(b"")
        self.assertEqual(self.taken(self.output)[1], b"")
        self.assertEqual(self.model.bodies, [b""])
        self.assert_at_rest()

    def test_body_over_the_limit(self) -> None:
        """A body over MAX_BODY_BYTES does not reach the model: the reply is a problem document with 413."""
        self.publish(b"1" * (MAX_BODY + 1))
        properties, body = self.taken(self.output)
        self.assertEqual((properties.headers["pg-status"], properties.headers["pg-reason"]), (413, "too-large"))
        self.assertIn(b"body-too-large", body)
        self.assertEqual((self.model.asked, properties.content_type), ([], "application/problem+json"))
        self.assert_at_rest()
