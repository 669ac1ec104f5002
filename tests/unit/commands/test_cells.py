"""The width of texts on a terminal; and that what is shown there does nothing to it."""

from __future__ import annotations

import sys
import unicodedata

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.commands.cells import cut, width
from provider_gateway.workbench.texts import visible


class VisibleTests(SynchronousTestCase):
    """What terminals are given of a text."""

    def test_nothing_controls_the_terminal(self) -> None:
        """Each character that is no visible one, of all that there are, becomes an escape in ASCII."""
        for code in range(sys.maxunicode + 1):
            character = chr(code)
            if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}:
                shown = visible(character)
                self.assertTrue(shown.isascii() and shown.isprintable() and shown[0] == "\\", hex(code))

    def test_lines(self) -> None:
        """A text of several lines keeps line ends and tabs, and nothing else that moves the cursor."""
        shown = visible("a\r\n\tb\nc\rd\x1b\x08\u2028\x0c\x85", keeps_lines=True)
        self.assertEqual("a\\x0d\n\tb\nc\\x0dd\\x1b\\x08\\u{2028}\\x0c\\x85", shown)


class WidthTests(SynchronousTestCase):
    """Cells on a terminal."""

    def test_cells(self) -> None:
        """Wide characters take two cells, combining ones none."""
        for text, cells in (("abc", 3), ("模型", 4), ("e\u0301", 1), ("", 0), ("😀", 2)):
            self.assertEqual(cells, width(text), text)

    def test_cut(self) -> None:
        """What is too long ends in ``…`` and fits, whatever its characters."""
        for text, cells, expected in (
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("模型失败", 5, "模型…"),
            ("模型失败", 4, "模…"),
            ("abc", 1, "…"),
        ):
            self.assertEqual(expected, cut(text, cells), text)
            self.assertLessEqual(width(cut(text, cells)), cells)

    def test_stacked(self) -> None:
        """Combining characters, which take no cell, cannot be stacked without end."""
        self.assertLess(len(cut("a" + "\u0301" * 10_000, 10)), 40)
