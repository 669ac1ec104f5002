"""The width of texts on a terminal. Pure."""

from __future__ import annotations

import unicodedata

#: Characters for each cell at most: combining ones take no cell, and could be stacked without end.
_STACKED = 3


def width(text: str) -> int:
    """The cells of a terminal that a visible text takes: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_cells(each) for each in text)


def cut(text: str, cells: int) -> str:
    """A visible text that takes at most so many cells; what was cut off is shown as ``…``."""
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
