"""The fault matrix of docs/delivery.md is complete: each row has a test, and each test of a fault is in a row."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]
ROWS = 42


class MatrixTests(SynchronousTestCase):
    """The matrix and the tests."""

    def test_complete(self) -> None:
        """The matrix names every test with a row number in its name, and no other; each row has a test."""
        matrix = (ROOT / "docs/delivery.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| \d+ \|.*$", matrix, re.MULTILINE)
        named = re.findall(r"`(test_\d\d_\w+)`", "".join(rows))
        code = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
        there = re.findall(r"async def (test_\d\d_\w+)", code)
        self.assertEqual(sorted(named), sorted(there))
        self.assertEqual({int(name[5:7]) for name in there}, set(range(1, ROWS + 1)))
