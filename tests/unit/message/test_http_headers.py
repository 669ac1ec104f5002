"""Which headers travel between HTTP and AMQP, and in what form."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import HeadersTooLarge
from provider_gateway.message.http_headers import (
    bytes_of,
    end_to_end,
    headers_from_http,
    headers_to_http,
    safe_content_type,
)

STAY = (
    # one connection's
    *("Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"),
    *("Proxy-Authenticate", "Proxy-Authorization", "Host", "Content-Length", "Content-Encoding", "Accept-Encoding"),
    # secrets
    *("Authorization", "Cookie", "Set-Cookie", "X-Forwarded-Client-Cert"),
    # properties, or ours
    *("Content-Type", "RqUID", "pg-status", "PG-Reason", "pg-anything"),
    # say how the response comes about, or describe it
    *("Prefer", "Webhook", "Preference-Applied", "Idempotent-Replayed", "Vary"),
    # the broker's
    *("CC", "BCC", "x-death", "X-Death", "x-first-death-queue", "x-last-death-reason", "x-delivery-count"),
    *("x-delay", "x-match", "x-opt-anything"),
)
TRAVEL = (
    "routing-key",
    "Idempotency-Key",
    "CorrID",
    "Accept",
    "Accept-Language",
    "X-Request-Id",
    "x-forwarded-for",
    "traceparent",
    "pg",
)


class EndToEndTests(SynchronousTestCase):
    """Which headers travel, by their names."""

    def test_names(self) -> None:
        """Hop-by-hop headers, secrets, our own and the broker's never travel, in any case; others do."""
        for name in STAY:
            for spelt in (name, name.lower(), name.upper()):
                self.assertFalse(end_to_end(spelt), f"{spelt} stays")
        for name in TRAVEL:
            self.assertTrue(end_to_end(name), f"{name} travels")


class HeadersFromHTTPTests(SynchronousTestCase):
    """From HTTP headers to the header table of a message."""

    def test_only_end_to_end_headers_are_copied(self) -> None:
        """Headers that travel keep the spelling of the name, and the value; others are not in the table."""
        raw = [(name.encode(), [b"value"]) for name in (*STAY, *TRAVEL) if name != "Connection"]
        self.assertEqual(dict.fromkeys(TRAVEL, "value"), headers_from_http(raw))

    def test_headers_that_connection_names(self) -> None:
        """A header that Connection lists does not travel, in any spelling and any order."""
        raw = [
            (b"X-Hop", [b"1"]),
            (b"connection", [b"close, x-hop", b" X-Other ,"]),
            (b"X-OTHER", [b"2"]),
            (b"X-Stays", [b"3"]),
        ]
        self.assertEqual({"X-Stays": "3"}, headers_from_http(iter(raw)))

    def test_several_values_are_joined(self) -> None:
        """Several values of a header become one, joined with a comma."""
        self.assertEqual({"Accept": "a, b, c"}, headers_from_http([(b"Accept", [b"a", b"b, c"])]))

    def test_event_streams(self) -> None:
        """Accept loses the media type of event streams, in any spelling, both ways; other ranges stay as they are."""
        for value, left in (
            ("text/event-stream", None),
            ("Text/Event-Stream;q=0.9 , application/json;q=0.5", "application/json;q=0.5"),
            ("*/*, text/event-stream ; charset=utf-8", "*/*"),
            ("text/event-stream, text/event-stream,", None),
            ("text/event-streams, x-text/event-stream", "text/event-streams, x-text/event-stream"),
            ('text/html;a="x, text/event-stream", text/event-stream', 'text/html;a="x, text/event-stream"'),
            ("*/*;q=0.1,text/*", "*/*;q=0.1,text/*"),
        ):
            expected = {} if left is None else {"Accept": left}
            self.assertEqual(expected, headers_from_http([(b"Accept", [value.encode()])]), value)
            self.assertEqual(expected, headers_to_http({"Accept": value}), value)
            self.assertEqual(len(expected), len(headers_to_http({"aCCEPT": value})), value)
        self.assertEqual({"Accept": "a"}, headers_from_http([(b"Accept", [b"text/event-stream", b"a"])]))

    def test_text(self) -> None:
        """A value is text. Bytes that are not UTF-8 are kept: the same bytes come out, whatever they are."""
        values = ["größe".encode(), b"gr\xf6\xdfe", b"", b"\xed\xb3\xbf", bytes(range(128, 256))]
        headers = headers_from_http((b"X-%d" % at, [value]) for at, value in enumerate(values))
        self.assertEqual((headers["X-0"], headers["X-2"]), ("größe", ""))
        self.assertEqual(values, list(map(bytes_of, headers.values())))
        joined = headers_from_http([(b"X", values)])["X"]
        self.assertEqual(b", ".join(values), bytes_of(joined))

    def test_long_names(self) -> None:
        """A name of over 255 bytes is answered with 431. A name of 255 travels; names that stay do not count."""
        self.assertEqual({"x" * 255: "1"}, headers_from_http([(b"x" * 255, [b"1"])]))
        error = self.assertRaises(HeadersTooLarge, headers_from_http, [(b"x" * 256, [b"1"])])
        self.assertEqual(431, error.status)
        self.assertNotIn("x" * 100, error.detail)
        self.assertEqual({}, headers_from_http([(b"pg-" + b"x" * 256, [b"1"])]))


