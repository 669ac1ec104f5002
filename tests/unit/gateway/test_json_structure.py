"""The structure of JSON texts: pieces, and the work that it takes to find them."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import InvalidJSON
from provider_gateway.gateway import json_structure
from provider_gateway.gateway.json_body import check_json, check_json_in_turns
from provider_gateway.gateway.json_structure import Nesting, Piece, _last_comma, _up_to_comma
from tests.support.json_work import in_turns, whole


class PieceTests(SynchronousTestCase):
    """Nesting.pieces."""

    def pieces(self, body: bytes, size: int, max_depth: int = 3) -> list[Piece]:
        self.patch(json_structure, "PIECE", size)
        return [piece for piece in Nesting(max_depth).pieces(body) if piece is not None]

    def test_array(self) -> None:
        """Each piece of an array is an array."""
        expected = [Piece(b"[1,2,0]", 0), Piece(b"[0,3,4,0]", 2), Piece(b"[0,5]", 6)]
        self.assertEqual(expected, self.pieces(b"[1,2,3,4,5]", 5))

    def test_object(self) -> None:
        """A piece within nested objects begins and ends with their brackets, and with a name."""
        expected = [Piece(b'{"a":{"b":1,"":0}}', 0), Piece(b'{"":{"":0,"c":2}}', 2)]
        self.assertEqual(expected, self.pieces(b'{"a":{"b":1,"c":2}}', 13))

    def test_mixed(self) -> None:
        """The brackets around a piece have their kind and order."""
        first, *_, last = self.pieces(b'[{"a":[1,2,3]},4]', 10)
        self.assertEqual((b'[{"a":[1,0]}]', b'[{"":[0,2,3]},4]'), (first.text, last.text))

    def test_text_values(self) -> None:
        """Nothing is cut within text values, whatever they contain."""
        for text in (b'"a,b,c,d"', rb'"\",\\\",["', b'",,,,,,,,"', b'"a,\xc3\xbc"'):
            body = b"[" + b",".join([text] * 4) + b"]"
            pieces = self.pieces(body, len(text) + 5)
            self.assertEqual(4, len(pieces), body)
            for piece in pieces:
                check_json(piece.text, 3)

    def test_last_comma(self) -> None:
        """Without escapes, the last comma outside of text values is found by counting quotes, or left to RE2."""
        for body in (
            b'[1,2,"a,b,c,d,e,f",3]',
            b'[1,"a,b","c,d","e,f,g,h,i"]',
            b'{"a":1,"b":",,","c,":",,,,,,,"}',
            b'["","","",2,"",",",",",",",",",","]',
        ):
            whole(body, 3)
            ends = range(1, len(body) + 1)
            expected = [_up_to_comma(body, 0, end) for end in ends]
            found = [_last_comma(body, 0, end) for end in ends]
            self.assertEqual(expected, [each or wanted for each, wanted in zip(found, expected, strict=True)], body)
            self.assertLess(found.count(0) - expected.count(0), len(body) / 4, body)

    def test_one_piece(self) -> None:
        """A text without a comma outside of text values is one piece."""
        for body in (b'"' + b"," * 100 + b'"', b"1" * 100, b" " * 100 + b"1", b'"' + b"a" * 100 + b'"'):
            self.assertEqual([Piece(body, 0)], self.pieces(body, 5))

    def test_depth(self) -> None:
        """The allowed depth holds for the whole, not for each piece; closed brackets do not count."""
        self.patch(json_structure, "PIECE", 6)
        for body, depth in (
            (b"[1,[2,[3,[4,5,6,7,8]]]]", 4),
            (b"[" + b"[[[1]]]," * 20 + b"1]", 4),
            (b'{"a":1,"b":{"c":1,"d":{"e":1,"f":[]}}}', 4),
            (b'["[[[[,[[[,","[",[2,3,4,5,6,7]]', 2),
        ):
            list(check_json_in_turns(body, depth))
            with self.assertRaises(InvalidJSON) as refused:
                list(check_json_in_turns(body, depth - 1))
            expected = f"The body is nested more than {depth - 1} levels deep (MAX_JSON_DEPTH)."
            self.assertEqual(expected, refused.exception.detail)

    def test_bottomless(self) -> None:
        """Brackets without end are an error about nesting, and are not all looked at."""
        self.patch(json_structure, "PIECE", 100_000)
        for body in (b"[1," * 100_000, b'{"a":1,"b":' * 50_000, b"[" * 90_000 + b"1,2" + b"," * 20_000):
            work = in_turns(body, 50)
            self.assertIn("nested more than 50 levels", str(work.refusal))
            self.assertLess(max(work.turns), 250_000)

    def test_errors(self) -> None:
        """An error is that of the whole text, at its position."""
        self.patch(json_structure, "PIECE", 8)
        for body in (
            b"[1,2,3,4,5,6,,7,8,9,10]", b"[1,2,3,4,5,6,7,8,9,]", b'{"a":1,"b":2,"c":3,4}', b"[1,2,3,4,5}",
            b"1,2,3,4,5,6",
            b"[1,2],[3,4],[5,6]", b'{"a":1,2,"c":3,"d":4}', b'["a","b","c","d","e\x01"]', b"[1,2,3,4],5,6,7,8]",
            b'["a","b","c",nul,"d","e"]', b"[1,2,3,4,5,6,7", b'{"a":[1,2,3,4},"b":1}', b'["a","b","c","d\\x,","e"]',
            b"[1,2,\\,3,4,5,6,7,8,9]",
        ):  # fmt: skip
            expected = whole(body, 5).refusal
            self.assertIsNotNone(expected, body)
            self.assertEqual(str(expected), str(in_turns(body, 5).refusal), body)

    def test_memory(self) -> None:
        """While others have a turn, no copy of a piece is kept: it may be as large as the body."""
        size = 2_000_000
        for body in (
            b'[1,"%b",2,3]' % (b"a" * size), b'["%b"]' % (b"a" * size), b'["%b","%b"]' % ((b"a," * (size // 4),) * 2),
            b'{"a":[1,"%b"],"b":{"c":"%b","d":1}}' % ((b"a" * (size // 2),) * 2),
        ):  # fmt: skip
            self.patch(json_structure, "PIECE", 4096)
            checks = check_json_in_turns(body, 3)
            tracemalloc.start()
            self.addCleanup(tracemalloc.stop)
            for _ in checks:
                self.assertLess(tracemalloc.get_traced_memory()[0], size // 10, body[:20])
            self.assertLess(tracemalloc.get_traced_memory()[1], size * 3 // 2, body[:20])
            tracemalloc.stop()

    def test_encoding(self) -> None:
        """Bytes that are not UTF-8 are an error at their position in the whole."""
        self.patch(json_structure, "PIECE", 8)
        for body in (b'["a","b","c","\xff"]', b'["a","b","\xc3","c"]', b'["abcdefghijklm\xe2\x82","b","c"]'):
            self.assertEqual(str(whole(body, 5).refusal), str(in_turns(body, 5).refusal), body)


class DepthTests(SynchronousTestCase):
    """Nesting.is_too_deep."""

    def test_sparse(self) -> None:
        """Brackets among many other bytes count, wherever blocks end; those in text values do not, nor do escapes."""
        self.patch(json_structure, "_BLOCK", 7)
        for filler in (b"1234567890" * 30, b'"some text without an end, and more of it"' + b" " * 300):
            for value, depth in (
                (b"[[[%b]],[%b],%b]", 3),
                (b'{"a name of some length":%b,"another one":{"b":[%b]},"c":%b}', 3),
                (b'["[[[[ in a text value ]", %b, "]]]}", [%b], "{{{", %b]', 2),
                (rb'["an escape \" [[[[[ ]", %b, "\\", [%b], %b, "\\\"[["]', 2),
            ):
                text = value % ((filler,) * 3)
                for allowed in (depth - 1, depth):
                    self.assertEqual(allowed < depth, Nesting(allowed).is_too_deep(text), text)
                    check_json(text, depth)

    def test_dense(self) -> None:
        """Texts of brackets are read once, as they are; so are texts over 1 MiB: a turn must not last longer."""
        read: list[int] = []
        for text, expected in (
            (b"[" + b"[]," * 1000 + b"1]", 3003),
            (b"[" + b"[1234567890123456]," * 1000 + b"1]", 2002),
            (b"[" + b"[1234567890123456]," * 60_000 + b"1]", 1_140_003),
        ):
            nesting = Nesting(2)
            read.clear()
            nesting._balanced = SimpleNamespace(fullmatch=lambda found: read.append(len(found)))
            nesting.is_too_deep(text)
            self.assertEqual([expected], read)
