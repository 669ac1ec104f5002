"""Writes the workers' log lines to the supervisor's log: with one writer no line is torn, and files can rotate."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twisted.logger import InvalidLogLevelError, Logger, LogLevel

if TYPE_CHECKING:
    from collections.abc import Callable

_log = Logger(namespace="provider_gateway.worker")


def copy_to(out: Any) -> Callable[[str], None]:
    """A function that copies a worker's line to a file.

    Args:
        out: the file of our own lines: a text file or a twisted.python.logfile.LogFile.
    """

    def write(line: str) -> None:
        out.write(line + "\n")
        out.flush()

    return write


def log_again(line: str) -> None:
    """Log a worker's line as an event of our own, for an observer of twistd (syslog, for example)."""
    try:
        known = json.loads(line)
        level, text = LogLevel.lookupByName(known["level"]), f"worker {known['worker']}: {known['message']}"
        text = "\n".join([text, *known.get("traceback", "").splitlines()])
    except (ValueError, KeyError, TypeError, InvalidLogLevelError):
        level, text = LogLevel.info, line
    _log.emit(level, "{text}", text=text)
