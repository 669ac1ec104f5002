"""Joins the writes of one turn of the reactor: the first write is sent at once, all others together at its end.

With everything at the end of the turn, a request that is alone would wait. With each write sent at once, a busy process
would spend a TLS record and a system call on each message.

What is in no hurry goes along with the next write, and has no record and no system call of its own; nor does the broker
wake up for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.deadlines import Deadlines

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

#: Bytes that may wait for the end of the turn.
_MAX_BYTES = 64_000
#: Seconds and number of writes for which what is in no hurry waits at most. A timer of Twisted's wakes the process up
#: at its time even if it was cancelled, so a short one would cost more than it saves.
_PATIENCE = 0.1
_MAX_PATIENT = 32


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
        #: What is in no hurry.
        self._patient: list[bytes] = []
        self._limit: Deadlines[TurnWrites] = Deadlines(clock, _PATIENCE, TurnWrites._send_patient)

    def write(self, data: bytes) -> None:
        """Send bytes now, or at the end of this turn."""
        if self._rest is None:
            self._rest = []
            self._clock.callLater(0, self.flush)
            if self._patient:
                self._patient.append(data)
                data = b"".join(self._patient)
                self._forget_patient()
            self._send(data)
            return
        self._rest.append(data)
        self._size += len(data)
        if self._size > _MAX_BYTES:
            self._send_rest()

    def write_along(self, data: bytes) -> None:
        """Send bytes with the next write, before it; or soon, if there is none."""
        if self._rest is not None:
            self.write(data)  # which goes out in this turn
            return
        self._patient.append(data)
        if len(self._patient) == 1:
            self._limit.start(self)
        elif len(self._patient) >= _MAX_PATIENT:
            self._send_patient()

    def clear(self) -> None:
        """Forget what waits: the connection is lost."""
        self._forget_patient()
        if self._rest is not None:
            self._rest, self._size = [], 0

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

    def _send_patient(self) -> None:
        self.write(b"")

    def _forget_patient(self) -> None:
        self._patient.clear()
        self._limit.stop(self)
