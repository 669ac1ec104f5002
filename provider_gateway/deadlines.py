"""Many time limits of the same length on one timer: a timer for each would cost 4 µs to set and cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred, TimeoutError as DeferredTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Calls back for each thing that was started and not stopped within a fixed time.

    All have the same time limit, so they expire in the order of their start, and one timer for the first is enough.

    Args:
        seconds: time limit of each thing.
        expired: called with each thing whose time is over; must not raise.
    """

    def __init__(self, clock: IReactorTime, seconds: float, expired: Callable[[T], object]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._expired = expired
        #: When each thing is due; in this order.
        self._due: dict[T, float] = {}
        self._timer: IDelayedCall | None = None

    def start(self, thing: T) -> None:
        """Start the time limit of a thing, or start it anew."""
        self._due.pop(thing, None)
        self._due[thing] = self._clock.seconds() + self._seconds
        if self._timer is None:
            self._timer = self._clock.callLater(self._seconds, self._expire)

    def stop(self, thing: T) -> bool:
        """Stop the time limit of a thing.

        Returns:
            False if it was not running: never started, stopped, or expired.
        """
        was_started = self._due.pop(thing, None) is not None
        if not self._due:
            self.close()
        return was_started

    def close(self) -> None:
        """Stop all time limits."""
        self._due.clear()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        # Keep _timer set while callbacks run: a callback may start a time limit, which must not start a second timer.
        now = self._clock.seconds()
        while self._due:
            thing, due = next(iter(self._due.items()))
            if due > now:
                self._timer = self._clock.callLater(due - now, self._expire)
                return
            del self._due[thing]
            self._expired(thing)
        self._timer = None


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
