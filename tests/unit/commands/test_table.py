"""Tables on a terminal."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.commands.cells import width
from provider_gateway.commands.table import table


class TableTests(SynchronousTestCase):
    """Columns under headings."""

    def test_columns(self) -> None:
        """Columns are as wide as their content; numbers are aligned to the right; no blank is at a line's end."""
        self.assertEqual(
            "QUEUE   PARKED  REASONS\nfib         12  timeout\nlonger       1  x\n",
            table(
                ("QUEUE", "PARKED", "REASONS"),
                [("fib", "12", "timeout"), ("longer", "1", "x")],
                cells=80,
                right=("PARKED",),
            ),
        )

    def test_empty_columns(self) -> None:
        """A column without a value in any row is left out, unless it is always to be there."""
        self.assertEqual("A  C\n1  2\n", table(("A", "B", "C"), [("1", "", "2")], cells=80))
        self.assertEqual("A  B  C\n1     2\n", table(("A", "B", "C"), [("1", "", "2")], cells=80, always=("B",)))

    def test_no_rows(self) -> None:
        """Without rows there is no table."""
        self.assertEqual("", table(("A", "B"), [], cells=80).strip())

    def test_width(self) -> None:
        """The last column is cut to the terminal's width, but not to nothing; the others to 40 cells."""
        rows = [("模" * 100, "x" * 500)]
        for cells in (80, 120, 200):
            for line in table(("A", "B"), rows, cells=cells).splitlines():
                self.assertLessEqual(width(line), cells)
        self.assertIn("x" * 19 + "…", table(("A", "B"), rows, cells=10))

    def test_hostile(self) -> None:
        """A cell cannot end its line, move the cursor, or turn the row round."""
        (_, row) = table(("A", "B"), [("a\nb\x1b[1A", "\u202ex\r")], cells=80).splitlines()
        self.assertEqual(r"a\x0ab\x1b[1A  \u{202e}x\x0d", row)
