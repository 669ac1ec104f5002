"""Faults of SQLite's writes: a library that is preloaded into a process, and that kills it at a step of a commit."""

from __future__ import annotations

import struct
from enum import IntEnum
from pathlib import Path

from tests.support.compiled import compiled

_SOURCE = Path(__file__).with_suffix(".c")


class Fault(IntEnum):
    """What happens.

    A commit is one or more writes to the write-ahead log, and then one sync: a process that is killed before the first
    write has not committed. One that is killed after the sync has, if no other process has the file open: the other
    one would not read the log anew, and would go on as if there had been no commit.
    """

    NONE = 0
    KILL_BEFORE_WRITE = 1
    KILL_AFTER_SYNC = 2
    FULL = 3


class StoreWrites:
    """The writes of the processes that are started with its environment, and of their children, to ``*.db`` files.

    Args:
        folder: for its file.

    Attributes:
        environment: variables that such a process needs.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder.resolve() / "store-writes"
        self._file.write_bytes(struct.pack("=ii", Fault.NONE, 0))
        self.environment = {"LD_PRELOAD": str(compiled(_SOURCE)), "STORE_WRITES": str(self._file)}

    def set(self, fault: Fault, steps: int = 0) -> None:
        """Set the fault; a process is killed after so many further steps of that kind."""
        with self._file.open("r+b", buffering=0) as file:  # in place: the processes have the file mapped
            file.write(struct.pack("=ii", fault, steps))
