"""A queue: the order of its messages, their consumers, expiry and overflow."""

from __future__ import annotations

from collections import deque
from dataclasses import KW_ONLY, dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from provider_gateway.devbroker.arguments import Arguments
    from provider_gateway.devbroker.message import Message

#: Seconds by which a timer may fire early, because sums of floats are rounded.
_TICK = 1e-6


@dataclass(slots=True, eq=False)
class Entry:
    """A message in a queue.

    Attributes:
        position: its place in the order. A message that is requeued to a classic queue keeps its place.
        expires: in seconds of the clock; None for never.
        returns: how often it was requeued.
    """

    message: Message
    position: tuple[int, int]
    expires: float | None
    returns: int = 0

    def __lt__(self, other: Entry) -> bool:
        return self.position < other.position


@dataclass(slots=True, eq=False)
class Consumer:
    """A consumer of a queue.

    Attributes:
        prefetch: the most unacknowledged messages; 0 for no limit.
        can_take: returns True if the consumer takes a message now.
        take: called with each message.
        lose: called when the queue is deleted.
        unacked: how many unacknowledged messages there are.
    """

    tag: Any
    queue: Queue
    _: KW_ONLY
    no_ack: bool
    exclusive: bool
    prefetch: int
    can_take: Callable[[Consumer], bool]
    take: Callable[[Consumer, Entry], None]
    lose: Callable[[Consumer], None]
    unacked: int = 0


@dataclass(eq=False)
class Queue:
    """A queue.

    Args:
        owner: the connection that alone may use the queue; None for all.
        dead_letter: called with each message that dies here, and the reason.
        delete: called when the queue is to be deleted, because it is no longer used.

    Attributes:
        is_gone: True once the queue is deleted; requeued messages are dropped.
    """

    name: str
    arguments: Arguments
    _: KW_ONLY
    durable: bool
    auto_delete: bool
    owner: object | None
    clock: IReactorTime
    dead_letter: Callable[[Queue, Message, str], None]
    delete: Callable[[Queue], None]
    is_gone: bool = False
    consumers: deque[Consumer] = field(default_factory=deque)
    #: A heap: a requeued message finds its place quickly, however many messages there are.
    _ready: list[Entry] = field(default_factory=list)
    _last: int = 0
    _timers: dict[str, IDelayedCall] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._ready)

    def publish(self, message: Message) -> bool:
        """Add a message; returns False if the queue is full and rejects publishes."""
        most = self.arguments.max_length
        if self.arguments.rejects_publish and most is not None and len(self._ready) >= most:
            return False
        lives = [each for each in (self.arguments.message_ttl, message.time_to_live) if each is not None]
        self._last += 1
        expires = self.clock.seconds() + min(lives) / 1000 if lives else None
        heappush(self._ready, Entry(message, (1, self._last), expires))
        # Before anything expires: a consumer with room gets even a message that expires at once.
        self._hand_out()
        self.deliver()
        return True

    def get(self) -> Entry | None:
        """Remove and return the first message; None if there is none."""
        self.touch()
        self._drop_expired()
        entry = heappop(self._ready) if self._ready else None
        self.deliver()
        return entry

    def requeue(self, entries: Iterable[Entry], *, orphaned: bool) -> None:
        """Put unacknowledged messages back.

        Args:
            entries: the messages.
            orphaned: True if their channel was closed, False if the client has requeued them.
        """
        limit = self.arguments.delivery_limit
        for entry in sorted(entries):
            entry.returns += 1
            if self.arguments.is_quorum:
                if limit is not None and entry.returns > limit:
                    self.dead_letter(self, entry.message, "delivery_limit")
                    continue
                # After earlier requeued messages, before messages that were never delivered. Without a limit after all
                # messages, so that one that is requeued again and again does not stop the others.
                self._last += 1
                entry.position = (0 if orphaned or limit is not None else 1, self._last)
            heappush(self._ready, entry)
        self.deliver()

    def purge(self) -> int:
        """Drop the messages that are ready; returns how many."""
        count = len(self._ready)
        self._ready.clear()
        self.deliver()
        return count

    def add(self, consumer: Consumer) -> None:
        """Add a consumer."""
        self.consumers.append(consumer)
        self.touch()
        self.deliver()

    def remove(self, consumer: Consumer) -> None:
        """Remove a consumer."""
        self.consumers.remove(consumer)
        self.touch()
        if self.auto_delete and not self.consumers:
            self.delete(self)

    def touch(self) -> None:
        """Restart the time after which an unused queue is deleted (``x-expires``)."""
        lives = None if self.consumers else self.arguments.expires
        self._set_timer(
            "unused", None if lives is None else self.clock.seconds() + lives / 1000, lambda: self.delete(self)
        )

    def close(self) -> None:
        """Drop all messages and tell the consumers: the queue is deleted."""
        self.is_gone = True
        consumers, self.consumers = self.consumers, deque()
        self.touch()
        self.deliver()
        for each in consumers:
            each.lose(each)

    def deliver(self) -> None:
        """Deliver, expire and drop what is due. Called after each change, and when a consumer may have room again."""
        self._drop_expired()
        self._hand_out()
        most = self.arguments.max_length
        while most is not None and len(self._ready) > most and not self.arguments.rejects_publish:
            self.dead_letter(self, heappop(self._ready).message, "maxlen")
        self._drop_expired()
        self._set_timer("head", self._ready[0].expires if self._ready else None, self.deliver)

    def _hand_out(self) -> None:
        while self._ready:
            consumer = next((each for each in self.consumers if each.can_take(each)), None)
            if consumer is None:
                return
            self.consumers.remove(consumer)
            self.consumers.append(consumer)
            consumer.take(consumer, heappop(self._ready))

    def _drop_expired(self) -> None:
        now = self.clock.seconds() + _TICK
        while self._ready and (expires := self._ready[0].expires) is not None and expires <= now:
            self.dead_letter(self, heappop(self._ready).message, "expired")

    def _set_timer(self, what: str, when: float | None, call: Callable[[], None]) -> None:
        """Set the timer of this name, or clear it if ``when`` is None."""
        timer = self._timers.pop(what, None)
        if timer is not None and timer.active():
            timer.cancel()
        if when is not None and not self.is_gone:
            self._timers[what] = self.clock.callLater(max(0.0, when - self.clock.seconds()), call)
