"""Messages as values: their AMQP properties, and the HTTP status of a reply."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from pika.spec import BasicProperties
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.message.message import Message


class PropertiesTests(SynchronousTestCase):
    """AMQP properties."""

    def test_round_trip(self) -> None:
        """The consumer sees the properties that were published, headers of every type included."""
        sent = Message(
            b"[1]",
            headers={"RqUID": "r", "pg-status": 404, "größe": "ä", "table": {"a": [1, True]}},
            content_type="text/plain",
            correlation_id="c",
            reply_to="q",
            message_id="m",
        )
        found = Message.received(sent.properties(), b"[1]")
        self.assertEqual(found.original, sent.properties())
        self.assertEqual(sent, replace(found, original=None))

    def test_persistent(self) -> None:
        """Every message outlives a restart of the broker: delivery mode 2."""
        self.assertEqual(2, BasicProperties().decode(Message(b"").properties()).delivery_mode)

    def test_fresh_message_id(self) -> None:
        """Two messages never share a message id."""
        self.assertNotEqual(Message(b"").message_id, Message(b"").message_id)

    def test_no_properties_at_all(self) -> None:
        """A message without properties can be received; nothing is added to it."""
        found = replace(Message.received(b"".join(BasicProperties().encode()), b"x"), original=None)
        self.assertEqual(
            Message(b"x", headers={}, content_type=None, correlation_id=None, reply_to=None, message_id=None), found
        )


class StatusTests(SynchronousTestCase):
    """The HTTP status of a reply."""

    def test_pg_status(self) -> None:
        """A whole number from 200 to 599 is the status, whatever its type. No header is 200."""
        for value, expected in (
            *((200, 200), (422, 422), (599, 599), (502, 502), (404.0, 404), (Decimal("5e2"), 500)),
            *(("500", 500), (" 500", 500), ("404\t", 404), (b"503", 503), (b" 503 ", 503), ("599", 599)),
        ):
            self.assertEqual(expected, Message(b"", headers={"pg-status": value}).status, repr(value))
        self.assertEqual(200, Message(b"", headers={"pg-status": None}).status)
        self.assertEqual(200, Message(b"").status)
        headers: dict[Any, Any] = {b"\xff": 1, b"12345678\xff": 1, "pg-reason": "x"}
        self.assertEqual(200, Message(b"", headers).status)

    def test_capitals(self) -> None:
        """The header counts in any spelling: libraries for HTTP write it as Pg-Status."""
        for name in ("Pg-Status", "PG-STATUS"):
            self.assertEqual(500, Message(b"", headers={name: "500"}).status)

    def test_none(self) -> None:
        """Anything else is an error that names the value: as 200, a failure would be a success."""
        values: tuple[Any, ...] = (
            *(199, 100, 600, 0, -404, 10**18, True, False, {"a": 1}, [200], 404.5, float("nan"), float("inf")),
            *("", "ok", "5OO", "+500", "50 0", "0500", "500.0", "99", "1000", "150", b"\xff", "5" * 9999),
            *("\u0665\u0660\u0660", "\udcff", Decimal("200.5"), Decimal("NaN"), datetime(2026, 1, 1, tzinfo=UTC)),
        )
        for value in values:
            with self.assertRaisesRegex(ValueError, "pg-status"):
                self.fail(f"{value!r} is {Message(b'', headers={'pg-status': value}).status}")


class CodingTests(SynchronousTestCase):
    """The content codings of a body."""

    def test_property(self) -> None:
        """The AMQP property is kept on the wire, and is the coding."""
        for coding in ("gzip", "GZIP", "x-gzip", "gzip, br", "base64", "a" * 255):
            found = Message.received(Message(b"", content_encoding=coding).properties(), b"")
            self.assertEqual((found.content_encoding, found.content_coding()), (coding, coding))

    def test_header(self) -> None:
        """A header counts without the property, in any spelling; with the property it does not."""
        for name in ("Content-Encoding", "content-encoding"):
            self.assertEqual("br", Message(b"", {"X": 1, name: "br"}).content_coding())
            self.assertEqual("gzip", Message(b"", {name: "br"}, content_encoding="gzip").content_coding())
            self.assertIsNone(Message(b"", {name: "br"}, content_encoding="identity").content_coding())
            for value in (None, "", "identity", "*", "anything", "gzip, anything"):
                self.assertIsNone(Message(b"", {name: value}).content_coding())
            for value in ("GZIP", "x-gzip", "deflate, br", "zstd"):
                self.assertEqual(value, Message(b"", {name: value}).content_coding())
        odd: dict[Any, Any] = {b"content-encodin\xff": "br"}
        self.assertIsNone(Message(b"", odd).content_coding())

    def test_none(self) -> None:
        """No property, an empty one, ``identity``, and names of what is no coding, are none."""
        for coding in (
            None,
            "",
            " ",
            ",",
            " , ,",
            "identity",
            "Identity,",
            "utf-8",
            "UTF-8",
            "us-ascii",
            "7bit",
            "8bit",
        ):
            self.assertIsNone(Message(b"", content_encoding=coding).content_coding(), coding)
        self.assertEqual("gzip", Message(b"", content_encoding="identity, gzip, utf-8,").content_coding())

    def test_malformed(self) -> None:
        """What is no list of tokens is an error: it may be an attempt to add a header, or hide that a body is coded."""
        values: tuple[Any, ...] = (
            *("gz ip", "gzip\r\nX-Injected: 1", "gzip\0", "gzip;q=1", "gr\u00fcn", '"gzip"', "gzip\n", "\udcff"),
            *(b"gz\xff", b"gzip", 1, True, ["gzip"], {"gzip": 1}),
        )
        for value in values:
            self.assertRaises(ValueError, Message(b"", content_encoding=value).content_coding)
            self.assertIsNone(Message(b"", {"Content-Encoding": value}).content_coding(), "headers may be anything")
