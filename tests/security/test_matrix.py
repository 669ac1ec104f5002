"""The matrix of docs/security.md is complete: each row names tests, and the page names exactly the existing ones."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]
ROWS = 26
_NAME = re.compile(r"`(test_\w+(?:\.\w+){1,2})`")


def existing_tests() -> set[str]:
    """All tests of this suite except this module's, as ``module.Class.test``."""
    found = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        if path.name == Path(__file__).name:
            continue
        current = ""
        for line in path.read_text(encoding="utf-8").splitlines():
            if match := re.match(r"class (\w+)\(|    def (test_\w+)\(", line):
                current = match[1] or current
                if match[2]:
                    found.add(f"{path.stem}.{current}.{match[2]}")
    return found


def named_by(text: str, there: set[str]) -> tuple[set[str], set[str]]:
    """The tests that a text names in back quotes, alone or by class, and the names without a test."""
    named, unknown = set(), set()
    for name in _NAME.findall(text):
        meant = {each for each in there if each == name or each.startswith(f"{name}.")}
        named |= meant
        if not meant:
            unknown.add(name)
    return named, unknown


class MatrixTests(SynchronousTestCase):
    """The matrix and the tests."""

    def setUp(self) -> None:
        self.page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
        self.there = existing_tests()

    def test_rows(self) -> None:
        """Each row of the table names at least one test that exists, in its last column."""
        rows = re.findall(r"^\| (\d+) \|.*\| ([^|]*) \|$", self.page, re.MULTILINE)
        self.assertEqual([int(number) for number, _ in rows], list(range(1, ROWS + 1)))
        without = [number for number, tests in rows if not named_by(tests, self.there)[0]]
        self.assertEqual(without, [])

    def test_tests(self) -> None:
        """The page names every test of this suite, alone or by its class, and no other."""
        named, unknown = named_by(self.page, self.there)
        self.assertEqual(unknown, set())
        self.assertEqual(self.there - named, set())
