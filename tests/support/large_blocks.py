"""How many bytes Python objects take in large blocks: the copies of a body, in short.

It counts in front of Python's allocators, with a small library that is compiled once. OpenSSL's own buffers are not
counted; nor are blocks below 4 KB, of which a body of a megabyte needs few.
"""

from __future__ import annotations

import ctypes
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.compiled import compiled

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_SOURCE = Path(__file__).with_suffix(".c")


@cache
def _library() -> Any:
    return ctypes.PyDLL(str(compiled(_SOURCE)))  # calls keep the GIL


class LargeBlocks:
    """Counts large blocks from :meth:`install` to :meth:`uninstall`, while it is told to."""

    def install(self) -> None:
        """Begin; there may be one at a time."""
        _library().install()

    def uninstall(self) -> None:
        """End."""
        _library().uninstall()

    def count(self, *, on: bool) -> None:
        """Count what is allocated from now on, or no more."""
        _library().count(int(on))

    @property
    def total(self) -> int:
        """Bytes that were allocated."""
        return self._value("total")

    @property
    def live(self) -> int:
        """Bytes that were allocated, and are not free yet."""
        return self._value("live")

    @property
    def peak(self) -> int:
        """The most bytes that were in use at a time, since :meth:`install` or the last :meth:`begin_peak`."""
        return self._value("peak")

    def begin_peak(self) -> None:
        """Begin with what is in use now."""
        ctypes.c_size_t.in_dll(_library(), "peak").value = self.live

    def by_function(self, run: Callable[[], object]) -> Counter[str]:
        """Run something; returns the bytes that were allocated, by the function that did so."""
        found: Counter[str] = Counter()
        seen = self.total

        def note(frame: FrameType, _event: str, _argument: object) -> None:
            nonlocal seen
            if (total := self.total) != seen:
                found[f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"] += total - seen
                seen = total

        previous = sys.getprofile()
        sys.setprofile(note)
        try:
            run()
        finally:
            sys.setprofile(previous)
        return found

    @staticmethod
    def _value(name: str) -> int:
        return ctypes.c_size_t.in_dll(_library(), name).value
