"""Writes standard output without holding up the connection to the broker: its reader may be slow, or pause."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

from twisted.internet.threads import deferToThreadPool

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Characters that are collected before they are written.
_PIECE = 262_144


def terminal_width() -> int:
    """Cells of a line of the terminal; 80 if that is not known."""
    return shutil.get_terminal_size().columns


class Writer:
    """Standard output, written piece by piece in a thread.

    Args:
        reactor: provides the thread pool.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._lines: list[str] = []
        self._size = 0

    async def add(self, text: str) -> None:
        """Write a text, at once or with the next ones.

        Raises:
            OSError: the output cannot be written; BrokenPipeError if nobody reads it any more.
        """
        self._lines.append(text)
        self._size += len(text)
        if self._size >= _PIECE:
            await self.flush()

    async def flush(self) -> None:
        """Write what was added. Raises as :meth:`add`."""
        lines, self._lines, self._size = self._lines, [], 0
        if lines:
            await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), _write, lines)


def _write(lines: Sequence[str]) -> None:
    if sys.stdout is not None:
        sys.stdout.write("".join(lines))
        sys.stdout.flush()
