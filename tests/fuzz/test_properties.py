"""Properties of messages: whatever another program wrote into them is read, and copies carry the same bytes."""

from __future__ import annotations

import struct

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.amqp.properties import ReceivedProperties
from provider_gateway.copies import Copy, History
from provider_gateway.messages import Message, checked_rquid, headers_to_http, rquid_of
from tests.fuzz.field_tables import Encoded, Entry, entries, ours, properties, read
from tests.fuzz.profiles import fuzzed

_STRIPPED = ("x-death", "x-delivery-count", "x-acquired-count", "cc", "bcc")
_COPIED = ("content_type", "content_encoding", "priority", "correlation_id", "reply_to", "timestamp", "type", "app_id")


def _is_stripped(name: bytes) -> bool:
    lowered = name.decode("utf-8", "replace").lower()
    return lowered in _STRIPPED or lowered.startswith(("pg-", "x-first-death-", "x-last-death-"))


def _text(data: bytes) -> str | bytes:
    """What pika makes of a text."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


class PropertiesTests(SynchronousTestCase):
    """Properties as they arrive."""

    @fuzzed(150, encoded=properties())
    def test_read(self, encoded: Encoded) -> None:
        """Properties of every type, nested however deeply, are read: no header makes the others unreadable."""
        received = ReceivedProperties().decode(encoded.data)
        self.assertEqual(received.headers_that(lambda _: True), encoded.values.get("headers", b""))
        for name in ("content_type", "correlation_id", "reply_to", "message_id", "type", "cluster_id"):
            expected = encoded.values.get(name)
            self.assertEqual(getattr(received, name), None if expected is None else _text(expected), name)
        asked: list[str] = []
        received.headers_that(lambda name: bool(asked.append(name)))
        self.assertEqual(asked, [each.name.decode("utf-8", "replace").lower() for each in encoded.headers])
        self.assertLessEqual(set(received.headers or {}), {_text(each.name) for each in encoded.headers})

    @fuzzed(
        150,
        encoded=properties(),
        history=st.builds(History, st.integers(1, 2**31), st.integers(0, 2**31)),
        body=st.binary(max_size=5),
    )
    def test_copy(self, encoded: Encoded, history: History, body: bytes) -> None:
        """A copy has the original's properties, and its headers with their bytes, but those of the broker and ours.

        Its own headers come first, and say what is to be said; it is persistent, and never expires.
        """
        message = Message.received(ReceivedProperties().decode(encoded.data), body)
        copy = Copy.of(message, "work", history, "timeout")
        sent = b"".join(copy.properties().encode())
        found = read(sent)
        kept = b"".join(each.data for each in encoded.headers if not _is_stripped(each.name))
        self.assertTrue(found["headers"].endswith(kept))
        ours = Message.received(
            ReceivedProperties().decode(_with_table(found["headers"][: len(found["headers"]) - len(kept)])), b""
        )
        self.assertEqual(History.told_by(ours.headers), history)
        self.assertEqual(set(ours.headers), {"pg-attempt", "pg-redeliveries", "pg-queue", "pg-reason", "pg-copy"})
        for name in _COPIED:
            self.assertEqual(found.get(name), encoded.values.get(name), name)
        self.assertEqual(found["delivery_mode"], b"\x02")
        self.assertEqual({"expiration", "user_id", "cluster_id"} & found.keys(), set())
        self.assertEqual((copy.body, copy.properties().encode()), (body, copy.properties().encode()))
        self.assertEqual(found["message_id"], encoded.values.get("message_id") or str(copy.message_id).encode())

    @fuzzed(80, encoded=properties())
    def test_copy_of_a_copy(self, encoded: Encoded) -> None:
        """However often a message is copied, what is carried along neither grows nor changes."""
        sent, sizes = encoded.data, []
        for attempt in (2, 3, 4):
            message = Message.received(ReceivedProperties().decode(sent), b"")
            sent = b"".join(Copy.of(message, "work", History(attempt), "timeout").properties().encode())
            sizes.append(len(sent))
        self.assertEqual(len(set(sizes)), 1)

    @fuzzed(250, headers=st.lists(st.one_of(ours, entries), max_size=4))
    def test_meaning(self, headers: list[Entry]) -> None:
        """What we read in headers of our own is what it must be, or the default; their type may be any."""
        message = Message.received(
            ReceivedProperties().decode(_with_table(b"".join(each.data for each in headers))), b""
        )
        self.assertIn(type(message.deadline), (float, type(None)))
        self.assertTrue(200 <= message.status <= 599)
        checked_rquid(rquid_of(message.headers))
        history = History.told_by(message.headers)
        self.assertTrue(history.attempt >= 1 and history.redeliveries >= 0)
        headers_to_http(message.headers)
        Copy.of(message, "work", history, "redelivered", may_expire=True).properties().encode()


def _with_table(table: bytes) -> bytes:
    """Encoded properties that are a header table."""
    return b"\x20\x00" + struct.pack(">I", len(table)) + table
