"""How a command ends: its exit statuses, and the error that ends it with one line."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """Exit statuses of ``provider-gateway``."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOTHING = 3
    BUSY = 4
    INTERRUPTED = 130  # 128 + SIGINT, as shells have it
    NO_READER = 141  # 128 + SIGPIPE


class Ended(Exception):
    """Ends the command with one line on standard error, or with none if the text is empty. It may be of any kind.

    Attributes:
        status: the exit status.
    """

    def __init__(self, text: str, status: Status = Status.FAILED) -> None:
        super().__init__(text)
        self.status = status
