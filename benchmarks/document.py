"""Writes sections into a Markdown file, each between its two marks; the prose around them is unchanged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.section import digits

if TYPE_CHECKING:
    from benchmarks.section import Bar, Section


def insert(document: str, name: str, text: str) -> str:
    """The document, with ``text`` between the marks of the section ``name``.

    Raises:
        ValueError: the document has no such marks.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(document):
        msg = f"The document has no {begin} … {end}"
        raise ValueError(msg)
    return pattern.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", document)


def extract(document: str, name: str) -> str | None:
    """The text between the marks of the section ``name``; None if there are none."""
    found = re.search(f"<!-- begin {re.escape(name)} -->\n\n(.*?)\n\n<!-- end", document, re.DOTALL)
    return found[1] if found else None


def render(section: Section, facts: dict[str, str], rounds: int, plot: str) -> str:
    """A section as Markdown.

    Args:
        facts: machine and versions that it was measured with.
        plot: path of the plot, relative to the document.
    """
    parts = [f"![{section.name}]({plot})", _table(section.header, section.rows)]
    parts += [f"Not answered with 200: {note}" for note in section.notes]
    if section.bars:
        parts.append(_table(["bar", "wanted", "measured", "met"], [_verdict(bar) for bar in section.bars]))
    parts.append("\n".join(f"- {name}: {value}" for name, value in {**facts, "rounds": str(rounds)}.items()))
    return "\n\n".join(parts)


def _verdict(bar: Bar) -> list[str]:
    wanted = f"≤ {bar.at_most:g}" if bar.at_most is not None else f"≥ {bar.at_least:g}"
    return [bar.text, wanted + bar.unit, digits(bar.measured) + bar.unit, "yes" if bar.is_met else "**no**"]


def _table(header: list[str], rows: list[list[str]]) -> str:
    # The first column names the row; the others are aligned to the right.
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
