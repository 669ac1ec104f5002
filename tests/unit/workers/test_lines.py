"""Lines joined from the pieces of a pipe."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.workers.lines import Lines


class LinesTests(SynchronousTestCase):
    """Lines from pieces."""

    def test_pieces(self) -> None:
        """Pieces of any size are joined into lines; close() hands over a last line without an end."""
        text = b"one\n\ntwo\nthree"
        for size in range(1, len(text) + 1):
            taken: list[bytes] = []
            lines = Lines(taken.append)
            for start in range(0, len(text), size):
                lines.feed(text[start : start + size])
            self.assertEqual(taken, [b"one", b"", b"two"])
            lines.close()
            lines.close()
            self.assertEqual(taken[3:], [b"three"])
