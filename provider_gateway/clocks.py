"""The two clocks: the monotonic one measures durations, the wall clock knows the date and may be set.

``reactor.seconds`` is the wall clock in Twisted, and ``callLater`` counts by it: if somebody sets the clock back by an
hour, every timer waits an hour longer. Here the reactor gets a monotonic clock. What needs the date (``pg-deadline``,
``Date``, log lines, the expiry of certificates) gets a :data:`WallClock` through its constructor.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, time
from typing import Any

#: Returns the seconds since 1970. May jump in either direction.
WallClock = Callable[[], float]
#: The machine's.
WALL_CLOCK: WallClock = time


def make_monotonic(reactor: Any) -> None:
    """Give a reactor a monotonic clock: ``seconds`` (twisted.internet.interfaces.IReactorTime), and so ``callLater``.

    May be called again. What was scheduled before keeps its delay.
    """
    shift = monotonic() - reactor.seconds()
    reactor.seconds = monotonic
    for call in reactor.getDelayedCalls():
        call.delay(shift)
