"""Tables for people: columns under headings, as wide as their content, cut to the terminal's width. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.commands.cells import cut, width
from provider_gateway.workbench.texts import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP = "  "
#: Cells of the last column at least, however narrow the terminal is.
_LEAST = 20
#: Cells of any other column at most.
_MOST = 40
#: Cells of the last column at most, in whatever terminal.
_ENOUGH = 1000


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    cells: int,
    right: Sequence[str] = (),
    always: Sequence[str] = (),
) -> str:
    """The lines of a table.

    Columns that are empty in every row are left out, except those that are always to be there. The last column gets
    what is left of the width.

    Args:
        rows: texts of any kind; they are made safe for a terminal here.
        cells: width of the terminal.
        right: headings of the columns that are aligned to the right: numbers.
        always: headings of the columns that are never left out.
    """
    kept = [index for index in range(len(headings)) if headings[index] in always or any(row[index] for row in rows)]
    names = [headings[index] for index in kept]
    mosts = [_MOST] * (len(kept) - 1) + [_ENOUGH]
    lines = [
        names,
        *([cut(visible(row[index]), most) for index, most in zip(kept, mosts, strict=False)] for row in rows),
    ]
    widths = [max(width(line[place]) for line in lines) for place in range(len(kept))]
    if kept:
        widths[-1] = min(widths[-1], max(cells - sum(widths[:-1]) - len(_GAP) * (len(kept) - 1), _LEAST))
    return "".join(_line(line, names, widths, right) + "\n" for line in lines)


def _line(texts: Sequence[str], names: Sequence[str], widths: Sequence[int], right: Sequence[str]) -> str:
    parts = []
    for text, name, wide in zip(texts, names, widths, strict=True):
        shown = cut(text, wide)
        blank = " " * (wide - width(shown))
        parts.append(blank + shown if name in right else shown + blank)
    return _GAP.join(parts).rstrip()
