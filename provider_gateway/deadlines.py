"""Many waits of the same length on one timer: to set and cancel a timer for each would cost 4 µs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred, TimeoutError as DeferredTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Tells of each thing that was started and not stopped within a time that is the same for all.

    What is started last is due last, so that only the first one needs a timer.

    Args:
        seconds: from the start of a thing to its end.
        expired: is told each thing whose time is over; must not raise.
    """

    def __init__(self, clock: IReactorTime, seconds: float, expired: Callable[[T], object]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._expired = expired
        #: When each is due, in this order.
        self._due: dict[T, float] = {}
        self._timer: IDelayedCall | None = None

    def start(self, thing: T) -> None:
        """Let the time of something begin, anew if it was begun."""
        self._due.pop(thing, None)
        self._due[thing] = self._clock.seconds() + self._seconds
        if self._timer is None:
            self._timer = self._clock.callLater(self._seconds, self._expire)

    def stop(self, thing: T) -> bool:
        """Tell nothing of something any more.

        Returns:
            False if it was not started, or its time was over.
        """
        was_started = self._due.pop(thing, None) is not None
        if not self._due:
            self.close()
        return was_started

    def close(self) -> None:
        """Tell nothing of anything any more."""
        self._due.clear()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        # The timer that has just fired counts as one until there is another: what is told may start something.
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
    """Lets Deferreds be waited for no longer than a time that is the same for all; ``addTimeout`` for many.

    Args:
        seconds: for each.
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
