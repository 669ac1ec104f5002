"""Time limits, all of them on one timer: a timer for each would cost 4 µs to set and cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakValueDictionary

from twisted.internet.defer import CancelledError, Deferred, TimeoutError as DeferredTimeoutError
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T")


class _Timer:
    """The timer that all time limits of a clock share.

    It runs while anything has a time limit. When the first thing is stopped, it is left as it is, and finds nothing to
    do when it fires. So in a process that has idle connections, or several requests at a time, no request sets a timer.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        #: Those in which something has a time limit.
        self._running: set[Deadlines[Any]] = set()
        self._call: IDelayedCall | None = None
        #: When it fires. While it fires, this is past: no callback sets it anew.
        self._at = 0.0

    def add(self, deadlines: Deadlines[Any], due: float) -> None:
        """Have deadlines told when it is due, or before."""
        self._running.add(deadlines)
        if self._call is None:
            self._at = due
            self._call = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._fire)
        elif due < self._at:
            self._at = due
            self._call.reset(max(0.0, due - self._clock.seconds()))

    def remove(self, deadlines: Deadlines[Any]) -> None:
        """Tell deadlines nothing more."""
        self._running.discard(deadlines)
        if not self._running and self._call is not None and self._call.active():  # while it fires, it is not
            self._call.cancel()
            self._call = None

    def _fire(self) -> None:
        now = self._clock.seconds()
        for each in list(self._running):
            try:
                each.expire(now)
            except Exception:  # noqa: BLE001 - all others, and what is left of these, have their time limits, too
                self._log.failure("A time limit's callback broke")
        self._call = None
        if self._running:
            self._at = min([each.due for each in self._running])
            self._call = self._clock.callLater(max(0.0, self._at - now), self._fire)


#: By the id of the clock, which a timer holds.
_timers: WeakValueDictionary[int, _Timer] = WeakValueDictionary()


def _timer_of(clock: IReactorTime) -> _Timer:
    timer = _timers.get(id(clock))
    if timer is None:
        timer = _timers[id(clock)] = _Timer(clock)
    return timer


class Deadlines(Generic[T]):
    """Calls back for each thing that was started and not stopped within a fixed time.

    All have the same time limit, so they expire in the order of their start, and only the first one has to be timed.

    Args:
        seconds: time limit of each thing.
        expired: called with each thing whose time is over; must not raise.

    Attributes:
        seconds: as given.
    """

    def __init__(self, clock: IReactorTime, seconds: float, expired: Callable[[T], object]) -> None:
        self._clock = clock
        self.seconds = seconds
        self._expired = expired
        #: When each thing is due; in this order.
        self._due: dict[T, float] = {}
        self._timer = _timer_of(clock)

    @property
    def due(self) -> float:
        """When the first thing is due; there is one."""
        return next(iter(self._due.values()))

    def start(self, thing: T) -> None:
        """Start the time limit of a thing, or start it anew."""
        self._due.pop(thing, None)
        due = self._clock.seconds() + self.seconds
        if not self._due:
            self._timer.add(self, due)
        self._due[thing] = due

    def stop(self, thing: T) -> bool:
        """Stop the time limit of a thing.

        Returns:
            False if it was not running: never started, stopped, or expired.
        """
        was_started = self._due.pop(thing, None) is not None
        if was_started and not self._due:
            self._timer.remove(self)
        return was_started

    def close(self) -> None:
        """Stop all time limits."""
        self._due.clear()
        self._timer.remove(self)

    def expire(self, now: float) -> None:
        """Call back for each thing that is due; called by the timer."""
        while self._due:
            thing, due = next(iter(self._due.items()))
            if due > now:
                return
            del self._due[thing]
            self._expired(thing)
        self._timer.remove(self)


class TimeLimit:
    """A time limit for waiting on Deferreds: ``addTimeout`` for many, on one timer.

    Args:
        seconds: time limit of each wait.
    """

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self._deadlines: Deadlines[Deferred[Any]] = Deadlines(clock, seconds, lambda waiting: waiting.cancel())

    async def on(self, waiting: Deferred[T]) -> T:
        """Wait for a Deferred's result.

        Raises:
            twisted.internet.defer.TimeoutError: it took too long, and was cancelled.
        """
        self._deadlines.start(waiting)
        try:
            return await waiting
        except CancelledError:
            if self._deadlines.stop(waiting):
                raise
            raise DeferredTimeoutError from None
        finally:
            self._deadlines.stop(waiting)
