"""Commits operations in groups: those that arrive while a transaction runs are the next one.

One fsync then serves many operations. It knows no SQL: what runs a transaction is given.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.logger import Logger

from provider_gateway.deadlines import Deadlines
from provider_gateway.deferreds import Waiters, sleep
from provider_gateway.errors import StoreUnavailable
from provider_gateway.store.engine import Verdict
from provider_gateway.store.operations import Finish, Probe
from provider_gateway.store.unstorable import instead_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.store.operations import Operation

#: Most operations of a transaction, and most bytes of their bodies.
_MAX_OPERATIONS = 500
_MAX_BYTES = 16 * 1024 * 1024
#: Seconds that an operation may wait for its commit.
_OPERATION_TIMEOUT = 5.0
#: Seconds for a transaction before its connection is interrupted: the first, and most after some in vain.
_TRANSACTION_TIMEOUT, _MAX_TRANSACTION_TIMEOUT = 5.0, 60.0
#: Pauses between attempts in seconds, while the store is away: the first, and the longest.
_PAUSE, _MAX_PAUSE = 0.1, 5.0
#: Attempts of a transaction in a row that others may win.
_REPEATS = 20


@dataclass(eq=False, slots=True)
class _Waiting:
    """An operation whose commit is awaited."""

    operation: Operation
    done: Deferred[Any]
    is_running: bool = False


class GroupCommit:
    """Runs transactions one after the other, each with all operations that wait.

    Args:
        run: runs a transaction with some operations in a thread; its Deferred has the answer of each.
        interrupt: makes a transaction that is stuck fail soon.
        judge: what an error of ``run`` means.
        changed: called with None when the store is there, and with the error when it is away. It is away at first.
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
        self._waiting: deque[_Waiting] = deque()
        self._deadlines: Deadlines[_Waiting] = Deadlines(clock, _OPERATION_TIMEOUT, self._too_slow)
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
        done: Deferred[Any] = Deferred(lambda _: self._take_back(waiting))
        waiting = _Waiting(operation, done)
        if not operation.must_succeed:
            self._deadlines.start(waiting)
        self._waiting.append(waiting)
        self._begin()
        return done

    def probe(self) -> None:
        """Find out whether the store is there, unless that is being done."""
        if self._works is None and not self._is_closed:
            self.submit(Probe()).addErrback(lambda _: None)

    def close(self, seconds: float) -> Deferred[None]:
        """Commit what waits, for a limited time. What is not committed then fails."""
        self._is_closed = True
        self._end_pause()
        done: Deferred[None] = Deferred()
        timer = self._clock.callLater(seconds, self._interrupt)

        def closed(_: object) -> None:
            if timer.active():
                timer.cancel()
            while self._waiting:
                self._fail(self._waiting.popleft(), "The result store is closed.")
            self._deadlines.close()
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
        while batch := self._next_batch():
            error = await self._commit(batch)
            if error is None:
                pause = _PAUSE
                continue
            if self._is_closed:
                break  # nobody acknowledges anything any more: what is not committed comes back
            if not self._waiting:
                # Nobody waits for it any more. The next operation finds out whether the store is there again.
                self._append_probe()
            await self._wait(pause)
            pause = min(2 * pause, _MAX_PAUSE)
        self._works = None
        self._idle.fire(None)

    def _append_probe(self) -> None:
        done: Deferred[Any] = Deferred()
        done.addErrback(lambda _: None)
        self._waiting.append(_Waiting(Probe(), done))

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

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < _MAX_OPERATIONS:
            size += self._waiting[0].operation.size
            if batch and size > _MAX_BYTES:
                break
            waiting = self._waiting.popleft()
            waiting.is_running = True
            batch.append(waiting)
        return batch

    async def _commit(self, batch: list[_Waiting]) -> Exception | None:
        """Commit operations together; one by one if one of them cannot be stored.

        Returns:
            The error if the store is away. What must succeed waits again then, before all else.
        """
        for repeat in range(_REPEATS):
            try:
                answers = await self._transaction(batch)
            except Exception as error:  # noqa: BLE001 - the engine says what it means
                verdict = self._judge(error)
                if verdict is Verdict.REPEAT and repeat < _REPEATS - 1:
                    continue
                if verdict is not Verdict.DATA or isinstance(batch[0].operation, Probe):
                    return self._away(batch, error)
                return await self._alone(batch, error)
            self._up(None)
            for waiting, answer in zip(batch, answers, strict=True):
                self._deadlines.stop(waiting)
                if not waiting.done.called:
                    waiting.done.callback(answer)
            return None
        raise AssertionError

    async def _transaction(self, batch: list[_Waiting]) -> Sequence[Any]:
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

    async def _alone(self, batch: list[_Waiting], error: Exception) -> Exception | None:
        """Find the operation that is at fault. It fails; a finish gets an outcome that can be stored."""
        if len(batch) > 1:
            for number, waiting in enumerate(batch):
                if (away := await self._commit([waiting])) is not None:
                    self._requeue(batch[number + 1 :])
                    return away
            return None
        (waiting,) = batch
        self._log.error(
            "The result store does not take {operation} of {id}: {error}",
            operation=type(waiting.operation).__name__.lower(),
            id=waiting.operation.id,
            error=error,
        )
        if isinstance(waiting.operation, Finish):
            outcome = instead_of(waiting.operation.outcome)
            if outcome != waiting.operation.outcome:
                waiting.operation = replace(waiting.operation, outcome=outcome)
                return await self._commit(batch)
        if waiting.operation.must_succeed:
            return self._away(batch, error)
        self._fail(waiting, "The result store does not take this request.")
        return None

    def _away(self, batch: list[_Waiting], error: Exception) -> Exception:
        self._up(error)
        self._requeue(batch)
        for waiting in [each for each in self._waiting if not each.operation.must_succeed]:
            self._waiting.remove(waiting)
            self._fail(waiting, "The result store is away.")
        return error

    def _requeue(self, batch: list[_Waiting]) -> None:
        for waiting in reversed(batch):
            waiting.is_running = False
            if not waiting.done.called:
                self._waiting.appendleft(waiting)

    def _up(self, error: Exception | None) -> None:
        is_up = error is None
        if is_up is not self._is_up:
            self._is_up = is_up
            self._changed(error)

    def _too_slow(self, waiting: _Waiting) -> None:
        if not waiting.is_running:
            self._waiting.remove(waiting)
        self._fail(waiting, "The result store is too slow.")

    def _take_back(self, waiting: _Waiting) -> None:
        self._deadlines.stop(waiting)
        if not waiting.is_running:
            self._waiting.remove(waiting)

    def _fail(self, waiting: _Waiting, detail: str) -> None:
        self._deadlines.stop(waiting)
        if not waiting.done.called:
            waiting.done.errback(StoreUnavailable(detail))
