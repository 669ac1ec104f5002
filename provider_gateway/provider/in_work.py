"""The messages of one queue that are being served, each until it has ended, however it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure

from provider_gateway.deferreds import InFlight
from provider_gateway.errors import GatewayError
from provider_gateway.provider.replies import error_reply
from provider_gateway.provider.task import DeliveryLost

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    from twisted.internet.defer import Deferred

    from provider_gateway.provider.intake import Intake
    from provider_gateway.provider.settlement import Settlement
    from provider_gateway.provider.task import Task


class InWork:
    """The messages that are being served.

    Args:
        queue: names the queue in the log.
        intake: is given back the room of each message that has ended.
        settlement: parks a message that our code fails on.
    """

    _log = Logger()

    def __init__(self, queue: str, intake: Intake, settlement: Settlement) -> None:
        self._intake = intake
        self._settlement = settlement
        self._tasks: dict[Hashable, Task] = {}
        self._in_flight = InFlight(
            lambda failure: self._log.failure("A delivery of {queue} failed", failure, queue=queue), self._ended
        )

    def __len__(self) -> int:
        return len(self._in_flight)

    def begin(self, task: Task, serve: Callable[[Task], Coroutine[Any, Any, None] | None]) -> None:
        """Begin to serve a message.

        Args:
            serve: called with it; returns a coroutine, or None if it has ended already. There is no coroutine of ours
                around it: one that waits takes 280 bytes.
        """
        if task.fingerprint is not None:
            self._tasks[task.fingerprint] = task
        try:
            work = serve(task)
        except Exception:  # noqa: BLE001 - as in a coroutine
            self._ended(task, Failure())
            return
        if work is None:
            self._ended(task, None)
        else:
            self._in_flight.start(work, task)

    def same_as(self, task: Task) -> Task | None:
        """The one of which this is another delivery; None if there is none, or it cannot be recognised."""
        return None if task.fingerprint is None else self._tasks.get(task.fingerprint)

    def empty(self) -> Deferred[None]:
        """A Deferred that fires when no message is being served."""
        return self._in_flight.empty()

    def cancel(self) -> None:
        """Stop serving all."""
        self._in_flight.cancel()

    def _ended(self, task: Task | None, result: Failure | None) -> Failure | None:
        """What was done with a message has ended; returns an error that nobody has seen to."""
        if task is None:
            return result
        if result is not None and result.check(Exception) and not result.check(CancelledError, DeliveryLost):
            self._log.failure("{queue}: unforeseen error", result, **task.log_fields)
            self._in_flight.start(self._park(task))
            return None
        if result is not None and result.check(DeliveryLost):
            self._lost(task)
            result = None
        self._forget(task)
        return result

    async def _park(self, task: Task) -> None:
        """Park a message that our code fails on: it must not come back for ever."""
        error = GatewayError("An unexpected error; the log of the provider has the details.")
        try:
            await self._settlement.park(task, "internal", error_reply(task, error, "internal"))
        except DeliveryLost:
            self._lost(task)
        finally:
            self._forget(task)

    def _lost(self, task: Task) -> None:
        self._intake.remember(task)
        self._log.info(
            "{queue}: the channel closed before the acknowledgement; the broker delivers the message again",
            **task.log_fields,
        )

    def _forget(self, task: Task) -> None:
        self._intake.give(task)
        if self._tasks.get(task.fingerprint) is task:
            del self._tasks[task.fingerprint]
        if task.span is not None and task.span.is_sampled:
            task.span.end()
