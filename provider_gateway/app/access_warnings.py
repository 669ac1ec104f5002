"""Warnings of an access file beside the queue file: rights on parked messages of queues that are not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.security.access_rules import read_rules

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from provider_gateway.config.queue_file import QueueEntry


def access_warnings(path: Path | None, entries: Sequence[QueueEntry]) -> list[str]:
    """Warn of names of work queues that the queue file does not have: such a right opens nothing.

    Args:
        path: of the access file; None if there is none.

    Raises:
        SettingsError: the file cannot be read or is wrong.
    """
    if path is None:
        return []
    known = {"*", *(entry.queue_name for entry in entries)}
    return [
        f"HTTP_ACCESS: {path}: [{number}].queues: the queue file has no queue {queue!r}; its rights open nothing"
        for number, rule in enumerate(read_rules(path))
        for queue in rule.queues or ()
        if queue not in known
    ]
