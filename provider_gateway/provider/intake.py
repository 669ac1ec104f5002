"""Takes the deliveries of one queue while there is room for their bodies; without room its consumer pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from provider_gateway.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.provider.room import Room
    from provider_gateway.provider.task import Task

#: Messages that were given back for want of room and are remembered: their return does not make them suspects.
_REMEMBERED = 1000


class Intake:
    """The deliveries of one queue.

    Args:
        room: for the bodies that are in work, of all queues.

    Attributes:
        consume: called with the prefetch to consume with, when there is room again, or for more messages at a time.
    """

    _log = Logger()

    def __init__(self, entry: QueueEntry, room: Room) -> None:
        self._queue = entry.queue_name
        self._room = room
        self._wanted = entry.prefetch
        #: The prefetch now; 0 in a pause.
        self._prefetch = entry.prefetch
        self._mean_body = 0.0
        self._in_work = 0
        self._given_back = Recent(_REMEMBERED)
        self.consume: Callable[[int], object] = lambda _: None

    def take(self, task: Task) -> bool:
        """Make room for a message. If there is none, it has to be given back, and its consumer has to pause."""
        size = len(task.message.body)
        self._mean_body += (size - self._mean_body) / 8
        if self._room.take(task, is_only_one=not self._in_work):
            self._in_work += 1
            return True
        if task.fingerprint is not None:
            self._given_back.add(task.fingerprint)
        if self._prefetch:
            self._prefetch = 0
            self._log.info("{queue}: pauses, since the bodies in work take MAX_BUFFERED_BYTES", queue=self._queue)
            self._room.pause(self._consume, size)
        return False

    def for_response(self, task: Task, size: int) -> Deferred[None] | None:
        """Make room for a response: see :meth:`.Room.for_response`."""
        return self._room.for_response(task, size)

    def give(self, task: Task) -> None:
        """Take back the room of a message that has ended."""
        self._in_work -= 1
        self._room.give(task)
        if not self._prefetch and not self._in_work:
            # Other queues may keep the room full.
            self._room.end_pause(self._consume)
            self._consume()
        elif 0 < self._prefetch < self._wanted and self._is_too_narrow():
            self._consume()

    def was_given_back(self, task: Task) -> bool:
        """True if a message comes back since there was no room for it."""
        return task.fingerprint in self._given_back  # None never is

    def _is_too_narrow(self) -> bool:
        """True if twice as many messages would fit, now that they are smaller."""
        return self._room.is_half_free and 8 * self._prefetch * self._mean_body < self._room.limit

    def _consume(self) -> None:
        """Consume with as many messages of the usual size as fit, each with a response of that size."""
        fitting = int((self._room.limit - self._room.used) / (2 * self._mean_body + 1))
        self._prefetch = max(1, min(fitting, self._wanted))
        self.consume(self._prefetch)
