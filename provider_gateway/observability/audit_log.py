"""The audit log: one line for each parked message that somebody read, replayed, dropped, or had no right to."""

from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Unbuffered(Protocol):
    """A file without a buffer, opened for appending."""

    def write(self, data: bytes, /) -> int | None:
        """Write bytes; returns how many were taken."""


class AuditLog:
    """Writes who did what with which message.

    Args:
        out: the file; None for lines of the process's log, which have the same fields.
        wall_clock: has the time of the lines.
    """

    _log = Logger()

    def __init__(self, out: Unbuffered | None, wall_clock: Callable[[], float]) -> None:
        self._out = out
        self._wall_clock = wall_clock
        #: The last line is written in part.
        self._is_torn = False

    def write(self, line: Mapping[str, Any]) -> None:
        """Write one line. It is with the kernel when this returns: a process that is killed afterwards loses none.

        Args:
            line: its fields; ``event``, ``queue`` and ``operator`` are among them. The time is added.

        Raises:
            OSError: the file cannot be written, such as on a full disk. What the line is about must not be done.
        """
        if self._out is None:
            self._log.info("{event}: a parked message of {queue}, by {operator}", **line)
            return
        time = datetime.fromtimestamp(self._wall_clock(), UTC).isoformat(timespec="milliseconds")
        data = json.dumps({"time": time, **line}).encode() + b"\n"
        if self._is_torn:
            data = b"\n" + data
        taken = self._out.write(data)
        if taken != len(data):
            self._is_torn = self._is_torn or bool(taken)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._is_torn = False
