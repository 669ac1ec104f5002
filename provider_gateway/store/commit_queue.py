"""The operations that wait for their commit, in their order: which of them share the next transaction."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from provider_gateway.deadlines import Deadlines
from provider_gateway.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.store.operations import Operation

#: Most operations of a transaction, and most bytes of their bodies.
_MAX_OPERATIONS = 500
_MAX_BYTES = 16 * 1024 * 1024
#: Seconds that an operation may wait for its commit.
_OPERATION_TIMEOUT = 5.0


@dataclass(eq=False, slots=True)
class Waiting:
    """An operation whose commit is awaited.

    Attributes:
        done: fires with its answer.
    """

    operation: Operation
    done: Deferred[Any]

    @property
    def is_given_up(self) -> bool:
        """True if it was cancelled or has failed. It is left out of the next transaction."""
        return bool(self.done.called)


class CommitQueue:
    """Operations that wait.

    Args:
        clock: times how long an operation waits that need not succeed.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._waiting: deque[Waiting] = deque()
        #: How many of them, from the first, are to have a transaction of their own.
        self._alone = 0
        self._deadlines: Deadlines[Waiting] = Deadlines(
            clock, _OPERATION_TIMEOUT, lambda waiting: self.fail(waiting, "The result store is too slow.")
        )

    def append(self, operation: Operation) -> Deferred[Any]:
        """Have an operation wait, behind all others.

        Returns:
            A Deferred with its answer. Cancelling it takes the operation back unless it is in a transaction.
        """

        def cancelled(_: Deferred[Any]) -> None:
            self._deadlines.stop(waiting)

        waiting = Waiting(operation, Deferred(cancelled))
        if not operation.must_succeed:
            self._deadlines.start(waiting)
        self._waiting.append(waiting)
        return waiting.done

    def take(self) -> list[Waiting]:
        """Take out the operations of the next transaction; none if none waits."""
        batch: list[Waiting] = []
        size = 0
        most = 1 if self._alone else _MAX_OPERATIONS
        while self._waiting and len(batch) < most:
            waiting = self._waiting[0]
            if not waiting.is_given_up:
                size += waiting.operation.size
                if batch and size > _MAX_BYTES:
                    break
                batch.append(waiting)
            self._waiting.popleft()
            self._alone = max(0, self._alone - 1)
        return batch

    def put_back(self, batch: Sequence[Waiting]) -> None:
        """Have operations wait again, before all others."""
        self._waiting.extendleft(reversed(batch))
        self._alone = 0

    def put_back_singly(self, batch: Sequence[Waiting]) -> None:
        """Have operations wait again, before all others, each for a transaction of its own."""
        self._waiting.extendleft(reversed(batch))
        self._alone += len(batch)

    def answer(self, waiting: Waiting, answer: Any) -> None:
        """Hand out the answer of an operation that is committed."""
        self._deadlines.stop(waiting)
        if not waiting.is_given_up:
            waiting.done.callback(answer)

    def fail(self, waiting: Waiting, detail: str) -> None:
        """Have an operation fail with :class:`.StoreUnavailable`."""
        self._deadlines.stop(waiting)
        if not waiting.is_given_up:
            waiting.done.errback(StoreUnavailable(detail))

    def fail_all(self, detail: str, *, but_must_succeed: bool) -> None:
        """Have the operations that wait fail.

        Args:
            but_must_succeed: except for those that must succeed. They keep their places.
        """
        waiting, self._waiting = self._waiting, deque()
        if but_must_succeed:
            self._waiting.extend(each for each in waiting if each.operation.must_succeed)
        for each in waiting:
            if not (but_must_succeed and each.operation.must_succeed):
                self.fail(each, detail)
