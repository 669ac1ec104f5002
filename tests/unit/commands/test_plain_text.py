"""Text of messages on a terminal: nothing in it does anything."""

from __future__ import annotations

import sys
import unicodedata

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.commands.plain_text import cut, plain, plain_lines, width


class PlainTests(SynchronousTestCase):
    """Texts that other programs wrote."""

    def test_plain_stays(self) -> None:
        """Text of any language stays as it is, backslashes included."""
        for text in ("", "boom", "модель упала", "模型失败", "C:\\models", "naïve – 100 %", "😀"):
            self.assertEqual(text, plain(text))
            self.assertEqual(text, plain_lines(text))

    def test_nothing_controls_the_terminal(self) -> None:
        """Each character that is no visible one, of all that there are, becomes an escape in ASCII."""
        for code in range(sys.maxunicode + 1):
            character = chr(code)
            if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}:
                shown = plain(character)
                self.assertTrue(shown.isascii() and shown.isprintable() and shown[0] == "\\", hex(code))

    def test_forms(self) -> None:
        """The escapes are those of Python and JSON, so that one can look them up."""
        for text, expected in (
            ("\x1b[2J", r"\x1b[2J"),
            ("a\r\nb\tc\0", r"a\r\nb\tc\x00"),
            ("\u202eevil", r"\u202eevil"),
            ("\x9b31m", r"\x9b31m"),
            ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
            ("\U000e0041", r"\U000e0041"),
            ("\ud800", r"\ud800"),
        ):
            self.assertEqual(expected, plain(text))

    def test_lines(self) -> None:
        """A text of several lines keeps line ends and tabs, and nothing else that moves the cursor."""
        self.assertEqual("a\n\tb\nc\\rd\\x1b\\x08", plain_lines("a\r\n\tb\nc\rd\x1b\x08"))
        self.assertEqual("a\\u2028b\\x0cc\\x85", plain_lines("a\u2028b\x0cc\x85"))


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
