"""Reads a parking queue from its head, exclusively and without taking anything: what is not settled is released.

It is read in windows. A consumer gets as many deliveries as its prefetch allows; then it is cancelled, and the next one
begins on the same channel. Deliveries that are unacknowledged count for the consumer that they came from, so each has
room, and we set the pace: whatever waits is at the broker.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from pika.exceptions import ChannelClosedByBroker, ConsumerCancelled

from provider_gateway.amqp.declare import attempt, declaring
from provider_gateway.deferreds import Waiters, shield, sleep
from provider_gateway.errors import BrokerUnavailable, TopologyError
from provider_gateway.parking.errors import ParkingUnusable
from provider_gateway.topology.refusals import Use, refusal

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from provider_gateway.amqp.message_channel import Content, MessageChannel
    from provider_gateway.amqp.session import Session
    from provider_gateway.topology.declarations import Queue

#: Messages of the first window, whose size nobody knows; how much larger the next window may be; and most messages.
_FIRST_WINDOW, _GROWTH, MAX_WINDOW = 16, 8, 5000
#: Bytes of a window of messages of the usual size, and bytes in memory at which no more is read from the socket.
_WINDOW_BYTES, _BUFFER_BYTES = 4 * 2**20, 16 * 2**20
#: Bytes of a message beside its body and its properties.
_OVERHEAD = 300
#: Messages that are given back to a quorum queue by one command, and commands at a time. RabbitMQ 3.10 keeps the order
#: of what it finds in one command up to 32 messages; and it gathers the commands of a channel once 32 are under way.
_RETURNED, _COMMANDS = 32, 15
#: Seconds without a delivery after which the queue is asked whether it is empty, how often, and when that is a fault.
_IDLE, _IDLE_QUESTIONS, _STALLED = 0.25, 3, 30.0
#: Seconds to wait until the broker has its messages back: in all, and between two questions.
_RELEASED_WITHIN, _RELEASE_PAUSE = 3.0, 0.002
_NOT_FOUND = 404
#: Seconds of work between two pauses, and the most that counts as work.
_TURN, _MAX_TURN = 0.004, 0.02


class InUse(Exception):
    """Somebody else consumes the parking queue."""


class Reader:
    """Reads one parking queue on a session of its own.

    Args:
        session: is used for this alone.
        parking: the parking queue.
        share: share of the time that reading and what is done between two messages may take.
        max_held: bytes of messages that may be unsettled at a time. With more, reading ends.
        max_window: messages in a window, at most.

    Attributes:
        total: messages that were ready when it was opened.
        seen: messages that were handed over.
        held: messages of these that are not settled.
        held_bytes: their bytes.
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
        self._session = session
        self._parking = parking
        self._clock = clock
        self._rest = 1 / share - 1
        self._max_held = max_held
        self._max_window = min(max_window, MAX_WINDOW)
        self.total = self.seen = self.held = 0
        self.is_cut = False
        self.held_bytes = 0
        self._is_quorum = parking.arguments.get("x-queue-type") == "quorum"
        self._messages: MessageChannel | None = None
        self._failure: Exception | None = None
        self._buffer: deque[Content] = deque()
        self._buffered = 0
        self._is_paused = False
        self._arrived: Waiters[None] = Waiters()
        #: The consumer of the running window, and deliveries of it that are still to come; its usual size.
        self._tag: str | None = None
        self._due = 0
        self._size = _FIRST_WINDOW
        self._usual_bytes = 0.0
        self._consumers = 0
        self._is_over = self._is_releasing = False
        #: The last delivery tag, and whether each is acknowledged.
        self._last_tag = 0
        self._acked = bytearray(1)
        self._acks_due: list[int] = []
        self._has_acked = False
        self._since = 0.0

    async def open(self) -> None:
        """Declare the queue, as the process does, and count its messages.

        Raises:
            ParkingUnusable: the broker refuses it.
            ConnectionLost, AMQPError: the connection is gone.
        """
        channel = await self._session.channel()
        try:
            declared = await attempt(self._parking, declaring(channel, self._parking))
        except TopologyError as error:
            raise ParkingUnusable(f"The parking queue cannot be used: {error}.") from None
        self.total = declared.method.message_count
        channel.close()
        self._messages = await self._session.message_channel()
        self._messages.on_delivery = self._receive
        self._messages.channel.on_closed.addCallback(self._closed)

    @property
    def unsettled(self) -> int:
        """Messages that the broker has delivered and that are not settled: they do not count as ready."""
        return self._last_tag - sum(self._acked)

    async def claim(self) -> None:
        """Become the queue's only consumer, unless it is empty. Raises as :meth:`next`."""
        if self._tag is None and not self._buffer and self.seen < self.total:
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
        while not self._buffer or (self._tag is not None and not self._is_paused):
            if self._tag is not None:
                self._is_over = not await self._arrival()
            elif self.seen >= self.total or self._is_over:
                return None
            elif self.held_bytes >= self._max_held:
                self.is_cut = True
                return None
            else:
                await self._begin_window()
        return self._take()

    def _take(self) -> Content:
        content = self._buffer.popleft()
        size = _size(content)
        self._buffered -= size
        self._pause_or_resume()
        self._usual_bytes += (size - self._usual_bytes) / min(self.seen + 1, _FIRST_WINDOW)
        self.seen += 1
        self.held += 1
        self.held_bytes += size
        return content

    def ack(self, content: Content) -> bool:
        """Take a message from the queue for good. Returns False if its channel is closed."""
        if self._messages is None or not self._messages.is_open:
            return False
        if self._tag is None:
            self._messages.ack(content.tag)
        else:
            # Its consumer would get another message in place of this one.
            self._acks_due.append(content.tag)
        self._has_acked = True
        self._acked[content.tag] = 1
        self.held -= 1
        self.held_bytes -= _size(content)
        return True

    async def release(self) -> None:
        """Let go of all that is not settled. When this returns, it is in the queue again, in the same order.

        Raises:
            ConnectionLost, AMQPError: the connection is gone. The broker then lets go of it by itself.
        """
        messages = self._messages
        if messages is None or not messages.is_open or self._failure is not None:
            return
        # What was read and not handed over goes back, too, and so does what is on its way.
        self._is_releasing = True
        self._buffer.clear()
        self._buffered = 0
        self._pause_or_resume()
        while self._tag is not None and await self._arrival():
            pass
        if self._is_quorum and self._has_acked:
            await self._until_acked()
        # Tags of a channel are whole numbers from 1.
        tags = [tag for tag in range(1, self._last_tag + 1) if not self._acked[tag]]
        step = _RETURNED * _COMMANDS if self._is_quorum else len(tags)
        for start in range(0, len(tags), max(1, step)):
            await self._give_back(tags[start : start + step])

    async def _until_acked(self) -> None:
        """Wait until a quorum queue has taken all acknowledgements, so that few commands are under way."""
        for _ in range(2):  # at the end of the first one, the channel sends what it had gathered
            # To begin and to end a consumer are the commands that the broker's channel waits for. This one gets a
            # message if some are ready: it goes back behind the others.
            await self._consume(1)
            if await self._ready():
                await self._arrival()
            await self._cancel()

    async def _give_back(self, tags: list[int]) -> None:
        """Give messages back, and wait until the queue has them: it takes them asynchronously."""
        assert self._messages is not None
        before = await self._ready()
        step = _RETURNED if self._is_quorum else len(tags)
        for start in range(0, len(tags), step):
            self._messages.channel.basic_nack(tags[start : start + step][-1], multiple=True)
        deadline = self._clock.seconds() + _RELEASED_WITHIN
        while await self._ready() < before + len(tags) and self._clock.seconds() < deadline:
            await sleep(self._clock, _RELEASE_PAUSE)

    async def _begin_window(self) -> None:
        if self.seen:
            self._size = max(1, min(int(_WINDOW_BYTES / self._usual_bytes), _GROWTH * self._size))
        await self._consume(min(self._size, self._max_window, self.total - self.seen))

    async def _consume(self, prefetch: int) -> None:
        assert self._messages is not None
        channel = self._messages.channel
        # In the order of these tags, a quorum queue takes back what the consumers had.
        self._consumers += 1
        tag = f"{self._consumers:08d}"
        self._due = prefetch
        await shield(channel.basic_qos(prefetch_count=prefetch))
        try:
            queue, self._tag = await shield(channel.basic_consume(self._parking.name, exclusive=True, consumer_tag=tag))
        except ChannelClosedByBroker as error:
            raise self._refusal(error) from None
        queue.get().addErrback(partial(self._canceled, tag))

    async def _cancel(self) -> None:
        """End the consumer. All that is due should have arrived: a quorum queue moves what has not to its end."""
        tag, self._tag = self._tag, None
        if tag is None or self._messages is None:
            return
        if self._messages.is_open:
            await shield(self._messages.channel.basic_cancel(tag))
        for each in self._acks_due:
            self._messages.ack(each)
        self._acks_due.clear()

    async def _arrival(self) -> bool:
        """Wait for a delivery. At the last one of its window, the consumer is ended.

        Returns:
            False if no further one comes: messages were purged, or have expired. The consumer is ended, too.
        """
        idle, since, due = 0, self._clock.seconds(), self._due
        while self._due == due > 0:
            if self._failure is not None:
                raise self._failure
            arrival = self._arrived.wait()
            timer = self._clock.callLater(_IDLE, arrival.callback, None)
            await arrival
            if timer.active():
                timer.cancel()
                continue
            idle = idle + 1 if await self._ready() == 0 else 0
            if idle == _IDLE_QUESTIONS:
                await self._cancel()
                return False
            if self._clock.seconds() - since >= _STALLED:
                msg = f"The broker delivers nothing of {self._parking} for {_STALLED:g} s."
                raise BrokerUnavailable(msg)
        if self._due <= 0:
            await self._cancel()
        return True

    async def _ready(self) -> int:
        """The number of messages that are ready."""
        assert self._messages is not None
        try:
            declared = await shield(self._messages.channel.queue_declare(self._parking.name, passive=True))
        except ChannelClosedByBroker as error:
            raise self._refusal(error) from None
        return int(declared.method.message_count)

    def _refusal(self, error: ChannelClosedByBroker) -> Exception:
        if "exclusive use" in error.reply_text:
            return InUse(error.reply_text)
        if error.reply_code == _NOT_FOUND:
            return ParkingUnusable(f"The {self._parking} was deleted meanwhile.")
        return ParkingUnusable(
            str(refusal(Use(f"reading {self._parking}", "read"), error.reply_code, error.reply_text))
        )

    def _receive(self, content: Content) -> None:
        self._last_tag = content.tag
        self._acked.append(0)
        self._due -= 1
        if not self._is_releasing:
            self._buffer.append(content)
            self._buffered += _size(content)
            self._pause_or_resume()
        if self._due <= 0 or self._is_paused:
            self._arrived.fire(None)

    def _pause_or_resume(self) -> None:
        """Stop reading from the socket if too much waits here: messages may be much larger than those before."""
        wanted = self._buffered > (_BUFFER_BYTES // 2 if self._is_paused else _BUFFER_BYTES)
        transport = self._session.transport
        if wanted != self._is_paused and transport is not None:
            self._is_paused = wanted
            (transport.pauseProducing if wanted else transport.resumeProducing)()

    def _canceled(self, tag: str, failure: Failure) -> None:
        """A consumer has ended."""
        if failure.check(ConsumerCancelled) and tag == self._tag:
            self._fail(ParkingUnusable(f"The {self._parking} was deleted meanwhile, or its node has stopped."))

    def _closed(self, reason: Exception) -> None:
        self._fail(reason)

    def _fail(self, reason: Exception) -> None:
        if self._failure is None:
            self._failure = reason
        self._arrived.fire(None)


def _size(content: Content) -> int:
    return len(content.body) + len(content.properties) + _OVERHEAD
