"""Leaves out log lines that say again what was just said: an attempt that fails is repeated every few seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

#: Seconds after which the same is said again.
PAUSE = 60.0


class Repeats:
    """Remembers the last line about each thing.

    Args:
        clock: times :data:`PAUSE`.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        #: By thing: the last text, when it was said, and how often it was left out since.
        self._said: dict[str, tuple[str, float, int]] = {}

    def left_out(self, thing: str, text: str) -> int | None:
        """Ask whether a line is to be written: if it is new, or if the last one was some time ago.

        Args:
            thing: what the line is about. There may be few different ones: all are remembered.

        Returns:
            How often the same line was left out before. None if it is to be left out again.
        """
        last, when, count = self._said.get(thing, ("", 0.0, 0))
        now = self._clock.seconds()
        if last == text and now - when < PAUSE:
            self._said[thing] = text, when, count + 1
            return None
        self._said[thing] = text, now, 0
        return count if last == text else 0

    def forget(self) -> None:
        """Forget what was said: what fails from now on is news."""
        self._said.clear()
