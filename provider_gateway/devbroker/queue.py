"""A queue: the order of its messages, who gets them, and when they expire or overflow."""

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

#: Seconds that a timer may be early, by the rounding of sums.
_TICK = 1e-6


@dataclass(slots=True, eq=False)
class Entry:
    """A message in a queue.

    Attributes:
        position: where it stands; a message that comes back to a classic queue stands where it stood.
        expires: when, in seconds; None for never.
        returns: how often it came back.
    """

    message: Message
    position: tuple[int, int]
    expires: float | None
    returns: int = 0

    def __lt__(self, other: Entry) -> bool:
        return self.position < other.position


@dataclass(slots=True, eq=False)
class Consumer:
    """Who takes messages from a queue.

    Attributes:
        prefetch: unacknowledged messages at a time; 0 for any number.
        can_take: says if it takes a message now.
        take: takes a message.
        lose: learns that there will be no more, as the queue was deleted.
        unacked: how many unacknowledged messages it has.
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
        owner: the connection that alone may use it, None for all.
        dead_letter: publishes a message that died here, for a reason.
        delete: deletes this queue, which nobody uses any more.

    Attributes:
        is_gone: it was deleted; what comes back is dropped.
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
    #: A heap: messages that come back find their place quickly, however many there are.
    _ready: list[Entry] = field(default_factory=list)
    _last: int = 0
    _timers: dict[str, IDelayedCall] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._ready)

    def publish(self, message: Message) -> bool:
        """Take a message; False if the queue is full and rejects it."""
        most = self.arguments.max_length
        if self.arguments.rejects_publish and most is not None and len(self._ready) >= most:
            return False
        lives = [each for each in (self.arguments.message_ttl, message.time_to_live) if each is not None]
        self._last += 1
        expires = self.clock.seconds() + min(lives) / 1000 if lives else None
        heappush(self._ready, Entry(message, (1, self._last), expires))
        # A waiting consumer gets even what expires at once.
        self._hand_out()
        self.deliver()
        return True

    def get(self) -> Entry | None:
        """Take the first message out; None if there is none."""
        self.touch()
        self._drop_expired()
        entry = heappop(self._ready) if self._ready else None
        self.deliver()
        return entry

    def requeue(self, entries: Iterable[Entry], *, orphaned: bool) -> None:
        """Put messages back that were taken and not acknowledged.

        Args:
            entries: the messages.
            orphaned: their channel is gone; else it sends them back.
        """
        limit = self.arguments.delivery_limit
        for entry in sorted(entries):
            entry.returns += 1
            if self.arguments.is_quorum:
                if limit is not None and entry.returns > limit:
                    self.dead_letter(self, entry.message, "delivery_limit")
                    continue
                # Behind what came back before, and before what was never delivered; without a limit behind everything,
                # so that a message which is always sent back does not stop the others.
                self._last += 1
                entry.position = (0 if orphaned or limit is not None else 1, self._last)
            heappush(self._ready, entry)
        self.deliver()

    def purge(self) -> int:
        """Drop the messages that wait; returns how many."""
        count = len(self._ready)
        self._ready.clear()
        self.deliver()
        return count

    def add(self, consumer: Consumer) -> None:
        """Deliver to one more consumer from now on."""
        self.consumers.append(consumer)
        self.touch()
        self.deliver()

    def remove(self, consumer: Consumer) -> None:
        """Deliver no more to a consumer."""
        self.consumers.remove(consumer)
        self.touch()
        if self.auto_delete and not self.consumers:
            self.delete(self)

    def touch(self) -> None:
        """Begin anew with the time that a queue without consumers lives (``x-expires``)."""
        lives = None if self.consumers else self.arguments.expires
        self._set_timer(
            "unused", None if lives is None else self.clock.seconds() + lives / 1000, lambda: self.delete(self)
        )

    def close(self) -> None:
        """End it: its messages are dropped, its consumers told."""
        self.is_gone = True
        consumers, self.consumers = self.consumers, deque()
        self.touch()
        self.deliver()
        for each in consumers:
            each.lose(each)

    def deliver(self) -> None:
        """Bring about what has become due, after any change, or as a consumer may have room again."""
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
        """Set the one timer for something, or clear it."""
        timer = self._timers.pop(what, None)
        if timer is not None and timer.active():
            timer.cancel()
        if when is not None and not self.is_gone:
            self._timers[what] = self.clock.callLater(max(0.0, when - self.clock.seconds()), call)
