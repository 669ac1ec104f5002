"""A queue: the order of its messages, who gets them, and when they expire or overflow."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from provider_gateway.devbroker.arguments import Arguments
    from provider_gateway.devbroker.message import Message

#: Seconds between attempts to dead-letter where nothing may be lost, RabbitMQ's
#: ``dead_letter_worker_publisher_confirm_timeout``.
DEAD_LETTER_RETRY = 180.0
#: Seconds that a timer may be early, by the rounding of sums.
_TICK = 1e-6


class Entry:
    """A message in a queue.

    Attributes:
        position: where it stands; a message that comes back to a classic queue stands where it stood.
        expires: when, in seconds; None for never.
        redelivered: it was delivered before.
        returns: how often it came back.
    """

    __slots__ = ("expires", "message", "position", "redelivered", "returns")

    def __init__(self, message: Message, position: tuple[int, int], expires: float | None) -> None:
        self.message = message
        self.position = position
        self.expires = expires
        self.redelivered = False
        self.returns = 0


class Consumer(Protocol):
    """Who takes messages from a queue."""

    exclusive: bool

    def can_take(self) -> bool:
        """True if it takes a message now."""

    def take(self, entry: Entry) -> None:
        """Take a message."""

    def queue_deleted(self) -> None:
        """Learn that there will be no more."""


class Queue:
    """A queue.

    Args:
        owner: the connection that alone may use it, None for all.
        dead_letter: publishes a message that died here, for a reason; False if no queue took it.
        delete: deletes this queue, which nobody uses any more.

    Attributes:
        is_gone: it was deleted; what comes back is dropped.
    """

    def __init__(
        self,
        name: str,
        arguments: Arguments,
        clock: IReactorTime,
        *,
        durable: bool,
        auto_delete: bool,
        owner: object | None,
        dead_letter: Callable[[Queue, Message, str], bool],
        delete: Callable[[Queue], None],
    ) -> None:
        self.name = name
        self.arguments = arguments
        self._clock = clock
        self.durable = durable
        self.auto_delete = auto_delete
        self.owner = owner
        self._dead_letter = dead_letter
        self._delete = delete
        self.is_gone = False
        self._ready: deque[Entry] = deque()
        self._bytes = 0
        self._last = 0
        self._consumers: deque[Consumer] = deque()
        self._timers: dict[object, IDelayedCall] = {}
        self.touch()

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def consumer_count(self) -> int:
        """How many consumers it has."""
        return len(self._consumers)

    @property
    def has_exclusive_consumer(self) -> bool:
        """True if its consumer is to be the only one."""
        return any(each.exclusive for each in self._consumers)

    def publish(self, message: Message) -> bool:
        """Take a message; False if the queue is full and rejects it."""
        if self.arguments.rejects_publish and self._is_over(len(self._ready) + 1, self._bytes + len(message.body)):
            return False
        lives = [each for each in (self.arguments.message_ttl, message.time_to_live) if each is not None]
        self._last += 1
        entry = Entry(message, (1, self._last), self._clock.seconds() + min(lives) / 1000 if lives else None)
        self._ready.append(entry)
        self._bytes += len(message.body)
        # A waiting consumer gets even what expires at once.
        self._deliver()
        self._settle()
        return True

    def get(self) -> Entry | None:
        """Take the first message out; None if there is none."""
        self.touch()
        self._drop_expired()
        entry = self._pop() if self._ready else None
        self._settle()
        return entry

    def requeue(self, entries: Iterable[Entry], *, orphaned: bool) -> None:
        """Put messages back that were taken and not acknowledged.

        Args:
            entries: the messages.
            orphaned: their channel is gone; else it sends them back.
        """
        if self.is_gone:
            return
        limit = self.arguments.delivery_limit
        for entry in sorted(entries, key=lambda each: each.position):
            entry.redelivered = True
            entry.returns += 1
            if self.arguments.is_quorum:
                if limit is not None and entry.returns > limit:
                    self._bury(entry, "delivery_limit")
                    continue
                # Behind what came back before, and before what was never delivered; without a limit behind everything,
                # so that a message which is always sent back does not stop the others.
                self._last += 1
                entry.position = (0 if orphaned or limit is not None else 1, self._last)
            self._insert(entry)
        self._settle()

    def reject(self, entry: Entry) -> None:
        """Give up a message that was taken and rejected for good."""
        self._bury(entry, "rejected")

    def purge(self) -> int:
        """Drop the messages that wait; returns how many."""
        count = len(self._ready)
        self._ready.clear()
        self._bytes = 0
        self._settle()
        return count

    def add(self, consumer: Consumer) -> None:
        """Deliver to one more consumer from now on."""
        self._consumers.append(consumer)
        self.touch()
        self._settle()

    def remove(self, consumer: Consumer) -> None:
        """Deliver no more to a consumer."""
        if consumer not in self._consumers:
            return
        self._consumers.remove(consumer)
        self.touch()
        if self.auto_delete and not self._consumers:
            self._delete(self)

    def deliver(self) -> None:
        """Go on, as a consumer may have room again."""
        self._settle()

    def touch(self) -> None:
        """Begin anew with the time that a queue without consumers lives (``x-expires``)."""
        lives = None if self._consumers else self.arguments.expires
        self._at("unused", None if lives is None else self._clock.seconds() + lives / 1000, lambda: self._delete(self))

    def close(self) -> None:
        """End it: its messages are dropped, its consumers told."""
        self.is_gone = True
        self._ready.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        consumers, self._consumers = self._consumers, deque()
        for each in consumers:
            each.queue_deleted()

    def _settle(self) -> None:
        """Bring about what has become due, after any change."""
        self._drop_expired()
        self._deliver()
        while self._is_over(len(self._ready), self._bytes) and not self.arguments.rejects_publish:
            self._bury(self._pop(), "maxlen")
        self._drop_expired()
        self._at("head", self._ready[0].expires if self._ready else None, self._settle)

    def _deliver(self) -> None:
        while self._ready:
            consumer = next((each for each in self._consumers if each.can_take()), None)
            if consumer is None:
                return
            self._consumers.remove(consumer)
            self._consumers.append(consumer)
            consumer.take(self._pop())

    def _drop_expired(self) -> None:
        now = self._clock.seconds() + _TICK
        while self._ready and (expires := self._ready[0].expires) is not None and expires <= now:
            self._bury(self._pop(), "expired")

    def _bury(self, entry: Entry, reason: str) -> None:
        if self.is_gone or self._dead_letter(self, entry.message, reason) or not self.arguments.dead_letters_surely:
            return
        self._at(entry, self._clock.seconds() + DEAD_LETTER_RETRY, lambda: self._bury(entry, reason))

    def _insert(self, entry: Entry) -> None:
        place = 0
        while place < len(self._ready) and self._ready[place].position < entry.position:
            place += 1
        self._ready.insert(place, entry)
        self._bytes += len(entry.message.body)

    def _pop(self) -> Entry:
        entry = self._ready.popleft()
        self._bytes -= len(entry.message.body)
        return entry

    def _is_over(self, length: int, size: int) -> bool:
        most, most_bytes = self.arguments.max_length, self.arguments.max_bytes
        return (most is not None and length > most) or (most_bytes is not None and size > most_bytes)

    def _at(self, what: object, when: float | None, call: Callable[[], None]) -> None:
        """Set the one timer for something, or clear it."""
        timer = self._timers.get(what)
        if timer is not None and timer.getTime() != when:
            self._timers.pop(what).cancel()
            timer = None
        if timer is None and when is not None and not self.is_gone:
            self._timers[what] = self._clock.callLater(max(0.0, when - self._clock.seconds()), self._due, what, call)

    def _due(self, what: object, call: Callable[[], None]) -> None:
        del self._timers[what]
        call()
