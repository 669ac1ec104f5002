"""The timers of one connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.interfaces import IDelayedCall

    from provider_gateway.config.limits import Limits

_LIMIT_OF = {"handshake": "handshake_timeout", "headers": "headers_timeout", "body": "body_timeout"}


class TimeLimits:
    """Limits how long a client may take for handshake, headers, body, reading and closing.

    The time between two requests is limited by the site, with one timer for all connections.

    Args:
        clock: the reactor.
        limits: the time limits, in seconds.
        too_slow: called with the state and its limit when a state takes too long.
        not_read: called when the client has not read in time what was sent.
        abort: called when the client has not closed in time.

    Attributes:
        state: the state whose time limit runs; None if none does.
    """

    __slots__ = (
        "_abort",
        "_clock",
        "_limits",
        "_linger",
        "_not_read",
        "_others",
        "_state_timer",
        "_too_slow",
        "_write",
        "state",
    )

    def __init__(
        self,
        clock: Any,
        limits: Limits,
        *,
        too_slow: Callable[[str, float], object],
        not_read: Callable[[], object],
        abort: Callable[[], object],
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._too_slow = too_slow
        self._not_read = not_read
        self._abort = abort
        self.state: str | None = None
        self._state_timer: IDelayedCall | None = None
        self._write: IDelayedCall | None = None
        self._linger: IDelayedCall | None = None
        self._others: list[IDelayedCall] = []

    def enter(self, state: str) -> None:
        """Begin the time limit of a state, and end that of the state before. The limit of the same state goes on."""
        timed = state if state in _LIMIT_OF else None
        if timed == self.state:
            return
        self.state = timed
        if self._state_timer is not None and self._state_timer.active():
            self._state_timer.cancel()
        if timed is not None:
            seconds: float = getattr(self._limits, _LIMIT_OF[timed])
            self._state_timer = self._clock.callLater(seconds, self._too_slow, timed, seconds)

    @property
    def is_writing(self) -> bool:
        """True while the transport's buffer is full: the client does not read."""
        return self._write is not None

    def begin_writing(self) -> None:
        """Begin the time limit for reading, unless it runs."""
        if self._write is None:
            self._write = self._clock.callLater(self._limits.write_timeout, self._not_read)

    def end_writing(self) -> None:
        """End the time limit for reading."""
        if self._write is not None and self._write.active():
            self._write.cancel()
        self._write = None

    def abort_after(self, seconds: float) -> None:
        """Abort the connection after some seconds. Only the first call counts."""
        if self._linger is None:
            self._linger = self._clock.callLater(seconds, self._abort)

    def call_after(self, times: Iterable[float], function: Callable[[], object]) -> None:
        """Call a function at some times, in seconds from now, unless the connection ends before."""
        self._others = [each for each in self._others if each.active()]
        self._others += [self._clock.callLater(seconds, function) for seconds in times]

    def close(self) -> None:
        """Stop all timers."""
        for timer in (self._state_timer, self._write, self._linger, *self._others):
            if timer is not None and timer.active():
                timer.cancel()
