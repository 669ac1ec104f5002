"""A progress bar on standard error, for work that takes longer than a moment; none if that is no terminal."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.internet.interfaces import IReactorTime

#: Seconds until the bar appears: a look at few messages has none.
_MOMENT = 0.5


class Progress:
    """The bar.

    Args:
        clock: for the moment until it appears.
        label: what is being done.
    """

    def __init__(self, clock: IReactorTime, label: str) -> None:
        self._clock = clock
        self._label = label
        self._begun = clock.seconds()
        self._bar: Any = None

    def show(self, done: int, total: int | None) -> None:
        """Show how far the work is.

        Args:
            total: None if it is not known yet.
        """
        if not total or not _is_terminal():
            return
        if self._bar is None:
            if self._clock.seconds() - self._begun < _MOMENT:
                return
            self._bar = click.progressbar(length=total, label=self._label, file=sys.stderr, show_pos=True)
            self._bar.__enter__()
        self._bar.length = total
        self._bar.update(min(done, total) - self._bar.pos)

    def end(self) -> None:
        """Leave the bar as it is, and go to the next line."""
        if self._bar is not None:
            bar, self._bar = self._bar, None
            bar.__exit__(None, None, None)


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


@contextlib.contextmanager
def progress(clock: IReactorTime, label: str) -> Iterator[Progress]:
    """A bar that ends with the block."""
    shown = Progress(clock, label)
    try:
        yield shown
    finally:
        shown.end()