class HeadersToHTTPTests(SynchronousTestCase):
    """From the header table of a message to HTTP headers."""

    def test_only_well_formed_text_travels(self) -> None:
        """Left out are tables, numbers, names that are no tokens, and values that could end a header line."""
        headers: dict[str, Any] = {
            "X-Text": "some text",
            "X-Tab": "a\tb",
            "X-Latin": "größe",
            "x-empty": "",
            "number": 5,
            "truth": True,
            "nothing": None,
            "bytes": b"raw",
            "table": {"a": "b"},
            "list": ["a"],
            "bad name": "x",
            "bad:name": "x",
            "": "x",
            "näme": "x",
            "name\r\nInjected": "x",
            "cr": "a\rb",
            "lf": "a\nInjected: b",
            "nul": "a\x00b",
            "escape": "\x1b[0m",
            "delete": "\x7f",
            **dict.fromkeys(STAY, "x"),
        }
        self.assertEqual(
            {"X-Text": "some text", "X-Tab": "a\tb", "X-Latin": "größe", "x-empty": ""}, headers_to_http(headers)
        )

    def test_unsafe_ones_are_told(self) -> None:
        """Each malformed text header is reported once; headers that never travel, and other types, are not reported."""
        malformed = {"bad name": "x", "": "x", "näme": "x", "cr": "a\rb", "lf": "a\nb", "nul": "\0", "bad\n": "\n"}
        silent: dict[Any, Any] = {"X": "fine", "number": 5, "table": {}, b"\xff": "x", "bytes": b"\n", "pg-x": "\n"}
        told: list[None] = []
        self.assertEqual({"X": "fine"}, headers_to_http({**malformed, **silent}, lambda: told.append(None)))
        self.assertEqual(len(malformed), len(told))

    def test_content_type(self) -> None:
        """The content type of a message is kept if it fits a header; else it is JSON."""
        for given, expected in (
            ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
            (None, "application/json"),
            ("", "application/json"),
            ("text/plain\r\nInjected: x", "application/json"),
            ("text/größe", "application/json"),
        ):
            self.assertEqual(expected, safe_content_type(given), repr(given))


class HeaderNameTests(SynchronousTestCase):
    """Message headers with names that are not text."""

    def test_bytes(self) -> None:
        """A name that is not UTF-8, and so bytes, does not travel; the other headers do."""
        headers = {b"ab\xff\xfe": "v", b"X-B": "v", "X-Good": "v"}
        self.assertEqual(headers_to_http(headers), {"X-Good": "v"})
