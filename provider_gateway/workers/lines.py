"""Joins the pieces that a pipe delivers into lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Lines:
    """Joins pieces into lines.

    Args:
        take: called with each line, without its line end.
    """

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Take a piece."""
        head, end, tail = data.rpartition(b"\n")
        if end:
            lines = b"".join([*self._pieces, head]).split(b"\n")
            self._pieces.clear()
            for line in lines:
                self._take(line)
        if tail:
            self._pieces.append(tail)

    def close(self) -> None:
        """Hand over the last line, if it has no line end."""
        if self._pieces:
            self.feed(b"\n")
