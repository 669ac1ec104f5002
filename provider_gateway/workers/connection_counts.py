"""How many connections each worker has, in shared memory: the worker with the fewest accepts the next one."""

from __future__ import annotations

import mmap
import os

from provider_gateway.errors import SettingsError

#: The count of a worker that accepts no connections: more than any other.
_ABSENT = 2**63


def make_counts(workers: int) -> int:
    """Make the shared memory. No worker accepts connections yet.

    Args:
        workers: how many there are.

    Returns:
        The descriptor of the memory; the caller closes it.

    Raises:
        SettingsError: the operating system is not Linux, and has no such memory.
    """
    if not hasattr(os, "memfd_create"):
        msg = "WORKERS: more than one needs Linux"
        raise SettingsError(msg)
    descriptor = os.memfd_create("connection-counts")
    os.truncate(descriptor, 8 * workers)
    counts = ConnectionCounts(descriptor)
    for number in range(workers):
        counts.leave(number)
    return descriptor


class ConnectionCounts:
    """The counts of all workers.

    Args:
        descriptor: from :func:`make_counts`; may be closed afterwards.
    """

    def __init__(self, descriptor: int) -> None:
        # No lock: writing an aligned word is atomic, and a count that is a moment old does no harm.
        self._counts = memoryview(mmap.mmap(descriptor, 0)).cast("Q")

    def report(self, number: int, connections: int) -> bool:
        """Store how many connections a worker has.

        Returns:
            True if no other worker has fewer.
        """
        self._counts[number] = connections
        return connections <= min(self._counts)

    def leave(self, number: int) -> None:
        """Store that a worker accepts no connections."""
        self._counts[number] = _ABSENT
