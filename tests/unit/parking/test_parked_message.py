"""What is read of a parked message, which may say anything."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.parking.reading import message_of
from tests.unit.parking.samples import MORNING, encoded, parked


class ReadTests(SynchronousTestCase):
    """The fields."""

    def test_parked_by_us(self) -> None:
        """What we have written when we parked it."""
        message = parked(
            b"x" * 2000,
            {
                "RqUID": "a-1", "pg-attempt": 5, "pg-redeliveries": 1, "pg-replays": 2, "pg-model-status": 500,
                "pg-model-error": "boom", "pg-routing-key": "predict.now", "pg-identity": "alice",
            },
            message_id="m", correlation_id="c", reply_to="r", content_type="application/json",
        )  # fmt: skip
        self.assertEqual(("timeout", MORNING, "fib"), (message.reason, message.parked_at, message.owner))
        self.assertEqual((5, 1, 2), (message.attempts, message.redeliveries, message.replays))
        self.assertEqual((500, "boom"), (message.model_status, message.model_error))
        self.assertEqual(("a-1", "alice", "predict.now"), (message.rquid, message.identity, message.routing_key))
        self.assertEqual(("m", "c", "r"), (message.message_id, message.correlation_id, message.reply_to))
        self.assertEqual((2000, b"x" * 1024), (message.size, message.head))

    def test_dead_lettered(self) -> None:
        """The broker's record goes before headers of ours, which are older, or forged: ours never carry the record."""
        death = {
            "queue": "fib", "reason": "delivery_limit", "count": 1, "exchange": "ML.MQ",
            "routing-keys": ["predict.now"], "time": datetime.fromtimestamp(MORNING - 60, UTC),
        }  # fmt: skip
        forged = {"pg-reason": "replayed", "pg-queue": "other", "pg-routing-key": "other", "x-death": [death]}
        message = parked(headers=forged)
        self.assertEqual(("delivery_limit", MORNING - 60, "fib"), (message.reason, message.parked_at, message.owner))
        self.assertEqual("predict.now", message.routing_key)

    def test_nothing_known(self) -> None:
        """A message that somebody put there, without any header."""
        message = message_of(3, "fib.parking", encoded(), b"")
        self.assertEqual(
            ("unknown", None, None, 3), (message.reason, message.parked_at, message.owner, message.position)
        )
        self.assertEqual((None, None, "fib.parking"), (message.rquid, message.identity, message.routing_key))
        self.assertEqual((0, 0, 0, None, ""), (
            message.attempts, message.redeliveries, message.replays, message.model_status, message.model_error,
        ))  # fmt: skip

    def test_hostile(self) -> None:
        """Headers of any type, and texts of any bytes: the fields have the types that they promise."""
        odd: list[Any] = [b"\xff\xfe", -1, 2**62, True, None, [], {"a": 1}, "x\x00y", [[]]]
        names = (
            "pg-reason", "pg-queue", "pg-parked-at", "pg-routing-key", "pg-model-status", "pg-model-error", "RqUID",
            "pg-identity", "pg-attempt", "pg-redeliveries", "pg-replays", "x-death",
        )  # fmt: skip
        for value in (*odd, [{"reason": 1, "time": "x", "queue": [], "routing-keys": 7}], [{"routing-keys": [None]}]):
            message = parked(headers=dict.fromkeys(names, value))
            texts = (message.reason, message.owner, message.rquid, message.identity, message.routing_key)
            for text in (*texts, message.model_error):
                self.assertIsInstance("" if text is None else text, str)
                (text or "").encode()
            for count in (message.attempts, message.redeliveries, message.replays):
                self.assertTrue(type(count) is int and 0 <= count < 2**53)
            self.assertTrue(message.model_status is None or 100 <= message.model_status <= 999)

    def test_undecodable_header(self) -> None:
        """A header without a Python value is left out, and the others are read."""
        late = b"\x04late" + b"T" + struct.pack(">Q", 2**62)
        reason = b"\x09pg-reason" + b"S" + struct.pack(">I", 7) + b"timeout"
        table = late + reason
        properties = struct.pack(">HI", 1 << 13, len(table)) + table
        message = message_of(0, "k", properties, b"")
        self.assertEqual(("timeout", {"pg-reason": "timeout"}), (message.reason, dict(message.headers)))


class IdTests(SynchronousTestCase):
    """The id, by which a message is found again."""

    def test_stable(self) -> None:
        """The broker's counts do not change it, nor the order of headers, which it changes with them; nor the place."""
        one = parked(headers={"a": 1, "b": "x"})
        same = parked(headers={"b": "x", "x-delivery-count": 7, "a": 1, "x-acquired-count": 9}, position=5)
        self.assertEqual(one.id, same.id)
        self.assertEqual(32, len(one.id))
        bare, counted = (message_of(0, "k", encoded(each), b"") for each in ({}, {"x-delivery-count": 1}))
        none = message_of(0, "k", encoded(None), b"")
        self.assertEqual(1, len({bare.id, counted.id, none.id}))

    def test_name_that_stands_twice(self) -> None:
        """With its counts, RabbitMQ drops the second of two headers with one name."""
        first, second = b"\x01aS\0\0\0\x01x", b"\x01aS\0\0\0\x01y"
        ids = [
            message_of(0, "k", struct.pack(">HI", 1 << 13, len(table)) + table, b"").id
            for table in (first + second, first, second)
        ]
        self.assertEqual(ids[0], ids[1])
        self.assertNotEqual(ids[0], ids[2])

    def test_whole_message(self) -> None:
        """Any difference makes another id: body behind its head, a header, a property; nothing moves between them."""
        ids = {
            parked(b"x" * 2000).id,
            parked(b"x" * 1999 + b"y").id,
            parked(b"x" * 2000, {"a": 1}).id,
            parked(b"x" * 2000, message_id="m").id,
            parked(b"x" * 2000, correlation_id="m").id,
            message_of(0, "k", encoded(None, content_type="ab"), b"").id,
            message_of(0, "k", encoded(None, content_type="a"), b"b").id,
        }
        self.assertEqual(7, len(ids))
