"""Joins the writes of one turn of the reactor: the first write is sent at once, all others together at its end.

With everything at the end of the turn, a request that is alone would wait. With each write sent at once, a busy process
would spend a TLS record and a system call on each message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

#: Bytes that may wait for the end of the turn.
_MAX_BYTES = 64_000


class TurnWrites:
    """Joins writes.

    Args:
        clock: the reactor's.
        send: called with the bytes to send.
    """

    def __init__(self, clock: IReactorTime, send: Callable[[bytes], object]) -> None:
        self._clock = clock
        self._send = send
        #: The writes after the first one of this turn; None before the first.
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
        """Send what waits. The next write is the first of a turn again."""
        if self._rest is not None:
            self._send_rest()
            self._rest = None

    def _send_rest(self) -> None:
        assert self._rest is not None
        rest, self._rest, self._size = self._rest, [], 0
        if rest:
            self._send(b"".join(rest))
