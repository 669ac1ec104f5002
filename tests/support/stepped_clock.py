"""A wall clock that a test sets while real processes run by it: a library that is preloaded into them.

Not faked: monotonic clocks, timers of the kernel, and the clocks of all other processes, such as the broker's.
"""

from __future__ import annotations

import struct
from pathlib import Path

from tests.support.compiled import compiled

_SOURCE = Path(__file__).with_suffix(".c")


class SteppedClock:
    """The wall clock of the processes that are started with its environment, and of their children.

    Args:
        folder: for its file.

    Attributes:
        environment: variables that such a process needs.
        ahead: seconds by which the clock is ahead of the machine's; negative if it is behind.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder.resolve() / "stepped-clock"
        self.environment = {"LD_PRELOAD": str(compiled(_SOURCE)), "STEPPED_CLOCK": str(self._file)}
        self.ahead = 0.0
        self.step(0)

    def step(self, seconds: float) -> None:
        """Set the clock forward, or back."""
        self.ahead += seconds
        content = struct.pack("=q", int(self.ahead * 1e9))
        if not self._file.exists():
            self._file.write_bytes(content)
            return
        with self._file.open("r+b", buffering=0) as file:  # in place: the processes have the file mapped
            file.write(content)
