"""What is to be sent on a connection: large messages in pieces, as the transport takes them, all else at once.

A message in pieces is not copied: its body waits once, however slow the broker is. Everything goes out in its order, as
the frames of a channel have to.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from provider_gateway.amqp.turn_writes import TurnWrites

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.interfaces import IReactorTime

#: Bytes of large messages that are sent in one turn of the reactor: encrypting takes a millisecond for each megabyte.
_PER_TURN = 1_048_576
#: The broker is stalled if the transport's buffer has not become empty for this number of seconds.
_STALLED = 3.0


class Outbox:
    """What is to be sent on one connection.

    Args:
        clock: the reactor's.
        send: gives bytes to the transport.

    Attributes:
        unsent: bytes that wait here, and those written since the transport's buffer became full.
    """

    def __init__(self, clock: IReactorTime, send: Callable[[bytes], object]) -> None:
        self._clock = clock
        self._writes = TurnWrites(clock, send)
        #: Behind a message in pieces, everything waits for its turn.
        self._waiting: deque[Iterator[bytes]] = deque()
        self._goes_on_next_turn = False
        #: When the transport's buffer became full; None while it is not.
        self._paused_at: float | None = None
        self._written_in_pause = 0
        self.unsent = 0

    @property
    def is_stalled(self) -> bool:
        """True if the broker has taken nothing for some time."""
        return self._paused_at is not None and self._clock.seconds() - self._paused_at >= _STALLED

    def write(self, data: bytes) -> None:
        """Send bytes, behind what waits."""
        if self._waiting:
            self._waiting.append(iter((data,)))
            self.unsent += len(data)
            return
        if self._paused_at is not None:
            self._written_in_pause += len(data)
            self.unsent += len(data)
        self._writes.write(data)

    def write_along(self, data: bytes) -> None:
        """Send a few bytes that are in no hurry, with the next write."""
        if self._waiting or self._paused_at is not None:
            self.write(data)
        else:
            self._writes.write_along(data)

    def write_pieces(self, pieces: Iterator[bytes], size: int) -> None:
        """Send pieces, behind what waits, as the transport takes them.

        Args:
            size: bytes of all of them.
        """
        self._waiting.append(pieces)
        self.unsent += size
        if not self._goes_on_next_turn:
            self._go_on()

    def pause(self) -> None:
        """The transport's buffer is full."""
        if self._paused_at is None:
            self._paused_at = self._clock.seconds()

    def resume(self) -> None:
        """The transport's buffer is empty."""
        self._paused_at = None
        self.unsent -= self._written_in_pause
        self._written_in_pause = 0
        if not self._goes_on_next_turn:
            self._go_on()

    def flush(self) -> None:
        """Give to the transport what waits for the end of the turn."""
        self._writes.flush()

    def clear(self) -> None:
        """Forget what waits: the connection is lost."""
        self._waiting.clear()
        self._writes.clear()
        self.unsent = self._written_in_pause = 0

    def _go_on(self) -> None:
        """Send what waits until the transport's buffer is full, or others must have their turn."""
        self._goes_on_next_turn = False
        sent = 0
        while self._waiting and self._paused_at is None:
            if sent >= _PER_TURN:
                self._goes_on_next_turn = True
                self._clock.callLater(0, self._go_on)
                return
            piece = next(self._waiting[0], None)
            if piece is None:
                self._waiting.popleft()
                continue
            sent += len(piece)
            self.unsent -= len(piece)
            self._writes.write(piece)
