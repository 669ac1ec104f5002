"""Room in memory for the bodies that are in work: requests from their delivery to their end, and large responses.

A delivery for whose body there is no room is given back to the broker. A response waits, unread: its message cannot be
given back any more. One response is always let in, so that the messages in work come to their end. So is one message of
each queue, so that no queue waits for ever while others keep the room full.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.provider.task import Task


class Room:
    """The room of one process.

    Args:
        limit: bytes in all, beside what is always let in.

    Attributes:
        used: bytes that are in work.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._responses = 0
        self._waiting: deque[tuple[Task, int, Deferred[None]]] = deque()
        self._paused: dict[Callable[[], object], int] = {}

    def take(self, task: Task, *, is_only_one: bool = False) -> bool:
        """Make room for the body of a request; False if there is none.

        Args:
            is_only_one: no other message of its queue is in work: it is let in.
        """
        size = len(task.message.body)
        if self.used + size > self.limit and self.used and not is_only_one:
            return False
        self.used += size
        task.room_for_body = size
        return True

    def for_response(self, task: Task, size: int) -> Deferred[None] | None:
        """Make room for a response, or for more or less (a negative number) of one.

        Returns:
            A Deferred that fires when there is room; None if there is room now.
        """
        if size <= 0 or (not self._waiting and self._fits(size)):
            self._let_in(task, size)
            return None
        waiting: Deferred[None] = Deferred(self._forget)
        self._waiting.append((task, size, waiting))
        return waiting

    def give(self, task: Task) -> None:
        """Take back the room of a task that has ended."""
        self.used -= task.room_for_body + task.room_for_response
        self._responses -= task.room_for_response > 0
        task.room_for_body = task.room_for_response = 0
        while self._waiting and self._fits(self._waiting[0][1]):
            next_task, size, waiting = self._waiting.popleft()
            self._let_in(next_task, size)
            waiting.callback(None)
        if self._paused and self.is_half_free:
            for go_on in [each for each, size in self._paused.items() if self.used + size <= self.limit]:
                del self._paused[go_on]
                go_on()

    @property
    def is_half_free(self) -> bool:
        """True if at least half of the room is free."""
        return 2 * self.used <= self.limit

    def pause(self, go_on: Callable[[], object], size: int) -> None:
        """Call a function once, when a task ends, half of the room is free, and a body fits.

        Args:
            size: bytes of the body. It comes back first: without room for it, it would be given back again.
        """
        self._paused[go_on] = size

    def end_pause(self, go_on: Callable[[], object]) -> None:
        """Do not call a function any more."""
        self._paused.pop(go_on, None)

    def _fits(self, size: int) -> bool:
        return self.used + size <= self.limit or not self._responses

    def _let_in(self, task: Task, size: int) -> None:
        self._responses += not task.room_for_response
        task.room_for_response += size
        self.used += size

    def _forget(self, waiting: Deferred[None]) -> None:
        self._waiting = deque(each for each in self._waiting if each[2] is not waiting)
