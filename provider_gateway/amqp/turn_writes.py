"""What is written in one turn of the reactor: the first of it at once, the rest as one.

One write for all would make the only request that is under way wait; a write for each message would cost a busy
process a TLS record and a system call for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

#: Bytes that are kept for the end of a turn at most.
_MAX_BYTES = 64_000


class TurnWrites:
    """Collects writes.

    Args:
        clock: of the reactor.
        send: takes bytes for the transport.
    """

    def __init__(self, clock: IReactorTime, send: Callable[[bytes], object]) -> None:
        self._clock = clock
        self._send = send
        #: What came behind the first write of this turn; None before that.
        self._rest: list[bytes] | None = None
        self._size = 0

    def write(self, data: bytes) -> None:
        """Send bytes now, or at the end of this turn."""
        if self._rest is None:
            self._rest = []
            self._clock.callLater(0, self.flush)
            self._send(data)
            return
        self._rest.append(data)
        self._size += len(data)
        if self._size > _MAX_BYTES:
            self._send_rest()

    def flush(self) -> None:
        """Send what was collected; the next write is the first of a turn again."""
        if self._rest is not None:
            self._send_rest()
            self._rest = None

    def _send_rest(self) -> None:
        assert self._rest is not None
        rest, self._rest, self._size = self._rest, [], 0
        if rest:
            self._send(b"".join(rest))
