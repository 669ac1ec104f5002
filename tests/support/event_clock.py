"""A clock for simulations: time goes from one event to the next, and many events cost little."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable


@implementer(IReactorTime)
class EventClock:
    """Like ``twisted.internet.task.Clock``, which sorts all calls for each new one."""

    def __init__(self) -> None:
        self._now = 0.0
        self._number = 0
        self._calls: list[tuple[float, int, DelayedCall]] = []

    def seconds(self) -> float:
        return self._now

    def callLater(self, delay: float, function: Callable[..., object], *args: Any, **kwargs: Any) -> DelayedCall:  # noqa: N802
        call = DelayedCall(self._now + delay, function, args, kwargs, lambda _: None, self._moved, self.seconds)
        self._push(call)
        return call

    def getDelayedCalls(self) -> list[DelayedCall]:  # noqa: N802
        return [call for _, _, call in self._calls if call.active()]

    def _push(self, call: DelayedCall) -> None:
        self._number += 1
        heapq.heappush(self._calls, (call.getTime(), self._number, call))

    def _moved(self, call: DelayedCall) -> None:
        msg = "No timer of a simulation is moved."
        raise AssertionError(msg)

    def run_until(self, end: float) -> None:
        """Let everything happen that is due up to a point in time."""
        calls = self._calls
        while calls and calls[0][0] <= end:
            when, _, call = heapq.heappop(calls)
            if call.active():
                self._now = when
                call.called = 1
                call.func(*call.args, **call.kw)
        self._now = end
