"""The failed tests in the output of trial, each with its exception: ``python -m devtools.failures FILE`` lists them.

Logs of a run are long and may be cut: the list fits at their end.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

#: Longest text of an exception.
LENGTH = 300
#: What trial writes before tests that failed in the same way: a line of "=", and what they did.
_HEAD = re.compile(r"^={79}\n\[(FAIL|ERROR|SUCCESS!\?!)\]\n", re.MULTILINE)
#: What follows the last of them.
_END = re.compile(r"^(?:={79}\n\[|-{79}$)", re.MULTILINE)
#: Their names: the last lines, behind an empty one.
_NAMES = re.compile(r"\n\n((?:[\w. ]+\n)+)\Z")


@dataclass(frozen=True)
class Failed:
    """A test that failed.

    Attributes:
        how: FAIL; ERROR; or SUCCESS!?! for a success that was not expected.
        why: its exception.
    """

    how: str
    test: str
    why: str

    def __str__(self) -> str:
        return f"{self.how} {self.test}\n    {self.why}"


def failures_of(output: str) -> list[Failed]:
    """The failed tests, in the order of the output of one or several runs of trial."""
    found = []
    for head in _HEAD.finditer(output):
        end = _END.search(output, head.end())
        text = output[head.end() : end.start() if end is not None else None]
        names = _NAMES.search(text)
        if names is not None:
            why = _exception(text[: names.start()])
            found += [Failed(head[1], test, why) for test in names[1].splitlines()]
    return found


def section(how: str, name: str, why: str) -> str:
    """What trial would write about a failure, so that :func:`failures_of` finds it."""
    return f"\n{'=' * 79}\n[{how}]\n{why}\n\n{name}\n{'-' * 79}\n"


def _exception(text: str) -> str:
    """The exception behind a traceback, in one line; the whole text if there is no traceback."""
    lines = text.splitlines()
    if lines and lines[0].startswith("Traceback"):
        lines = lines[1:]
        while len(lines) > 1 and lines[0].startswith(" "):
            lines = lines[1:]
    said = " ".join(" ".join(lines).split())
    return said if len(said) <= LENGTH else f"{said[: LENGTH - 1]}…"


if __name__ == "__main__":
    for each in failures_of(Path(sys.argv[1]).read_text(encoding="utf-8", errors="replace")):
        print(each)
