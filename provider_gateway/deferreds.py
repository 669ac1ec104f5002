"""Deferreds that cannot be cancelled from outside, that wait for an event, and that run coroutines; and a sleep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.internet.interfaces import IReactorTime

T = TypeVar("T")


def shield(source: Deferred[T]) -> Deferred[T]:
    """A Deferred with the result of another one, which stays untouched when the returned one is cancelled.

    For Deferreds that must not be cancelled: pika fires its own later all the same.

    Args:
        source: its result, or its failure, goes to the returned Deferred only.
    """
    follower: Deferred[T] = Deferred()
    source.addCallbacks(follower.callback, follower.errback)
    return follower


def sleep(clock: IReactorTime, seconds: float) -> Deferred[None]:
    """A Deferred that fires after a number of seconds. Cancelling it cancels the timer."""
    done: Deferred[None] = Deferred(lambda _: call.cancel())
    call = clock.callLater(seconds, done.callback, None)
    return done


class Waiters(Generic[T]):
    """Deferreds that wait for the same event. Whoever owns the event knows whether it has happened already."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[T]] = []

    def wait(self) -> Deferred[T]:
        """A Deferred that fires at the next :meth:`fire`. It can be cancelled."""
        waiting: Deferred[T] = Deferred(self._forget)
        self._waiting.append(waiting)
        return waiting

    def fire(self, result: T) -> None:
        """Fire every Deferred that waits now. One that a callback adds waits for the next time."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.called:  # cancelled by the callback of another
                each.callback(result)

    def _forget(self, waiting: Deferred[T]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)


class InFlight:
    """Coroutines that nobody awaits. They are held here, and a drain can wait for the last one.

    Args:
        on_error: called with the Failure of each coroutine that ends with one, unless it was cancelled.
    """

    def __init__(self, on_error: Callable[[Failure], object]) -> None:
        self._on_error = on_error
        self._running: set[Deferred[None]] = set()
        self._waiting_for_end: Waiters[None] = Waiters()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, coroutine: Coroutine[Deferred[object], object, None]) -> None:
        """Run a coroutine to its end."""
        running: Deferred[None] = Deferred.fromCoroutine(coroutine)
        self._running.add(running)
        running.addBoth(self._ended, running)

    def _ended(self, result: Failure | None, running: Deferred[None]) -> None:
        if isinstance(result, Failure) and result.check(CancelledError) is None:
            self._on_error(result)
        self._running.discard(running)
        if not self._running:
            self._waiting_for_end.fire(None)

    def empty(self) -> Deferred[None]:
        """A Deferred that fires when nothing is running (at once, if nothing is)."""
        return self._waiting_for_end.wait() if self._running else succeed(None)

    def cancel(self) -> None:
        """Cancel everything that is running."""
        for running in list(self._running):
            running.cancel()
