"""Takes the deliveries of one queue, as many as there is room for and the model takes; else its consumer pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from provider_gateway.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.provider.model_gate import ModelGate
    from provider_gateway.provider.room import Room
    from provider_gateway.provider.task import Task

#: Messages that were rejected or lost here and are remembered: their return does not make them suspects.
_REMEMBERED = 1000


class RoomForResponse:
    """Makes room for the response to one message. A partial would take 200 bytes more while the model is called."""

    __slots__ = ("_room", "_task")

    def __init__(self, room: Room, task: Task) -> None:
        self._room = room
        self._task = task

    def __call__(self, size: int) -> Deferred[None] | None:
        """Make room: see :meth:`.Room.for_response`."""
        return self._room.for_response(self._task, size)


class Intake:
    """The deliveries of one queue.

    Args:
        room: for the bodies that are in work, of all queues.
        gate: says how many deliveries are to be in hand.

    Attributes:
        consume: called with the prefetch to consume with, when it changes; 0 for a pause.
    """

    _log = Logger()

    def __init__(self, entry: QueueEntry, room: Room, gate: ModelGate) -> None:
        self._queue = entry.queue_name
        self._room = room
        self._gate = gate
        gate.on_change = self._adjust
        #: The prefetch now; 0 in a pause.
        self._prefetch = entry.prefetch
        #: True while the pause waits for room.
        self._is_full = False
        self._mean_body = 0.0
        self._in_work = 0
        self._given_back = Recent(_REMEMBERED)
        self.consume: Callable[[int], object] = lambda _: None

    def take(self, task: Task) -> bool:
        """Make room for a message. If there is none, it has to be given back."""
        size = len(task.message.body)
        self._mean_body += (size - self._mean_body) / 8
        if self._room.take(task, is_only_one=not self._in_work):
            self._in_work += 1
            return True
        self.remember(task)
        if not self._is_full:
            self._is_full = True
            self._log.info("{queue}: pauses, since the bodies in work take MAX_BUFFERED_BYTES", queue=self._queue)
            self._room.pause(self._go_on, size)
            self._consume_with(0)
        return False

    def reject(self, task: Task) -> None:
        """Let the broker deliver a message again of which it takes no copy."""
        self.remember(task)
        task.delivery.give_back()

    def remember(self, task: Task) -> None:
        """A message comes back, but not from a process that it killed: this one lives."""
        self._given_back.add(task.likeness)

    def for_response(self, task: Task) -> RoomForResponse:
        """What makes room for the response to a message."""
        return RoomForResponse(self._room, task)

    def give(self, task: Task) -> None:
        """Take back the room of a message that has ended."""
        self._in_work -= 1
        self._room.give(task)
        if not self._prefetch:
            if self._is_full and not self._in_work:
                # Other queues may keep the room full.
                self._room.end_pause(self._go_on)
                self._is_full = False
            self._adjust()
        elif self._prefetch < self._gate.wanted and self._is_too_narrow():
            self._adjust()

    def was_given_back(self, task: Task) -> bool:
        """True if a message comes back since it was rejected or lost here: it has killed nobody."""
        return task.likeness in self._given_back

    def _is_too_narrow(self) -> bool:
        """True if twice as many messages would fit, now that they are smaller."""
        return self._room.is_half_free and 8 * self._prefetch * self._mean_body < self._room.limit

    def _go_on(self) -> None:
        """There is room again."""
        self._is_full = False
        self._adjust()

    def _adjust(self) -> None:
        """Consume with as many messages as the gate wants, or as many as fit, each with a response of its size.

        The deliveries of the consumer before do not count for a new one. So it begins when they are few enough.
        """
        if self._is_full:
            return
        prefetch = 0
        if self._in_work <= self._gate.wanted or self._gate.needs_probe:
            fitting = int((self._room.limit - self._room.used) / (2 * self._mean_body + 1))
            prefetch = min(max(1, fitting), self._gate.wanted)
        self._consume_with(prefetch)

    def _consume_with(self, prefetch: int) -> None:
        if prefetch != self._prefetch:
            self._prefetch = prefetch
            self.consume(prefetch)
