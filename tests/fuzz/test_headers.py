"""Headers between HTTP and AMQP: those that travel are unchanged, and the others never travel."""

from __future__ import annotations

import re

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers as RawHeaders

from provider_gateway.errors import BadRequest, HeadersTooLarge
from provider_gateway.message.http_headers import JSON, bytes_of, headers_from_http, headers_to_http, safe_content_type
from provider_gateway.message.ids import checked_rquid, rquid_of
from provider_gateway.message.message import Message
from provider_gateway.model.retry_after import retry_after
from tests.fuzz.headers import is_reserved, reserved, table, tokens
from tests.fuzz.profiles import fuzzed

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)


#: Headers as the HTTP parser accepts them: names are tokens, values have no CR, LF and NUL.
_parsed_values = st.binary(max_size=12).map(lambda value: value.translate(None, b"\r\n\0").strip(b" \t"))
_raw = st.dictionaries(
    st.one_of(reserved, tokens, st.sampled_from(("X-Hop", "x-a"))).map(str.encode),
    st.lists(
        st.one_of(_parsed_values, st.sampled_from((b"X-Hop, x-a", b"close,X-Hop", b"\xc3\xa4"))), min_size=1, max_size=3
    ),
    max_size=6,
)


#: Dates and numbers, some of them with a character that is wrong.
_waits = st.one_of(
    st.binary(max_size=40),
    st.integers(min_value=-5).map(lambda number: b"%d" % number),
    st.builds(
        lambda date, at, character: date[:at] + character + date[at + 1 :],
        st.sampled_from(
            (b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994")
        ),
        st.integers(0, 30),
        st.binary(max_size=2),
    ),
).map(lambda value: value.translate(None, b"\r\n\0"))


class RetryAfterTests(SynchronousTestCase):
    """``Retry-After``."""

    @fuzzed(600, waits=st.lists(_waits, max_size=3), dates=st.lists(_waits, max_size=2), now=st.floats(0, 2**40))
    def test_any_value(self, waits: list[bytes], dates: list[bytes], now: float) -> None:
        """Any value is a wait of up to a week, or none."""
        wait = retry_after(RawHeaders({b"Retry-After": waits, b"Date": dates}), lambda: now)
        self.assertTrue(wait is None or 0 <= wait <= 604_800, wait)


class HeaderTests(SynchronousTestCase):
    """Whole sets of headers."""

    @fuzzed(300, raw=_raw)
    def test_from_http(self, raw: dict[bytes, list[bytes]]) -> None:
        """No header of the gateway, the broker or one hop, no secret, and none named by Connection is in a message."""
        headers = headers_from_http(raw.items())
        listed = {
            token.strip().lower()
            for name, values in raw.items()
            if name.lower() == b"connection"
            for value in values
            for token in value.decode("latin-1").split(",")
        }
        for name in headers:
            self.assertFalse(is_reserved(name), name)
            self.assertNotIn(name.lower(), listed)
        passed = {name.decode() for name in raw} - {
            each for each in map(bytes.decode, raw) if is_reserved(each) or each.lower() in listed
        }
        self.assertLessEqual(set(headers), passed)
        self.assertLessEqual({each for each in passed if each.lower() not in ("x-delay", "x-match")}, set(headers))

    @fuzzed(300, raw=_raw)
    def test_round_trip(self, raw: dict[bytes, list[bytes]]) -> None:
        """Headers of a request are unchanged after a way through a message: each name, and the bytes of its values."""
        headers = headers_from_http(raw.items())
        plain = {name: value for name, value in headers.items() if not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value)}
        unsafe: list[str] = []
        self.assertEqual(headers_to_http(headers, lambda: unsafe.append("")), plain)
        self.assertEqual(len(unsafe), len(headers) - len(plain))
        for name, value in headers.items():
            self.assertEqual(bytes_of(value), b", ".join(raw[name.encode()]))
        again = headers_from_http([(name.encode(), [bytes_of(value)]) for name, value in plain.items()])
        self.assertEqual(again, plain)
        on_the_wire = Message.received(Message(b"", headers).properties(), b"").headers
        self.assertEqual(on_the_wire, headers)

    @fuzzed(400, headers=table)
    def test_to_http(self, headers: dict[str | bytes, object]) -> None:
        """Whatever headers a message has, a response gets only well-formed ones: tokens, and values on one line.

        None of them is a header of the gateway, the broker or one hop, or one that frames the response.
        """
        for name, value in headers_to_http(headers).items():
            self.assertRegex(name, _TOKEN)
            self.assertEqual(_TOKEN.fullmatch(name)[0], name)
            self.assertIs(headers[name], value)
            self.assertEqual(set(value.encode()) & {*range(9), *range(10, 32), 127}, set())
            self.assertFalse(is_reserved(name), name)

    @fuzzed(
        100,
        lengths=st.lists(
            st.tuples(st.integers(1, 300), st.integers(0, 30_000), st.sampled_from("a\xe4\u20ac")), max_size=6
        ),
    )
    def test_size(self, lengths: list[tuple[int, int, str]]) -> None:
        """Headers in a message fit into a frame; larger ones are rejected as too large, with no other error."""
        raw = [
            (b"%d-" % at + b"x" * length, [(size * letter).encode()])
            for at, (length, size, letter) in enumerate(lengths)
        ]
        try:
            headers = headers_from_http(raw)
        except HeadersTooLarge:
            self.assertGreater(sum(len(name) + 4 * len(values[0]) for name, values in raw) + 4 * 300 * len(raw), 200)
        else:
            self.assertEqual(len(headers), len(raw))
            self.assertLess(
                sum(6 + len(name.encode()) + len(value.encode()) for name, value in headers.items()), 120_000
            )
            self.assertLessEqual(max((len(name) for name in headers), default=0), 255)


class SingleValueTests(SynchronousTestCase):
    """Values with their own grammar."""

    @fuzzed(
        300,
        value=st.one_of(
            st.none(),
            st.text(max_size=20),
            st.text(st.characters(max_codepoint=127), max_size=260),
            st.binary(max_size=5),
        ),
    )
    def test_content_type(self, value: str | bytes | None) -> None:
        """A content type is passed on if it is one line of ASCII; else it becomes application/json."""
        safe = safe_content_type(value)
        self.assertTrue(safe.isascii() and 0 < len(safe.encode()) <= 255 and not set(safe) & set("\r\n\0"))
        self.assertIn(safe, (value, JSON))
        if isinstance(value, str) and value and value.isascii() and value.isprintable() and len(value) <= 255:
            self.assertEqual(safe, value)

    @fuzzed(
        300,
        value=st.one_of(
            st.text(max_size=10), st.text(st.characters(min_codepoint=32, max_codepoint=127), max_size=140)
        ),
    )
    def test_rquid(self, value: str) -> None:
        """A request id is 1 to 128 visible ASCII characters; others are rejected, and replaced in a message."""
        is_valid = 1 <= len(value) <= 128 and all("!" <= each <= "~" for each in value)
        try:
            self.assertEqual(checked_rquid(value), value)
        except BadRequest:
            self.assertFalse(is_valid)
        else:
            self.assertTrue(is_valid)
        found = rquid_of({"RQUID": value})
        self.assertEqual(found == value, is_valid)
        self.assertEqual(checked_rquid(found), found)

    @fuzzed(200, headers=table)
    def test_rquid_of(self, headers: dict[str | bytes, object]) -> None:
        """A message with any headers gets a valid request id."""
        found = rquid_of(headers)
        self.assertEqual(checked_rquid(found), found)
