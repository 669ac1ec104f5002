"""Properties of messages: any properties of another program are read, and copies have the same bytes."""

from __future__ import annotations

import contextlib
import struct

from hypothesis import strategies as st
from pika import spec
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.message.copies import Copy, History
from provider_gateway.message.http_headers import headers_to_http
from provider_gateway.message.ids import checked_rquid, rquid_of
from provider_gateway.message.message import Message
from provider_gateway.message.plain_properties import decode_properties, encode_properties
from provider_gateway.message.properties import ReceivedProperties
from tests.fuzz.field_tables import Encoded, Entry, entries, is_stripped, ours, properties, read
from tests.fuzz.profiles import fuzzed

_COPIED = ("content_type", "content_encoding", "priority", "correlation_id", "reply_to", "timestamp", "type", "app_id")


_NOT_PLAIN = ("priority", "expiration", "timestamp", "type", "user_id", "app_id", "cluster_id")
texts = st.text(max_size=60)


def _text(data: bytes) -> str | bytes:
    """A text as pika decodes it."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


class PropertiesTests(SynchronousTestCase):
    """Properties as received."""

    @fuzzed(150, encoded=properties())
    def test_read(self, encoded: Encoded) -> None:
        """Properties of every type and depth are read: no header makes the others unreadable."""
        received = ReceivedProperties().decode(encoded.data)
        self.assertEqual(received.headers_that(lambda _: True), encoded.values.get("headers", b""))
        for name in ("content_type", "correlation_id", "reply_to", "message_id", "type", "cluster_id"):
            expected = encoded.values.get(name)
            self.assertEqual(getattr(received, name), None if expected is None else _text(expected), name)
        asked: list[str] = []
        received.headers_that(lambda name: bool(asked.append(name)))
        self.assertEqual(asked, [each.name.decode("utf-8", "replace").lower() for each in encoded.headers])
        self.assertLessEqual(set(received.headers or {}), {_text(each.name) for each in encoded.headers})

    @fuzzed(250, encoded=st.one_of(properties(), properties(without=_NOT_PLAIN)), cut=st.integers(0, 60))
    def test_plain(self, encoded: Encoded, cut: int) -> None:
        """The fast decoder reads what pika reads, in complete and in truncated properties."""
        for data in (encoded.data, encoded.data[: -cut or None]):
            try:
                slow = ReceivedProperties().decode(data)
            except Exception as error:  # noqa: BLE001 - whatever pika stumbles on
                self.assertRaises(type(error), decode_properties, data)
            else:
                ids = (slow.correlation_id, slow.reply_to, slow.message_id)
                ours = (slow.content_type, slow.headers or {}, *ids, slow.content_encoding)
                self.assertEqual(tuple(decode_properties(data)), ours)

    @fuzzed(
        250,
        kind=st.none() | texts,
        headers=st.dictionaries(
            texts, texts | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.none(), max_size=4
        ),
        rest=st.tuples(*(st.none() | texts for _ in range(4))),
    )
    def test_write(self, kind: str | None, headers: dict[str, object], rest: tuple[str | None, ...]) -> None:
        """The fast encoder writes what pika writes."""
        correlation_id, reply_to, message_id, coding = rest
        slow = spec.BasicProperties(
            content_type=kind,
            headers=headers,
            delivery_mode=2,
            correlation_id=correlation_id,
            reply_to=reply_to,
            message_id=message_id,
            content_encoding=coding,
        )
        self.assertEqual(encode_properties(kind, headers, *rest), b"".join(slow.encode()))

    @fuzzed(
        150,
        encoded=properties(),
        history=st.builds(History, st.integers(1, 2**31), st.integers(0, 2**31)),
        body=st.binary(max_size=5),
    )
    def test_copy(self, encoded: Encoded, history: History, body: bytes) -> None:
        """A copy has the original's properties and the bytes of its headers, without those of broker and gateway.

        Its own headers come first and have their values; the copy is persistent, and has no expiration.
        """
        message = Message.received(encoded.data, body)
        copy = Copy.of(message, "work", history, "timeout")
        sent = copy.properties()
        found = read(sent)
        kept = b"".join(each.data for each in encoded.headers if not is_stripped(each.name))
        self.assertTrue(found["headers"].endswith(kept))
        ours = Message.received(_with_table(found["headers"][: len(found["headers"]) - len(kept)]), b"")
        self.assertEqual(History.told_by(ours.headers), history)
        self.assertEqual(set(ours.headers), {"pg-attempt", "pg-redeliveries", "pg-queue", "pg-reason", "pg-copy"})
        for name in _COPIED:
            self.assertEqual(found.get(name), encoded.values.get(name), name)
        self.assertEqual(found["delivery_mode"], b"\x02")
        self.assertEqual({"expiration", "user_id", "cluster_id"} & found.keys(), set())
        self.assertEqual((copy.body, copy.properties()), (body, copy.properties()))
        self.assertEqual(found["message_id"], encoded.values.get("message_id") or str(copy.message_id).encode())

    @fuzzed(80, encoded=properties())
    def test_copy_of_a_copy(self, encoded: Encoded) -> None:
        """However often a message is copied, its kept headers neither grow nor change."""
        sent, sizes = encoded.data, []
        for attempt in (2, 3, 4):
            message = Message.received(sent, b"")
            sent = Copy.of(message, "work", History(attempt), "timeout").properties()
            sizes.append(len(sent))
        self.assertEqual(len(set(sizes)), 1)

    @fuzzed(250, headers=st.lists(st.one_of(ours, entries), max_size=4))
    def test_meaning(self, headers: list[Entry]) -> None:
        """The gateway's own headers give valid values or defaults, whatever their types."""
        message = Message.received(_with_table(b"".join(each.data for each in headers)), b"")
        self.assertIn(type(message.deadline), (float, type(None)))
        with contextlib.suppress(ValueError):  # else it would be taken for a success
            self.assertTrue(200 <= message.status <= 599)
        with contextlib.suppress(ValueError):
            self.assertRegex(message.content_coding() or "none", r"\A[!-+\--~]+(, [!-+\--~]+)*\Z")
        checked_rquid(rquid_of(message.headers))
        history = History.told_by(message.headers)
        self.assertTrue(history.attempt >= 1 and history.redeliveries >= 0)
        headers_to_http(message.headers)
        Copy.of(message, "work", history, "redelivered", may_expire=True).properties()


def _with_table(table: bytes) -> bytes:
    """Encoded properties with this header table only."""
    return b"\x20\x00" + struct.pack(">I", len(table)) + table
