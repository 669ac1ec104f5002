"""The way out of one connection: frames to bytes, late or cut off if faults ask for it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pika import frame
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from provider_gateway.devbroker.faults import Faults

#: Seconds that half a frame has to reach the client before the connection is aborted.
CUT_GRACE = 0.1


class Wire:
    """Writes to a transport.

    Args:
        transport: TCP, or TLS over it.

    Attributes:
        last_sent: when something was written last, in seconds.
    """

    def __init__(self, transport: Any, clock: IReactorTime, faults: Faults) -> None:
        self._transport = transport
        self._clock = clock
        self._faults = faults
        self.last_sent = clock.seconds()
        self._late: deque[tuple[float, bytes | None]] = deque()
        self._timer: IDelayedCall | None = None
        self._abort_call: IDelayedCall | None = None
        self._is_cut = False

    def send(self, *frames: frame.Frame) -> None:
        """Write frames."""
        for each in frames:
            data = each.marshal()
            if self._is_cut:
                return
            if self._faults.take_cut():
                self._put(data[: len(data) // 2])
                self._is_cut = True
                self._abort_call = self._clock.callLater(self._faults.delay + CUT_GRACE, self.abort)
            else:
                self._put(data)

    def send_bytes(self, data: bytes) -> None:
        """Write what is no frame."""
        self._put(data)

    def close(self) -> None:
        """Close the connection when everything is written."""
        self._put(None)

    def abort(self) -> None:
        """Drop the connection now."""
        self.stop()
        self._transport.abortConnection()

    def stop(self) -> None:
        """Write nothing more: the connection is gone."""
        self._is_cut = True
        self._late.clear()
        for call in (self._timer, self._abort_call):
            if call is not None and call.active():
                call.cancel()

    def _put(self, data: bytes | None) -> None:
        if self._is_cut:
            return
        self.last_sent = now = self._clock.seconds()
        if not self._faults.delay and not self._late:
            self._write(data)
            return
        self._late.append((now + self._faults.delay, data))
        if self._timer is None:
            self._timer = self._clock.callLater(self._faults.delay, self._write_due)

    def _write_due(self) -> None:
        self._timer = None
        _, data = self._late.popleft()
        self._write(data)
        if self._late:
            left = max(0.0, self._late[0][0] - self._clock.seconds())
            self._timer = self._clock.callLater(left, self._write_due)

    def _write(self, data: bytes | None) -> None:
        if data is None:
            self._transport.loseConnection()
        else:
            self._transport.write(data)
