"""Reads a parking queue from its head, exclusively and without taking anything: what is not settled is released.

It is read in windows. A consumer gets as many deliveries as its prefetch allows; then it is cancelled, and the next one
begins on the same channel. Deliveries that are unacknowledged count for the consumer that they came from, so each has
room, and we set the pace: whatever waits is at the broker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.deferreds import sleep
from provider_gateway.parking.deliveries import Deliveries, size_of

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.message_channel import Content
    from provider_gateway.amqp.session import Session
    from provider_gateway.topology.declarations import Queue

#: Messages of the first window, whose size nobody knows; how much larger the next window may be; and most messages.
_FIRST_WINDOW, _GROWTH, MAX_WINDOW = 16, 8, 5000
#: Bytes of a window of messages of the usual size.
_WINDOW_BYTES = 4 * 2**20
#: Messages that are given back to a quorum queue by one command, and commands at a time. RabbitMQ 3.10 keeps the order
#: of what it finds in one command up to 32 messages; and it gathers the commands of a channel once 32 are under way.
_RETURNED, _COMMANDS = 32, 15
#: Seconds to wait until the broker has its messages back: in all, and between two questions.
_RELEASED_WITHIN, _RELEASE_PAUSE = 3.0, 0.002
#: Seconds of work between two pauses, and the most that counts as work.
_TURN, _MAX_TURN = 0.004, 0.02


class Reader:
    """Reads one parking queue on a channel of its own.

    Args:
        session: is used for nothing that must not wait.
        parking: the parking queue.
        share: share of the time that reading and what is done between two messages may take.
        max_held: bytes of messages that may be unsettled at a time. With more, reading ends.
        max_window: messages in a window, at most.

    Attributes:
        total: messages that were ready when it was opened.
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
        self._clock = clock
        self._rest = 1 / share - 1
        self._max_held = max_held
        self._max_window = min(max_window, MAX_WINDOW)
        self.total = self.seen = 0
        self.is_cut = False
        self._held_bytes = 0
        self._size = _FIRST_WINDOW
        self._usual_bytes = 0.0
        self._is_empty = False
        #: Tags that were acknowledged, and those of them that the broker has not been told yet.
        self._acked: set[int] = set()
        self._acks_due: list[int] = []
        self._since = 0.0

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
        return self._deliveries.last_tag - len(self._acked)

    async def claim(self) -> None:
        """Become the queue's only consumer, unless it is empty. Raises as :meth:`next`."""
        if self.total:
            await self._begin_window()

    async def next(self) -> Content | None:
        """The next of the messages that were in the queue when it was opened; None if there is none.

        Raises:
            InUse: somebody else consumes it.
            ParkingUnusable: it was deleted, or may not be consumed.
            BrokerUnavailable: the broker delivers nothing.
            ConnectionLost, AMQPError: the connection is gone.
        """
        now = self._clock.seconds()
        if now - self._since >= _TURN:
            await sleep(self._clock, min(now - self._since, _MAX_TURN) * self._rest)
            self._since = self._clock.seconds()
        deliveries = self._deliveries
        while not deliveries.buffer or (deliveries.is_active and not deliveries.is_paused):
            if deliveries.is_active:
                self._is_empty = not await deliveries.arrival()
                self._tell_acks()
            elif self.seen >= self.total or self._is_empty:
                return None
            elif self._held_bytes >= self._max_held:
                self.is_cut = True
                return None
            else:
                await self._begin_window()
        content = deliveries.take()
        size = size_of(content)
        self._held_bytes += size
        self.seen += 1
        # An average over the last ones, about as many as a first window has.
        self._usual_bytes += (size - self._usual_bytes) / min(self.seen, _FIRST_WINDOW)
        return content

    async def _begin_window(self) -> None:
        if self.seen:
            self._size = max(1, min(int(_WINDOW_BYTES / self._usual_bytes), _GROWTH * self._size))
        await self._deliveries.consume(min(self._size, self._max_window, self.total - self.seen))

    def ack(self, content: Content) -> bool:
        """Take a message from the queue for good. Returns False if its channel is closed."""
        if not self._deliveries.is_open:
            return False
        self._acked.add(content.tag)
        self._acks_due.append(content.tag)
        self._held_bytes -= size_of(content)
        self._tell_acks()
        return True

    def _tell_acks(self) -> None:
        # A consumer that is there would get another message in place of one that is acknowledged.
        if self._acks_due and not self._deliveries.is_active and self._deliveries.is_open:
            for tag in self._acks_due:
                self._deliveries.ack(tag)
            self._acks_due.clear()

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
        while deliveries.is_active and await deliveries.arrival():
            pass
        self._tell_acks()
        if self._is_quorum and self._acked:
            await self._until_acked()
        tags = [tag for tag in range(1, deliveries.last_tag + 1) if tag not in self._acked]
        step = _RETURNED * _COMMANDS if self._is_quorum else len(tags)
        for start in range(0, len(tags), max(1, step)):
            await self._give_back(tags[start : start + step])

    async def _until_acked(self) -> None:
        """Wait until a quorum queue has taken all acknowledgements, so that few commands are under way."""
        for _ in range(2):  # at the end of the first one, the channel sends what it had gathered
            # To begin and to end a consumer are the commands that the broker's channel waits for. This one gets a
            # message if some are ready: it goes back behind the others.
            await self._deliveries.consume(1)
            if await self._deliveries.ready():
                await self._deliveries.arrival()
            await self._deliveries.cancel()

    async def _give_back(self, tags: list[int]) -> None:
        """Give messages back, and wait until the queue has them: it takes them asynchronously."""
        before = await self._deliveries.ready()
        step = _RETURNED if self._is_quorum else len(tags)
        for start in range(0, len(tags), step):
            self._deliveries.give_back(tags[start : start + step][-1])
        deadline = self._clock.seconds() + _RELEASED_WITHIN
        while await self._deliveries.ready() < before + len(tags) and self._clock.seconds() < deadline:
            await sleep(self._clock, _RELEASE_PAUSE)
