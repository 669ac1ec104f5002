"""Lines out of the pieces in which a pipe delivers them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Lines:
    """Puts lines together.

    Args:
        take: is given each line, without its end.
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
        """Give away what came without an end."""
        if self._pieces:
            self.feed(b"\n")
