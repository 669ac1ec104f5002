"""Deferreds that cannot be cancelled from outside, and that wait for an event; coroutines that run; and a sleep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.internet.interfaces import IReactorTime

T = TypeVar("T")
A = TypeVar("A")


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


class Running(Generic[T, A]):
    """A coroutine that runs, and awaits Deferreds. It takes 400 bytes less than one of ``Deferred.fromCoroutine``.

    That would make a Deferred, a function, a context and three more objects. This is one object. Nobody can
    wait for its result: a function is called at the end.

    Args:
        coroutine: awaits Deferreds.
        ended: called with this object, and the coroutine's result, or a Failure; must not raise.
        about: what the coroutine is about, for ``ended``.

    Attributes:
        about: as given.
    """

    __slots__ = ("_awaited", "_coroutine", "_ended", "about")

    def __init__(
        self,
        coroutine: Coroutine[Deferred[Any], Any, T],
        ended: Callable[[Running[T, A], T | Failure], object],
        about: A,
    ) -> None:
        self._coroutine = coroutine
        self._ended = ended
        self.about = about
        #: None while the coroutine itself is at work, and when it has ended.
        self._awaited: Deferred[Any] | None = None

    def start(self) -> None:
        """Run the coroutine until it waits, or to its end."""
        self(None)

    def cancel(self) -> None:
        """Cancel what the coroutine waits for. It ends when it likes; nothing happens if it does not wait."""
        if self._awaited is not None:
            self._awaited.cancel()

    # The object itself is the callback: a bound method would take 64 bytes more.
    def __call__(self, result: object) -> None:
        """Run on: what the coroutine waited for has this result, or this Failure."""
        self._awaited = None
        try:
            # Other results than failures are asked for by the coroutine itself.
            if isinstance(result, Failure):
                awaited = result.throwExceptionIntoGenerator(self._coroutine)
            else:
                awaited = self._coroutine.send(None)
        except StopIteration as end:
            value: T = end.value
        except BaseException:  # noqa: BLE001 - whatever it is, somebody else knows what is to be done about it
            self._fail(Failure())
            return
        else:
            self._awaited = awaited
            awaited.addBoth(self)
            return
        self._ended(self, value)

    def _fail(self, failure: Failure) -> None:
        self._ended(self, failure)
        failure.cleanFailure()  # else its traceback would hold what the coroutine held


class InFlight:
    """Coroutines that nobody awaits. They are held here, and a drain can wait for the last one.

    Args:
        on_error: called with the Failure of each coroutine that ends with one, unless it was cancelled.
        on_end: called at the end of each coroutine with what it is about, and None or its Failure; returns what of that
            is left. It may start another coroutine; must not raise.
    """

    def __init__(
        self,
        on_error: Callable[[Failure], object],
        on_end: Callable[[Any, Failure | None], Failure | None] = lambda _, result: result,
    ) -> None:
        self._on_error = on_error
        self._on_end = on_end
        self._running: set[Running[None, Any]] = set()
        #: Bound once for all.
        self._when_ended = self._ended
        self._waiting_for_end: Waiters[None] = Waiters()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, coroutine: Coroutine[Deferred[Any], Any, None], about: Any = None) -> None:
        """Run a coroutine to its end.

        Args:
            about: what it is about, for ``on_end``.
        """
        running: Running[None, Any] = Running(coroutine, self._when_ended, about)
        self._running.add(running)
        running.start()

    def _ended(self, running: Running[None, Any], result: Failure | None) -> None:
        left = self._on_end(running.about, result)
        if left is not None and left.check(CancelledError) is None:
            self._on_error(left)
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
