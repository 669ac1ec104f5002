"""How many bytes Python objects take in large blocks: the copies of a body, in short.

It counts in front of Python's allocators, with a small library that is compiled once. OpenSSL's own buffers are not
counted; nor are blocks below 4 KB, of which a body of a megabyte needs few.
"""

from __future__ import annotations

import ctypes
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.folders import folder

_SOURCE = Path(__file__).with_suffix(".c")


@cache
def _library() -> Any:
    library = folder() / "large_blocks.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, _SOURCE], check=True)
    return ctypes.PyDLL(str(library))  # calls keep the GIL


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

    @staticmethod
    def _value(name: str) -> int:
        return ctypes.c_size_t.in_dll(_library(), name).value
