"""Decides whether anybody still waits for the reply to a message: by its caller, else by its deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.clocks import WallClock
    from provider_gateway.message.message import Message

#: Seconds by which a message may have been published in the future: the clocks of two machines differ a little.
_SKEW = 1.0
#: The longest wait that is told, in milliseconds; the limit of AMQP's 32-bit integers.
_LONGEST = 2**31

#: Seconds by which the wall clock may run ahead between two looks before it counts as set forward.
_SET_FORWARD = 1.0


class Expiry:
    """Whether messages have expired.

    A deadline is a wall time, since it travels between machines. When the wall clock is set forward, the deadlines of
    messages that were published before are in the past at once, though their callers wait on. So for as long as
    such a caller may wait, deadlines are compared with the wall clock as it ran before. The step is noticed when
    the next deadline is looked at.

    Args:
        is_awaited: True if the caller with this correlation id waits in this process, False if it has given up, None
            if this process does not know it.
        reply_timeout: seconds that a caller waits at most.
        wall_clock: the deadlines are times of it.
        clock: a monotonic clock.
    """

    def __init__(
        self,
        is_awaited: Callable[[str], bool | None],
        *,
        reply_timeout: float,
        wall_clock: WallClock,
        clock: IReactorTime,
    ) -> None:
        self._is_awaited = is_awaited
        self._reply_timeout = reply_timeout
        self._wall_clock = wall_clock
        self._clock = clock
        #: By how much the wall clock is ahead of the monotonic one: when it was looked at last, and before it was set.
        self._ahead = self._before = wall_clock() - clock.seconds()
        #: Time of the monotonic clock until which ``_before`` counts.
        self._lenient_until = clock.seconds()

    def has_passed(self, message: Message) -> bool:
        """True if nobody waits for the reply to a message any more."""
        if message.correlation_id is not None:
            is_awaited = self._is_awaited(message.correlation_id)
            if is_awaited is not None:
                return not is_awaited
        return message.deadline is not None and self.is_past(message.deadline)

    def waited(self, message: Message) -> int | None:
        """Milliseconds since the gateway published a message.

        None if that is not known, or cannot be: the time is in the future, or too long ago.
        """
        published = message.published
        if published is None:
            return None
        waited = self._wall_clock() - published
        return int(1000 * max(0.0, waited)) if waited >= -_SKEW and 1000 * waited < _LONGEST else None

    def is_past(self, deadline: float) -> bool:
        """True if a wall time, in seconds since 1970, has passed."""
        now, seconds = self._wall_clock(), self._clock.seconds()
        ahead, last = now - seconds, self._ahead
        self._ahead = ahead
        self._before = last if seconds >= self._lenient_until else min(last, self._before)
        if ahead - last > _SET_FORWARD:
            self._lenient_until = seconds + self._reply_timeout
        if seconds < self._lenient_until:
            now = min(now, seconds + self._before)
        return now >= deadline
