"""The structure of a JSON text: its nesting, and where to cut it into pieces that are checked one by one.

Up to a limited depth, nesting is a regular language. RE2 reads a megabyte with an automaton in 1.6 ms, whatever it is.
Most texts have few brackets and no escapes: brackets and quotes are picked out in 0.3 ms, and are all that it reads.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import re2

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes of a piece, unless it is one long string, number or white space. Takes 3 ms to check at worst.
PIECE = 262_144

_OPTIONS = re2.Options()
_OPTIONS.encoding = re2.Options.Encoding.LATIN1  # bytes: UTF-8 is checked elsewhere
_OPTIONS.dot_nl = True
_OPTIONS.longest_match = True
_OPTIONS.log_errors = False

_TEXT = r'"(?:[^"\\]|\\.)*"'
_PLAIN = rf"[^\"\\\[\]{{}}]|{_TEXT}"
#: Bytes without which the nesting of a text is the same, if it has no escapes: all but brackets and quotes.
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
#: Bytes that begin neither array nor object; and how many that do are many in so many bytes.
_NOT_BEGIN = bytes(set(range(256)) - set(b"[{"))
_HEAD, _MANY = 2048, 4
#: They are picked out of texts of at most so many bytes, block by block, unless more than one in eight is one.
_MOST, _BLOCK, _SPARSE = 1_048_576, 16_384, 8
#: How often another comma is sought, if one is in a text value.
_TRIES = 3
#: From a position outside of text values up to the last comma outside of them.
_UP_TO_COMMA = re2.compile(rf'(?:[^"\\]|{_TEXT})*,'.encode(), _OPTIONS)

#: What is put in place of what follows in an array or object behind a comma, and of what was before it.
_REST = {b"[": b"0", b"{": b'"":0'}
_END = {b"[": b"]", b"{": b"}"}
#: What is put in place of the beginning of an array or object around others.
_BEGIN = {b"[": b"[", b"{": b'{"":'}


class TooDeep(Exception):
    """The text is nested too deeply."""


class Piece(NamedTuple):
    """A piece of a JSON text, made a JSON text itself.

    Attributes:
        text: the beginnings of the arrays and objects around the piece, the piece, and their ends.
        offset: what to add to a position in ``text`` to get the one in the whole.
    """

    text: bytes
    offset: int


class Nesting:
    """The patterns for one allowed depth.

    Args:
        max_depth: of nested arrays and objects.
    """

    def __init__(self, max_depth: int) -> None:
        self._max_depth = max_depth
        balanced = rf"(?:{_PLAIN})*"
        for _ in range(max_depth):
            balanced = rf"(?:{_PLAIN}|[\[{{]{balanced}[\]}}])*"
        self._balanced = re2.compile(balanced.encode(), _OPTIONS)
        self._surplus = re2.compile(rf"{balanced}[\]}}]".encode(), _OPTIONS)
        #: Is searched from the end backwards, and found at the first bracket that is not closed.
        self._unclosed = re2.compile(rf"[\[{{]{balanced}$".encode(), _OPTIONS)

    def is_too_deep(self, text: bytes) -> bool:
        """True if a valid JSON text is nested too deeply."""
        if not _begins_dense(text) and not _has_more_brackets(text, self._max_depth):
            return False
        return self._balanced.fullmatch(_structure(text)) is None

    def pieces(self, body: bytes) -> Iterator[Piece | None]:
        """Cut a text behind commas. All pieces are valid and not too deep exactly if the whole is.

        No cut is believed blindly. Behind a comma within a text value the value would not end, and with other brackets
        open than were found the ends would not fit: such a piece is not valid.

        Yields:
            The pieces, in their order; None while the end of a long one is sought. In between, others may have a turn.

        Raises:
            TooDeep: a piece is nested too deeply.
        """
        begin, start, size = b"", 0, PIECE
        is_plain = b"\\" not in body
        while True:
            end = start + size
            if body.rfind(b",", start, end) < 0:
                end = body.find(b",", end) + 1 or len(body)
            if end >= len(body):
                break
            cut = (is_plain and _last_comma(body, start, end)) or _up_to_comma(body, start, end)
            if not cut:
                size = 2 * (end - start)
                yield None
                continue
            # No variable refers to a piece: it may be as large as the body, and would be kept while others have a turn.
            taken = memoryview(body)[start:cut]
            opened = self._opened(_structure(b"".join((begin, taken))))
            inner = opened[-1] if opened else b"["  # with none open, the text is not valid
            rest = _REST[inner]
            ends = b"".join(_END[each] for each in reversed(opened))
            yield Piece(b"".join((begin, taken, rest, ends)), start - len(begin))
            begin = b"".join(_BEGIN[each] for each in opened[:-1]) + inner + rest + b","
            start, size = cut, PIECE
        yield Piece(b"".join((begin, memoryview(body)[start:])) if start else body, start - len(begin))

    def _opened(self, text: bytes) -> list[bytes]:
        """The brackets that are not closed in a text that ends outside of text values.

        Raises:
            TooDeep: there are too many, or it is nested too deeply before the first of them.
        """
        opened: list[bytes] = []
        end = len(text)
        while found := self._unclosed.search(memoryview(text)[:end]):
            end = found.start()
            opened.append(text[end : end + 1])
            if len(opened) > self._max_depth:
                raise TooDeep
        head = memoryview(text)[:end]
        if end and not self._balanced.fullmatch(head) and not self._surplus.match(head):
            raise TooDeep
        opened.reverse()
        return opened


@cache
def nesting(max_depth: int) -> Nesting:
    """The patterns for an allowed depth. Making them takes some milliseconds, and 1 MB."""
    return Nesting(max_depth)


def _structure(text: bytes) -> bytes:
    """A text that is nested as deeply: brackets and quotes alone, or the text itself if that would not be much less."""
    size = len(text)
    if size > _MOST or b"\\" in text:  # without escapes, each text value ends at the next quote
        return text
    parts, left = [], size // _SPARSE
    for at in range(0, size, _BLOCK):
        part = text[at : at + _BLOCK].translate(None, _NOT_STRUCTURE)
        left -= len(part)
        if left < 0:
            return text
        parts.append(part)
    return b"".join(parts)


def _up_to_comma(text: bytes, start: int, end: int) -> int:
    """Where the last comma outside of text values ends, from a position outside of them; 0 if there is none."""
    found = _UP_TO_COMMA.match(text, start, end)
    return 0 if found is None else int(found.end())


def _last_comma(text: bytes, start: int, end: int) -> int:
    """The same in a text without escapes, with less work; 0 also if the last commas are in text values."""
    for _ in range(_TRIES):
        cut = text.rfind(b",", start, end) + 1
        if not cut or text.count(b'"', start, cut) % 2 == 0:
            return cut
        end = text.rfind(b'"', start, cut)  # where the text value begins
    return 0


def _begins_dense(text: bytes) -> bool:
    """True if a large text begins with many brackets: to look for each would take a third of picking them out."""
    return len(text) > _BLOCK and len(text[:_HEAD].translate(None, _NOT_BEGIN)) >= _MANY


def _has_more_brackets(text: bytes, count: int) -> bool:
    """True if more arrays and objects begin than this number. Looks no further than the one that is too many."""
    for bracket in (b"[", b"{"):
        at = text.find(bracket)
        while at >= 0:
            count -= 1
            if count < 0:
                return True
            at = text.find(bracket, at + 1)
    return False
