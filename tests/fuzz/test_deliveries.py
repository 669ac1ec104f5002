"""Messages with any properties are settled, and the next one is served."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from pika import spec

from provider_gateway.message.properties import ReceivedProperties
from tests.fuzz.field_tables import Encoded, is_stripped, long, nested, properties, read, room, short
from tests.fuzz.profiles import fuzzed
from tests.support.provider_on_broker import ProviderOnBrokerTestCase


class Exact(spec.BasicProperties):
    """Properties that pika sends as these bytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data

    def encode(self) -> list[bytes]:
        return [self._data]


class DeliveryTests(ProviderOnBrokerTestCase):
    """A new provider on the embedded broker for each example."""

    def setUp(self) -> None:
        pass

    def begin_anew(self) -> None:
        super().setUp()

    def put_exactly(self, data: bytes, exchange: str = "ML.MQ", key: str = "predict.now") -> None:
        self.other().basic_publish(exchange, key, b"[1]", Exact(data))
        self.pump()

    def assert_serves(self) -> None:
        """Check that the consumer is registered and holds no delivery, and that no error was logged."""
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.unacked("work"), 0)
        before = len(self.model.calls)
        self.put("ML.MQ", "predict.now", b"next", headers={"RqUID": "next"}, reply_to="back")
        self.assertEqual([call[0].body for call in self.model.calls[before:]], [b"next"])
        self.answer(200)
        self.assertEqual(self.unacked("work"), 0)

    @fuzzed(
        60,
        encoded=properties(without=("expiration", "user_id")),
        way=st.sampled_from(("ML.MQ", "ML.MQ", "work.return")),
    )
    def test_answered(self, encoded: Encoded, way: str) -> None:
        """A message with any properties is answered, dropped or parked, and the consumer goes on."""
        self.begin_anew()
        self.put_exactly(encoded.data, way)
        if self.model.calls:
            self.answer(200)
        self.assert_serves()

    @fuzzed(
        120,
        name=st.sampled_from(("pg-copy", "pg-copy", "pg-queue", "x-death", "RqUID")),
        levels=st.integers(300, 420),
        kind=st.sampled_from((b"A", b"A", b"F")),
        way=st.sampled_from(("ML.MQ", "work.return")),
    )
    def test_deep(self, name: str, levels: int, kind: bytes, way: str) -> None:
        """A header nested about as deeply as the decoder can read affects its own message only."""
        self.begin_anew()
        table = short(name.encode()) + nested(levels, kind)
        with room(400):
            self.put_exactly(b"\x20\x80" + long(table) + short(b"m"), way)
        if self.model.calls:
            self.answer(200)
        self.assert_serves()

    @fuzzed(50, encoded=properties(without=("expiration", "user_id")))
    def test_failed(self, encoded: Encoded) -> None:
        """A message that the model fails on is tried three times, then parked with its original headers."""
        self.begin_anew()
        self.put_exactly(encoded.data)
        calls = 0
        while len(self.model.calls) > calls:
            calls = len(self.model.calls)
            self.fail_call()
            self.advance(60)
        self.assertIn(calls, (0, 3))
        parked: list[Any] = self.take("work.parking")
        self.assertLessEqual(len(parked), 1)
        if calls:
            self.assertEqual(len(parked), 1)
        for each in parked:
            kept = b"".join(entry.data for entry in encoded.headers if not is_stripped(entry.name))
            original = ReceivedProperties().decode(each.original)
            self.assertTrue(original.headers_that(lambda name: not name.startswith("pg-")).endswith(kept))
            self.assertEqual(each.body, b"[1]")
            found = read(each.original)
            for name in ("content_type", "correlation_id", "reply_to", "type", "app_id", "timestamp", "priority"):
                self.assertEqual(found.get(name), encoded.values.get(name), name)
        self.assert_serves()
