"""How many connections each worker has, in memory that all of them see: the next one is for who has the fewest."""

from __future__ import annotations

import mmap
import os

from provider_gateway.errors import SettingsError

#: Of a worker that accepts nothing.
_ABSENT = 2**63


def make_counts(workers: int) -> int:
    """Memory for so many workers, none of which is there yet.

    Returns:
        Its descriptor, which belongs to the caller.

    Raises:
        SettingsError: this system has no such memory.
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
        descriptor: of memory from :func:`make_counts`; it may be closed afterwards.
    """

    def __init__(self, descriptor: int) -> None:
        # Writing an aligned word is atomic, so there is no lock. A count that is a moment old does no harm.
        self._counts = memoryview(mmap.mmap(descriptor, 0)).cast("Q")

    def report(self, number: int, connections: int) -> bool:
        """Tell how many connections a worker has.

        Returns:
            True if no other worker has fewer.
        """
        self._counts[number] = connections
        return connections <= min(self._counts)

    def leave(self, number: int) -> None:
        """Tell that a worker accepts nothing, any more or yet."""
        self._counts[number] = _ABSENT
