"""Commits operations in groups: those that arrive while a transaction runs are the next one.

One fsync then serves many operations. It knows no SQL: what runs a transaction is given.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import Logger

from provider_gateway.deferreds import Waiters, sleep
from provider_gateway.errors import StoreUnavailable
from provider_gateway.store.commit_queue import CommitQueue, Waiting
from provider_gateway.store.engine import Verdict
from provider_gateway.store.operations import Finish, Probe
from provider_gateway.store.unstorable import instead_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.store.operations import Operation

#: Seconds for a transaction before its connection is interrupted: the first, and most after some in vain.
_TRANSACTION_TIMEOUT, _MAX_TRANSACTION_TIMEOUT = 5.0, 60.0
#: Pauses between attempts in seconds, while the store is away: the first, and the longest.
_PAUSE, _MAX_PAUSE = 0.1, 5.0
#: Attempts of a transaction in a row that others may win.
_REPEATS = 20


class GroupCommit:
    """Runs transactions one after the other, each with all operations that wait.

    Args:
        run: runs a transaction with some operations in a thread; its Deferred has the answer of each.
        interrupt: makes a transaction that is stuck fail soon.
        judge: what an error of ``run`` means.
        changed: called with None when the store is there, and with the error when it is away, before those who wait are
            told. It is away at first.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        run: Callable[[Sequence[Operation]], Deferred[Sequence[Any]]],
        interrupt: Callable[[], object],
        judge: Callable[[Exception], Verdict],
        changed: Callable[[Exception | None], object],
        metrics: Metrics,
    ) -> None:
        self._clock = clock
        self._run = run
        self._interrupt = interrupt
        self._judge = judge
        self._changed = changed
        self._metrics = metrics
        self._log = Logger(namespace="provider_gateway.store")
        self._queue = CommitQueue(clock)
        self._works: Deferred[None] | None = None
        self._idle: Waiters[None] = Waiters()
        self._pause: Deferred[None] | None = None
        self._time_limit = _TRANSACTION_TIMEOUT
        self._is_up = False
        self._is_closed = False

    @property
    def is_up(self) -> bool:
        """True if the last transaction was committed."""
        return self._is_up

    def submit(self, operation: Operation) -> Deferred[Any]:
        """Have an operation committed.

        Returns:
            A Deferred with its answer, after the commit. It fails with :class:`.StoreUnavailable` as
            :class:`.ResultStore` says. Cancelling it takes the operation back unless its transaction runs.
        """
        if self._is_closed:
            return fail(StoreUnavailable("The result store is closed."))
        if not self._is_up and not operation.must_succeed and not isinstance(operation, Probe):
            return fail(StoreUnavailable("The result store is away."))
        done = self._queue.append(operation)
        self._begin()
        return done

    def probe(self) -> Deferred[None]:
        """Find out whether the store is there, unless that is being done.

        Returns:
            A Deferred that fires when that is known, or after 5 s, whatever was found.
        """
        if self._works is not None or self._is_closed:
            return succeed(None)
        known: Deferred[None] = self.submit(Probe())
        return known.addErrback(lambda failure: failure.trap(StoreUnavailable) and None)

    def close(self, seconds: float) -> Deferred[None]:
        """Commit what waits, for a limited time. What is not committed then fails."""
        self._is_closed = True
        self._end_pause()
        done: Deferred[None] = Deferred()
        timer = self._clock.callLater(seconds, self._interrupt)

        def closed(_: object) -> None:
            if timer.active():
                timer.cancel()
            self._queue.fail_all("The result store is closed.", but_must_succeed=False)
            done.callback(None)

        if self._works is None:
            closed(None)
        else:
            self._idle.wait().addCallback(closed)
        return done

    def _begin(self) -> None:
        if self._works is None:
            # In the next turn of the reactor: what arrives in this one shares the transaction.
            self._works = sleep(self._clock, 0)
            self._works.addCallback(lambda _: Deferred.fromCoroutine(self._work()))
            self._works.addErrback(self._broken)

    def _broken(self, failure: Failure) -> None:
        self._log.failure("The result store's writer has failed", failure)
        self._works = None
        self._idle.fire(None)

    async def _work(self) -> None:
        pause = _PAUSE
        batch = self._queue.take()
        while batch:
            error = await self._commit(batch)
            if error is None:
                pause = _PAUSE
                batch = self._queue.take()
                continue
            if self._is_closed:
                break  # nobody acknowledges anything any more: what is not committed comes back
            await self._wait(pause)
            pause = min(2 * pause, _MAX_PAUSE)
            # Also if nobody waits any more: else nobody would learn that the store is there again.
            batch = self._queue.take() or [_probe()]
        self._works = None
        self._idle.fire(None)

    async def _wait(self, seconds: float) -> None:
        self._pause = sleep(self._clock, seconds)
        try:
            await self._pause
        except CancelledError:
            pass
        finally:
            self._pause = None

    def _end_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()

    async def _commit(self, batch: list[Waiting]) -> Exception | None:
        """Commit operations together. If one of them cannot be stored, they wait again, to be committed one by one.

        Returns:
            The error if the store is away. What must succeed waits again then, before all else.
        """
        for _ in range(_REPEATS):
            try:
                answers = await self._transaction(batch)
            except Exception as failed:  # noqa: BLE001 - the engine says what it means
                error, verdict = failed, self._judge(failed)
                if verdict is not Verdict.REPEAT:
                    break
            else:
                self._up(None)
                for waiting, answer in zip(batch, answers, strict=True):
                    self._queue.answer(waiting, answer)
                return None
        if verdict is Verdict.DATA and self._isolate(batch, error):
            return None
        return self._away(batch, error)

    def _isolate(self, batch: list[Waiting], error: Exception) -> bool:
        """Find the operation that cannot be stored: it fails, and a finish gets another outcome.

        Returns:
            False if no operation is at fault, but the store.
        """
        if len(batch) > 1:
            self._queue.put_back_singly(batch)
            return True
        (waiting,) = batch
        operation = waiting.operation
        if isinstance(operation, Probe):
            return False
        self._log.error(
            "The result store does not take {operation} of {id}: {error}",
            operation=type(operation).__name__.lower(),
            id=operation.id,
            error=error,
        )
        if isinstance(operation, Finish) and (outcome := instead_of(operation.outcome)) != operation.outcome:
            waiting.operation = replace(operation, outcome=outcome)
            self._queue.put_back_singly(batch)
            return True
        if operation.must_succeed:
            return False
        self._queue.fail(waiting, "The result store does not take this request.")
        return True

    async def _transaction(self, batch: list[Waiting]) -> Sequence[Any]:
        started = self._clock.seconds()
        timer = self._clock.callLater(self._time_limit, self._stuck)
        try:
            answers = await self._run([waiting.operation for waiting in batch])
        finally:
            if timer.active():
                timer.cancel()
        self._time_limit = _TRANSACTION_TIMEOUT
        self._metrics.result_store_commit_seconds.observe(self._clock.seconds() - started)
        self._metrics.result_store_commit_operations.observe(len(batch))
        return answers

    def _stuck(self) -> None:
        # A server that is frozen, or a slow disk: the next attempt gets more time.
        self._time_limit = min(2 * self._time_limit, _MAX_TRANSACTION_TIMEOUT)
        self._interrupt()

    def _away(self, batch: list[Waiting], error: Exception) -> Exception:
        self._up(error)
        self._queue.put_back(batch)
        self._queue.fail_all("The result store is away.", but_must_succeed=True)
        return error

    def _up(self, error: Exception | None) -> None:
        is_up = error is None
        if is_up is self._is_up:
            return
        self._is_up = is_up
        try:
            self._changed(error)
        except Exception:  # noqa: BLE001 - those who wait for a commit get their answers all the same
            self._log.failure("A change of the result store could not be told")


def _probe() -> Waiting:
    """A probe that nobody waits for."""
    done: Deferred[Any] = Deferred()
    done.addErrback(lambda _: None)
    return Waiting(Probe(), done)
