"""Properties of consumed messages: which headers are decoded, and that copies carry every header as it arrived."""

from __future__ import annotations

import struct

from pika import spec
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.message.properties import CopiedProperties, ReceivedProperties
from tests.support.header_tables import BAD, VALUES, decoded, encoded, header, table_of


class ReceivedTests(SynchronousTestCase):
    """Decoding."""

    def test_every_type(self) -> None:
        """Values of all types are decoded as pika does, alone and together."""
        for kind, (data, value) in VALUES.items():
            self.assertEqual(decoded(header("a", data)).headers, {"a": value}, kind)
        together = b"".join(header(kind, data) for kind, (data, _) in VALUES.items())
        self.assertEqual(decoded(together).headers, {kind: value for kind, (_, value) in VALUES.items()})

    def test_value_without_a_python_value(self) -> None:
        """A header without a Python value is left out; the other headers and properties are there."""
        for kind, data in BAD.items():
            properties = decoded(
                header("first", b"t\x01") + header("bad", data) + header("last", b"S\x00\x00\x00\x01x"),
                content_type="text/plain",
                content_encoding="identity",
                priority=3,
                correlation_id="c",
                message_id="m",
                timestamp=5,
            )
            self.assertEqual(properties.headers, {"first": True, "last": "x"}, kind)
            self.assertEqual((properties.content_type, properties.content_encoding), ("text/plain", "identity"), kind)
            self.assertEqual((properties.priority, properties.correlation_id), (3, "c"), kind)
            self.assertEqual((properties.message_id, properties.timestamp), ("m", 5), kind)

    def test_every_type_beside_a_bad_value(self) -> None:
        """Values of all types are decoded between two headers that are left out."""
        good = b"".join(header(kind, data) for kind, (data, _) in VALUES.items())
        for kind, bad in BAD.items():
            headers = decoded(header("bad", bad) + good + header("bad too", bad)).headers
            self.assertEqual(headers, {name: value for name, (_, value) in VALUES.items()}, kind)

    def test_no_value_left(self) -> None:
        """A message whose only header is left out has an empty table; a message without a table has no headers."""
        self.assertEqual(decoded(header("bad", BAD["NaN"])).headers, {})
        self.assertEqual(decoded(b"").headers, {})
        self.assertIsNone(decoded(None).headers)

    def test_name_that_is_not_utf_8(self) -> None:
        """A name that is not UTF-8 stays bytes, also beside a header that is left out."""
        table = header(b"\xff", b"t\x01")
        self.assertEqual(decoded(table).headers, {b"\xff": True})
        self.assertEqual(decoded(table + header("bad", BAD["NaN"])).headers, {b"\xff": True})

    def test_offset(self) -> None:
        """Properties are decoded from any offset of a frame."""
        for bad in (b"", header("bad", BAD["NaN"])):
            data = encoded(header("a", b"t\x01") + bad, message_id="m")
            properties = ReceivedProperties().decode(b"12345" + data, 5)
            self.assertEqual((properties.headers, properties.message_id), ({"a": True}, "m"))
            self.assertEqual(properties.headers_that(lambda _: True), header("a", b"t\x01") + bad)

    def test_pika_is_left_alone(self) -> None:
        """Frames that pika decodes for others in this process have pika's own properties."""
        self.assertIs(spec.props[spec.BasicProperties.INDEX], spec.BasicProperties)


class HeaderBytesTests(SynchronousTestCase):
    """The bytes of selected headers."""

    def test_wanted(self) -> None:
        """The selection gets names in lower case; the bytes of headers are unchanged and in order."""
        table = [header("A-b", b"t\x01"), header("Ä", b"d" + struct.pack(">d", 0.1)), header(b"\xff", b"V")]
        properties = decoded(b"".join(table))
        asked: list[str] = []
        self.assertEqual(properties.headers_that(lambda name: bool(asked.append(name)) or True), b"".join(table))
        self.assertEqual(asked, ["a-b", "ä", "\ufffd"])
        self.assertEqual(properties.headers_that(lambda name: name == "ä"), table[1])
        self.assertEqual(properties.headers_that(lambda _: False), b"")

    def test_after_content_type_and_encoding(self) -> None:
        """The table is found behind a content type and an encoding of any length."""
        table = header("a", b"t\x01")
        for kind in (None, "", "x", "y" * 255):
            for coding in (None, "", "x", "y" * 255):
                properties = decoded(table, content_type=kind, content_encoding=coding, reply_to="q")
                self.assertEqual(properties.headers_that(lambda _: True), table, f"{kind!r} {coding!r}")

    def test_no_table(self) -> None:
        """Without a table, and for properties that were never decoded, there are no bytes."""
        self.assertEqual(decoded(None, content_type="a", priority=5).headers_that(lambda _: True), b"")
        self.assertEqual(ReceivedProperties().headers_that(lambda _: True), b"")


class CopiedTests(SynchronousTestCase):
    """Properties of a copy."""

    def test_bytes(self) -> None:
        """Every header is copied byte for byte, including fractions and headers that cannot be decoded."""
        good = {kind: data for kind, (data, _) in VALUES.items()}
        for kind, data in {**good, **BAD}.items():
            original = decoded(header("Name", data) + header(b"\xff", b"V"))
            kept = original.headers_that(lambda _: True)
            copied = CopiedProperties(original, "m", {"pg-attempt": 2}, kept)
            self.assertEqual(
                table_of(b"".join(copied.encode())), header("pg-attempt", b"I\x00\x00\x00\x02") + kept, kind
            )
            self.assertEqual(kept, header("Name", data) + header(b"\xff", b"V"), kind)

    def test_properties(self) -> None:
        """Properties of the application are copied, with or without content type and encoding; persistent."""
        same = {"priority": 4, "correlation_id": "c", "reply_to": "q", "timestamp": 2**63, "type": "t", "app_id": "a"}
        kept = header("x", b"d" + struct.pack(">d", 0.5))
        for kind in (None, "", "text/plain"):
            for coding in (None, "gzip"):
                original = decoded(
                    kept, content_type=kind, content_encoding=coding, **same, delivery_mode=1, message_id="old"
                )
                sent = b"".join(CopiedProperties(original, "new", {"pg-a": 1}, kept).encode())
                copied = ReceivedProperties().decode(sent)
                self.assertEqual((copied.content_type, copied.content_encoding), (kind, coding))
                self.assertEqual({name: getattr(copied, name) for name in same}, same)
                self.assertEqual((copied.message_id, copied.delivery_mode), ("new", 2))
                self.assertEqual(copied.headers_that(lambda name: name == "x"), kept)

    def test_left_out(self) -> None:
        """Expiration, user id and cluster id are not copied."""
        original = decoded(b"", expiration="1000", user_id="guest", cluster_id="c")
        copied = ReceivedProperties().decode(b"".join(CopiedProperties(original, "m", {"a": 1}, b"").encode()))
        self.assertEqual((copied.expiration, copied.user_id, copied.cluster_id), (None, None, None))

    def test_text_that_is_not_utf_8(self) -> None:
        """Properties that are not UTF-8 are copied as their bytes."""
        data = (
            encoded(b"", correlation_id="abc", reply_to="def")
            .replace(b"abc", b"\xff\xfea")
            .replace(b"def", b"\xff" * 3)
        )
        copied = CopiedProperties(ReceivedProperties().decode(data), "m", {"a": 1}, b"")
        again = ReceivedProperties().decode(b"".join(copied.encode()))
        self.assertEqual((again.correlation_id, again.reply_to), (b"\xff\xfea", b"\xff" * 3))
