"""Reads a parking queue from its head, exclusively and without taking anything: what is not settled is released.

It is read in windows. A consumer gets as many deliveries as its prefetch allows; then it is cancelled, and the next one
begins on the same channel. Deliveries that are unacknowledged count for the consumer that they came from, so each has
room, and we set the pace: whatever waits is at the broker. In between the consumer stays: it keeps others out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.deferreds import sleep
from provider_gateway.parking.deliveries import Deliveries, size_of
from provider_gateway.parking.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.message_channel import Content
    from provider_gateway.amqp.session import Session
    from provider_gateway.topology.declarations import Queue

#: Messages of the first window, whose size nobody knows; how much larger the next window may be; and most messages.
_FIRST_WINDOW, _GROWTH, MAX_WINDOW = 16, 8, 5000
#: Bytes of a window of messages of the usual size, of a classic and of a quorum queue. The broker delivers it at once,
#: and others wait: p99 of requests beside a look was 2.4 times that without with 4 MB, and with these below twice that.
#: Smaller ones take longer in all.
_WINDOW_BYTES, _QUORUM_WINDOW_BYTES = 2**20, 2**19
#: Messages that are given back to a quorum queue by one command, and commands at a time. RabbitMQ 3.10 keeps the order
#: of what it finds in one command up to 32 messages; and it gathers the commands of a channel once 32 are under way.
_RETURNED, _COMMANDS = 32, 15
#: Seconds to wait until the broker has its messages back: in all, and between two questions.
_RELEASED_WITHIN, _RELEASE_PAUSE = 3.0, 0.002


class Reader:
    """Reads one parking queue on a channel of its own.

    Args:
        session: is used for nothing that must not wait.
        parking: the parking queue.
        share: see :class:`.Pace`: of the time that reading and what is done between two messages may take.
        max_held: bytes of messages that may be unsettled at a time. With more, reading ends.
        max_window: messages in a window, at most. With a smaller one than the largest, a window begins only when all
            of the last one were handed over: no more is held.

    Attributes:
        total: messages that were ready when it was opened, or after the first one was handed over, if these were more.
        seen: messages that were handed over.
        is_cut: reading ended early, since too many bytes were held.
    """

    def __init__(
        self,
        session: Session,
        parking: Queue,
        *,
        clock: IReactorTime,
        share: float,
        max_held: int,
        max_window: int = MAX_WINDOW,
    ) -> None:
        self._deliveries = Deliveries(session, parking, clock)
        self._is_quorum = parking.arguments.get("x-queue-type") == "quorum"
        self._window_bytes = _QUORUM_WINDOW_BYTES if self._is_quorum else _WINDOW_BYTES
        self._clock = clock
        self._pace = Pace(clock, share)
        self._max_held = max_held
        self._max_window = min(max_window, MAX_WINDOW)
        self._reads_ahead = max_window >= MAX_WINDOW
        self.total = self.seen = 0
        self.is_cut = self._is_recounted = False
        self._held_bytes = 0
        self._size = _FIRST_WINDOW
        self._usual_bytes = 0.0
        #: By tag, 1 if the message was acknowledged; and how many were. A set would take 80 bytes for each.
        self._acked, self._settled = bytearray(), 0

    async def open(self) -> None:
        """Declare the queue, as the process does, and count its messages.

        Raises:
            ParkingUnusable: the broker refuses it.
            ConnectionLost, AMQPError: the connection is gone.
        """
        self.total = await self._deliveries.open()

    @property
    def unsettled(self) -> int:
        """Messages that the broker has delivered and that are not settled: they do not count as ready."""
        return self._deliveries.last_tag - self._settled

    async def claim(self) -> None:
        """Become the queue's only consumer, unless it is empty. Raises as :meth:`next`."""
        if self.total:
            await self._begin_window()

    def at_hand(self) -> Content | None:
        """The next message, if it has arrived and nothing is to be done before; else None, and :meth:`next` has it.

        Most are at hand. To await each of them takes half of the time of reading them.
        """
        deliveries = self._deliveries
        is_next = (
            deliveries.buffer
            and self.seen < self.total
            and not self._pace.is_over
            and not (self._reads_ahead and deliveries.is_full and deliveries.is_low)
        )
        return self._take() if is_next else None

    async def next(self) -> Content | None:
        """The next of the messages that were in the queue when it was opened; None if there is none.

        Raises:
            InUse: somebody else consumes it.
            ParkingUnusable: it was deleted, or may not be consumed.
            BrokerUnavailable: the broker delivers nothing.
            ConnectionLost, AMQPError: the connection is gone.
        """
        if self._pace.is_over:
            await self._pace.pause()
        deliveries = self._deliveries
        if not self._is_recounted and deliveries.is_full and (self.seen or not self.total):
            await self._recount()
        reads_ahead = self._reads_ahead and self._is_recounted
        if reads_ahead and deliveries.is_full and deliveries.is_low and self._may_read_on():
            # The broker delivers while the rest of the last window is worked on.
            await self._begin_window()
        while self.seen < self.total and not deliveries.buffer:
            if not deliveries.is_full:
                if not await deliveries.arrival():
                    return None
            elif self._held_bytes >= self._max_held:
                self.is_cut = True
                return None
            else:
                await self._begin_window()
        return self._take() if self.seen < self.total else None

    async def _recount(self) -> None:
        """Count again. Somebody who had messages when we counted may have lost the queue to us, and they are back."""
        self._is_recounted = True
        self.total = max(self.total, self._deliveries.last_tag + await self._deliveries.ready())

    def _take(self) -> Content:
        content = self._deliveries.take()
        size = size_of(content)
        self._held_bytes += size
        self.seen += 1
        # An average over the last ones, about as many as a first window has.
        self._usual_bytes += (size - self._usual_bytes) / min(self.seen, _FIRST_WINDOW)
        return content

    def _may_read_on(self) -> bool:
        deliveries = self._deliveries
        held = self._held_bytes + deliveries.buffered
        return self.seen + len(deliveries.buffer) < self.total and held < self._max_held

    async def _begin_window(self) -> None:
        buffer = len(self._deliveries.buffer)
        if self.seen:
            room = min(self._window_bytes, self._max_held - self._held_bytes - self._deliveries.buffered)
            self._size = max(1, min(int(room / self._usual_bytes), _GROWTH * self._size, MAX_WINDOW))
        await self._deliveries.renew(min(self._size, self._max_window, self.total - self.seen - buffer))

    def ack(self, content: Content) -> bool:
        """Take a message from the queue for good. Returns False if its channel is closed."""
        if not self._deliveries.is_open:
            return False
        self._deliveries.ack(content.tag)
        if content.tag >= len(self._acked):
            self._acked.extend(bytes(content.tag + MAX_WINDOW - len(self._acked)))
        self._acked[content.tag] = 1
        self._settled += 1
        self._held_bytes -= size_of(content)
        return True

    async def release(self) -> None:
        """Let go of all that is not settled. When this returns, it is in the queue again, in the same order.

        Raises:
            ConnectionLost, AMQPError: the connection is gone. The broker then lets go of it by itself.
        """
        deliveries = self._deliveries
        if not deliveries.is_open:
            return
        # What was read and not handed over goes back, too, and so does what is on its way.
        deliveries.discard()
        await self._fill()
        if self._is_quorum:
            await self._read_on()
            if self._settled:
                await self._until_acked()
        await deliveries.cancel()
        if not self._is_quorum:
            # A classic queue takes what a channel had at its end in a sixth of the time of basic.nack.
            await self._until_back(await deliveries.ready() + self.unsettled, deliveries.end)
            return
        acked = self._acked.ljust(deliveries.last_tag + 1, b"\0")
        tags = [tag for tag in range(1, deliveries.last_tag + 1) if not acked[tag]]
        step = _RETURNED * _COMMANDS
        for start in range(0, len(tags), step):
            await self._give_back(tags[start : start + step])

    async def _read_on(self) -> None:
        """Read what a quorum queue has back from earlier looks, which it delivers before all others.

        It puts what is given back behind that, and the order would be lost.
        """
        deliveries = self._deliveries
        while deliveries.last_tag and not deliveries.is_last_new and deliveries.bytes < 2 * self._max_held:
            ready = await deliveries.ready()
            if not ready:
                return
            self._size = min(
                _GROWTH * self._size, max(1, int(self._window_bytes / (self._usual_bytes or 1))), MAX_WINDOW
            )
            await deliveries.renew(min(ready, self._size))
            await self._fill()

    async def _until_acked(self) -> None:
        """Wait until a quorum queue has taken all acknowledgements, so that few commands are under way."""
        for _ in range(2):  # at the end of the first one, the channel sends what it had gathered
            # To begin and to end a consumer are the commands that the broker's channel waits for. This one gets a
            # message if some are ready: it goes back behind the others.
            await self._deliveries.renew(1)
            await self._fill()

    async def _fill(self) -> None:
        """Wait until nothing is on its way to the consumer."""
        while not self._deliveries.is_full and not await self._deliveries.is_empty():
            if not await self._deliveries.arrival():
                return

    async def _give_back(self, tags: list[int]) -> None:
        """Give messages back to a quorum queue."""

        async def give_back() -> None:
            for start in range(0, len(tags), _RETURNED):
                self._deliveries.give_back(tags[start : start + _RETURNED][-1])

        await self._until_back(await self._deliveries.ready() + len(tags), give_back)

    async def _until_back(self, ready: int, give_back: Callable[[], Awaitable[None]]) -> None:
        """Give messages back, and wait until so many are ready: the queue takes them asynchronously."""
        await give_back()
        deadline = self._clock.seconds() + _RELEASED_WITHIN
        while await self._deliveries.ready() < ready and self._clock.seconds() < deadline:
            await sleep(self._clock, _RELEASE_PAUSE)
