"""The check of a body: one JSON value in UTF-8, not nested too deeply."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import InvalidJSON
from provider_gateway.gateway.json_body import check_json


class CheckJSONTests(SynchronousTestCase):
    """check_json."""

    def refusal(self, body: bytes, max_depth: int = 5) -> str:
        error = self.assertRaises(InvalidJSON, check_json, body, max_depth)
        self.assertEqual(422, error.status)
        return error.detail

    def test_depth(self) -> None:
        """The depth counts nested arrays and objects; brackets in text values and closed ones do not count."""
        for body, depth in (
            (b"[1]", 1),
            (b"{}", 1),
            (b'[{"a": [{}]}]', 4),
            (b"[[],[],[],[],[[]],[]]", 3),
            (b'{"a": {"b": 1}, "c": {"d": {"e": 2}}}', 3),
            (b'["[[[[{{{{"]', 1),
            (b'{"[{": "]}", "}]": [1]}', 2),
            (rb'["\"[[[[", "\\", [1], "\\\"]]]]{{{{"]', 2),
            (rb'["\\", [["\\\\"]], "[[["]', 3),
            (rb'["\u005b\u007b[", [2]]', 2),
            ('["[ü[", {"ö{": [1]}]'.encode(), 3),
            (b"[" * 500 + b"]" * 500, 500),
            (b'{"a":' * 400 + b"1" + b"}" * 400, 400),
        ):
            check_json(body, depth)
            if depth > 1:
                detail = f"The body is nested more than {depth - 1} levels deep (MAX_JSON_DEPTH)."
                self.assertEqual(detail, self.refusal(body, depth - 1), repr(body[:50]))

    def test_no_nesting(self) -> None:
        """Plain values have no depth; nor have brackets in a text value, however many."""
        for body in (b"1", b'"' + b"[" * 1000 + b'"', b'"' + rb"\"" * 100 + b"{" * 100 + b'"'):
            check_json(body, 1)

    def test_bottomless(self) -> None:
        """Extreme nesting is an error about nesting, whether or not the brackets are closed."""
        for body in (b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000):
            self.assertIn("nested more than 500 levels", self.refusal(body, 500))

    def test_not_utf_8(self) -> None:
        """Bytes that are not UTF-8 are an error with their position, in text values as well."""
        for body, start in ((b'"\xff"', 1), (b'["a", "\xc3"]', 7), (b'"\xed\xa0\x80"', 1), (b"\xfe\xff\x001", 0)):
            self.assertEqual(f"The body is not valid UTF-8 at byte {start}.", self.refusal(body))

    def test_no_json(self) -> None:
        """What RFC 8259 does not allow is an error, even where other parsers accept it."""
        for body in (
            b"", b" ", b"{", b"[1", b"1 2", b"{} {}", b"NaN", b"[nan]", b"Infinity", b"-Infinity", b"[1,]", b'{"a":1,}',
            b"{'a': 1}", b"{a: 1}", b"01", b"+1", b".5", b"1.", b"1e", b"0x1", b"True", b"undefined", b"// x\n1",
            b'"a\nb"', b'"\x00"', rb'"\x41"', rb'"\u12"', b'{"a"}', b'{1: 2}', b"\xef\xbb\xbf1", b"[1]]", b"]",
        ):  # fmt: skip
            self.assertTrue(self.refusal(body).endswith("."), repr(body))

    def test_json(self) -> None:
        """Any value is accepted, with any white space, numbers of any size, and repeated names."""
        for body in (
            b"null", b" true\r\n\t", b"-0", b"1e999", b"9" * 10_000, b'""', b'{"a": 1, "a": 2}', "\"größe\"".encode(),
            rb'"\u0000\ud83d\ude00\/"', b"[]", b"{}",
        ):  # fmt: skip
            check_json(body, 1)
