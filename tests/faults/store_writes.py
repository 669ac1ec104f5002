"""Faults of SQLite's writes: a library that is preloaded into a process, and that kills it at a step of a commit."""

from __future__ import annotations

import atexit
import shutil
import struct
import subprocess
from enum import IntEnum
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

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


@cache
def _library() -> Path:
    """The library, compiled once for all tests of this process."""
    folder = Path(mkdtemp(prefix="store-writes-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = folder / "store_writes.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, _SOURCE], check=True)
    return library


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
        self.environment = {"LD_PRELOAD": str(_library()), "STORE_WRITES": str(self._file)}

    def set(self, fault: Fault, steps: int = 0) -> None:
        """Set the fault; a process is killed after so many further steps of that kind."""
        with self._file.open("r+b", buffering=0) as file:  # in place: the processes have the file mapped
            file.write(struct.pack("=ii", fault, steps))
