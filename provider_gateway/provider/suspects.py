"""Messages that came back unacknowledged: how often, and one at a time if they may be what kills the process."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from twisted.internet.defer import DeferredLock, TimeoutError as DeferredTimeoutError

from provider_gateway.deferreds import sleep

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.provider.intake import Intake
    from provider_gateway.provider.task import Task

    Serve = Callable[[Task], Awaitable[None]]
    Renew = Callable[[Task], Awaitable[bool]]

#: A message that came back unacknowledged this often is a suspect: it may be the one that kills the process.
_SUSPECT = 3
#: A suspect first waits for a random time up to this number of seconds.
_DELAY = 1.0
#: Seconds for which a suspect waits for its turn. Then it is given back: the one before it may be held for a model that
#: is away, for longer than the broker waits for an acknowledgement.
_PATIENCE = 60.0


class Suspects:
    """The messages of one queue that came back unacknowledged.

    Args:
        intake: knows which of them were given back for want of room.
        clock: times the suspects' delay.
    """

    def __init__(self, entry: QueueEntry, intake: Intake, clock: IReactorTime) -> None:
        self._is_quorum = entry.queue_type == "quorum"
        self._intake = intake
        self._clock = clock
        self._one = DeferredLock()

    def is_to_be_counted(self, task: Task) -> bool:
        """True if a redelivered message may come from a process that it killed. Quorum queues count that themselves."""
        return not self._is_quorum and not self._intake.was_given_back(task)

    def returns(self, task: Task) -> int:
        """How often a message came back unacknowledged, as counted by us or by the quorum queue."""
        before = task.history.redeliveries  # in a quorum queue, too: before a copy that was given back
        if not self._is_quorum:
            return before
        counted = task.message.headers.get("x-delivery-count")
        if not isinstance(counted, int) or (counted and self._intake.was_given_back(task)):
            return before
        return before + counted

    async def count(self, task: Task, renew: Renew, run: Serve, give_back: Serve) -> None:
        """Count that a message came back. If its full queue takes no copy, serve it at once, as a suspect.

        Args:
            renew: publishes the copy that counts; False if the queue takes none.
            run, give_back: as below.
        """
        if not await renew(task):
            await self._run_alone(task, run, give_back)

    async def run(self, task: Task, run: Serve, give_back: Serve) -> None:
        """Serve a message that came back: suspects one at a time.

        Else one that kills the process would take the others to parking with it.

        Args:
            run: serves it.
            give_back: called instead if it has waited for too long.
        """
        if self.returns(task) < _SUSPECT:
            await run(task)
        else:
            await self._run_alone(task, run, give_back)

    async def _run_alone(self, task: Task, run: Serve, give_back: Serve) -> None:
        # In random order: if the message that kills were always the first, the others would never be served.
        await sleep(self._clock, random.uniform(0, _DELAY))  # noqa: S311 - no secret
        try:
            await self._one.acquire().addTimeout(_PATIENCE, self._clock)
        except DeferredTimeoutError:
            await give_back(task)
            return
        try:
            await run(task)
        finally:
            self._one.release()
