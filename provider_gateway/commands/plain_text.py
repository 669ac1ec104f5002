"""Makes any text safe for a terminal: nothing in it moves the cursor, hides, or turns text round. Pure."""

from __future__ import annotations

import unicodedata

#: Characters for each cell at most: combining ones take no cell, and could be stacked without end.
_STACKED = 3
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escaped(character: str) -> str:
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def plain(text: str) -> str:
    """A text as one line, in which all that does not print is an escape, as Python writes it.

    These are control characters (escape sequences begin with one), line ends, the controls of writing direction,
    characters without width, surrogates, and code points without a character. Backslashes stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def plain_lines(text: str) -> str:
    """The same for a text of several lines: line ends and tabs stay."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(plain(part) for part in line.split("\t")) for line in lines)


def width(text: str) -> int:
    """The cells of a terminal that a plain text takes: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_cells(each) for each in text)


def cut(text: str, cells: int) -> str:
    """A plain text that takes at most so many cells; what was cut off is shown as ``…``."""
    if len(text) <= cells * _STACKED and width(text) <= cells:
        return text
    taken: list[str] = []
    used = 0
    for each in text:
        used += _cells(each)
        if used > cells - 1 or len(taken) >= cells * _STACKED:
            break
        taken.append(each)
    return "".join(taken) + "…"


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
