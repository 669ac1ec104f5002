"""Deferred arithmetic that several modules need and Twisted does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import CancelledError, Deferred

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

T = TypeVar("T")


def shield(source: Deferred[T]) -> Deferred[T]:
    """A Deferred with the result of another, whose cancellation does not reach that other.

    For results of other libraries that must not be cancelled: pika fires its Deferreds later all the same.

    Args:
        source: is used up: its result, failures included, goes to the returned Deferred only.
    """
    follower: Deferred[T] = Deferred()
    source.addCallbacks(follower.callback, follower.errback)
    return follower


def sleep(clock: IReactorTime, seconds: float) -> Deferred[None]:
    """A Deferred that fires after a number of seconds; cancelling it cancels the timer."""
    done: Deferred[None] = Deferred(lambda _: call.cancel())
    call = clock.callLater(seconds, done.callback, None)
    return done


class InFlight:
    """Coroutines that nobody awaits: they are held here, and a drain can wait for the last one.

    Args:
        on_error: is told each Failure that a coroutine ends with, other than its own cancellation.
    """

    def __init__(self, on_error: Callable[[Failure], object]) -> None:
        self._on_error = on_error
        self._running: set[Deferred[None]] = set()
        self._waiting: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._running)

    def start(self, coroutine: Coroutine[Deferred[object], object, None]) -> None:
        """Run a coroutine to its end."""
        running: Deferred[None] = Deferred.fromCoroutine(coroutine)
        self._running.add(running)
        running.addErrback(self._failed)
        running.addBoth(self._done, running)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._on_error(failure)

    def _done(self, _: object, running: Deferred[None]) -> None:
        self._running.discard(running)
        if not self._running:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    def empty(self) -> Deferred[None]:
        """A Deferred that fires when nothing is running (at once, if nothing is)."""
        done: Deferred[None] = Deferred()
        if self._running:
            self._waiting.append(done)
        else:
            done.callback(None)
        return done

    def cancel(self) -> None:
        """Cancel everything that is running."""
        for running in list(self._running):
            running.cancel()
