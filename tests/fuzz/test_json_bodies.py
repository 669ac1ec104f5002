"""JSON bodies: accepted if the standard library reads them, up to the allowed depth, with bounded work.

A large body is checked in pieces. Here pieces have few bytes, so that small bodies have many.
"""

from __future__ import annotations

import json
import re

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import InvalidJSON
from provider_gateway.gateway import json_structure
from provider_gateway.gateway.json_body import check_json, check_json_in_turns
from tests.fuzz.profiles import fuzzed
from tests.support.json_work import in_turns, whole

_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=8),
        st.sampled_from(("[", "]]", '"', "\\", "{}", '\\"[', "\x7f")),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=12,
)
_bodies = st.builds(
    lambda value, indent, ascii_: json.dumps(value, indent=indent, ensure_ascii=ascii_),
    _values,
    st.sampled_from((None, 0, 1)),
    st.booleans(),
).filter(lambda text: not re.search(r"\\ud[89a-f]", text))
_pieces = st.sampled_from(
    (
        *(
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            '"',
            "\\",
            "'",
            "/",
            "-",
            "+",
            ".",
            "e",
            "E",
            "0",
            "01",
            "1",
            "9" * 30,
            "1e999",
            "-0",
            "0x1",
        ),
        *(
            "null",
            "true",
            "false",
            "NaN",
            "Infinity",
            "-Infinity",
            "nul",
            "True",
            '"a"',
            '""',
            '"\\u00e9"',
            '"\\u12"',
            '"\\x"',
            '"\\/"',
        ),
        *(
            " ",
            "\t",
            "\n",
            "\r",
            "\x0b",
            "\x0c",
            "\xa0",
            "\ufeff",
            "\0",
            "\x1f",
            "\x7f",
            "\u2028",
            '"\n"',
            '"\x00"',
            "/**/",
            "//",
        ),
        *('{"a":1}', "[1]", '{"a":1,}', "[1,]", '{"a":1,"a":2}'),
    )
)
_texts = st.one_of(st.lists(_pieces, max_size=8).map("".join), st.text(max_size=12))


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _read(body: bytes) -> object:
    """Read a body with the standard library; numbers stay text, as they may have any number of digits.

    Raises:
        ValueError: the body is not JSON.
    """
    return json.loads(body.decode("utf-8"), parse_constant=_refuse, parse_int=str, parse_float=str)


def _depth(value: object) -> int:
    """The depth of nested arrays and objects."""
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


class JSONTests(SynchronousTestCase):
    """Validity and depth of bodies."""

    def assert_checked(self, body: bytes, max_depth: int) -> None:
        try:
            expected = _depth(_read(body)) <= max_depth
        except ValueError:
            expected = False
        try:
            check_json(body, max_depth)
        except InvalidJSON as refusal:
            self.assertFalse(expected, f"{body!r}: {refusal}")
            self.assertNotIn("\n", str(refusal))
        else:
            self.assertTrue(expected, body)
        for size in (1, 3, 16):
            self.patch(json_structure, "PIECE", size)
            try:
                list(check_json_in_turns(body, max_depth))
            except InvalidJSON as refusal:
                self.assertFalse(expected, f"{body!r} in pieces of {size}: {refusal}")
                self.assertNotIn("\n", str(refusal))
            else:
                self.assertTrue(expected, f"{body!r} in pieces of {size}")

    @fuzzed(400, text=_bodies, max_depth=st.integers(0, 6))
    def test_valid(self, text: str, max_depth: int) -> None:
        """Every JSON text is accepted unless it is too deep; brackets within strings do not count."""
        self.assert_checked(text.encode(), max_depth)

    @fuzzed(500, text=_texts, max_depth=st.integers(0, 4))
    def test_nearly_valid(self, text: str, max_depth: int) -> None:
        """Pieces of JSON in any order are accepted exactly if the standard library reads them."""
        self.assert_checked(text.encode(), max_depth)

    @fuzzed(
        400,
        text=_bodies,
        at=st.integers(0, 200),
        size=st.integers(0, 2),
        put=st.one_of(st.binary(max_size=2), _pieces.map(str.encode)),
    )
    def test_changed(self, text: str, at: int, size: int, put: bytes) -> None:
        """A JSON text with changed bytes, maybe not UTF-8, is accepted exactly if the standard library reads it."""
        body = bytearray(text.encode())
        body[at % (len(body) + 1) :][:size] = b""
        start = at % (len(body) + 1)
        body[start : start + size] = put
        self.assert_checked(bytes(body), 6)

    @fuzzed(
        60,
        depth=st.one_of(st.integers(1, 300), st.sampled_from((1000, 5000, 100_000))),
        closed=st.booleans(),
        key=st.booleans(),
        max_depth=st.integers(1, 200),
    )
    def test_deep(self, depth: int, closed: bool, key: bool, max_depth: int) -> None:
        """A body of any depth is accepted or rejected, without another error."""
        start, end = (b'{"a":', b"}") if key else (b"[", b"]")
        body = start * depth + b"1" + (end * depth if closed else b"")
        try:
            check_json(body, max_depth)
        except InvalidJSON:
            self.assertTrue(not closed or depth > max_depth)
        else:
            self.assertTrue(closed and depth <= max_depth)


_ELEMENTS = st.sampled_from(
    (
        *(b"1", b"[]", b"{}", b'""', b"1.5e-7", b"true", b"[[[[]]]]", b'{"a":{"b":{}}}', b'"["', b'"]}"', b'"a,b,"'),
        *(rb'"\""', rb'"\\"', rb'"\",\""', rb'"\\\",["', b'{"a,":1}', b"[1,2]", b'{"a":1,"b":[]}', b" ", b"]", b"["),
        *(b"[" * 14 + b"]" * 14, b"[" * 30 + b"]" * 30, b'{"":' * 14 + b"0" + b"}" * 14, b"\\", b'"a":1', b"}"),
        *(b'"' + b"a" * 500 + b'"', b'"' + b"a," * 400 + b'"', b'"' + rb"\"" * 400 + b'"', b'"' + b"a," * 3000 + b'"'),
        *(b'"', b'{"":'),
    )
)


class WorkTests(SynchronousTestCase):
    """The bytes that RE2 and msgspec read, for each byte of a body: at most as many for any text."""

    @fuzzed(
        300,
        units=st.lists(st.tuples(_ELEMENTS, st.integers(1, 400)), min_size=1, max_size=6),
        around=st.sampled_from((b"", b"[", b'[{"a":[', b"[" * 10, b'{"":' * 9 + b"[")),
        repeats=st.integers(1, 20),
    )
    def test_bounded(self, units: list[tuple[bytes, int]], around: bytes, repeats: int) -> None:
        """In one go, each byte is read at most twice. In turns, it is read six times, and a turn reads a few pieces."""
        piece, max_depth = 2048, 16
        self.patch(json_structure, "PIECE", piece)
        elements = b"".join((unit + b",") * count for unit, count in units) * repeats
        body = around + elements[:100_000] + b"1" + around[::-1].translate(bytes.maketrans(b"[{", b"]}"), b'":a')
        self.assertLessEqual(whole(body, max_depth).turns[-1], 2 * len(body))
        work = in_turns(body, max_depth)
        self.assertLessEqual(sum(work.turns), 6 * len(body) + 20 * piece)
        if work.refusal is None:
            longest = max(map(len, re.findall(rb'"(?:[^"\\]|\\.)*"', body)), default=0)
            self.assertLessEqual(max(work.turns), 4 * (2 * piece + longest))
