"""The deliveries of a parking queue on one channel: its only consumer, which is begun again for each window."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from pika.exceptions import ChannelClosedByBroker, ConsumerCancelled

from provider_gateway.amqp.declare import attempt, declaring
from provider_gateway.deferreds import Waiters, shield
from provider_gateway.errors import BrokerUnavailable, TopologyError
from provider_gateway.parking.errors import ParkingUnusable
from provider_gateway.topology.refusals import Use, refusal

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from provider_gateway.amqp.message_channel import Content, MessageChannel
    from provider_gateway.amqp.session import Session
    from provider_gateway.topology.declarations import Queue

#: Bytes in memory at which no more is read from the socket.
_BUFFER_BYTES = 16 * 2**20
#: Bytes of a message beside its body and its properties.
_OVERHEAD = 300
#: Seconds without a delivery after which the queue is asked whether it is empty, how often, and when that is a fault.
_IDLE, _IDLE_QUESTIONS, _STALLED = 0.25, 3, 30.0
_NOT_FOUND = 404


class InUse(Exception):
    """Somebody else consumes the parking queue."""


class Deliveries:
    """The deliveries on a channel of its own.

    Args:
        session: has no other use while the socket is paused.
        parking: the parking queue.

    Attributes:
        buffer: what has arrived and was not taken; see :meth:`take`.
        is_paused: too much is in the buffer, so nothing is read from the socket.
        is_discarding: what arrives is counted only.
        last_tag: the last delivery tag. Those of a channel are whole numbers from 1.
    """

    def __init__(self, session: Session, parking: Queue, clock: IReactorTime) -> None:
        self._session = session
        self._parking = parking
        self._clock = clock
        self._messages: MessageChannel | None = None
        self._failure: Exception | None = None
        self.buffer: deque[Content] = deque()
        self._buffered = 0
        self.is_paused = self.is_discarding = False
        self._arrived: Waiters[None] = Waiters()
        #: The consumer, and deliveries to it that are still to come.
        self._tag: str | None = None
        self._due = 0
        self._consumers = 0
        self.last_tag = 0

    async def open(self) -> int:
        """Declare the queue, as the process does. Returns the number of its messages.

        Raises:
            ParkingUnusable: the broker refuses it.
            ConnectionLost, AMQPError: the connection is gone.
        """
        channel = await self._session.channel()
        try:
            declared = await attempt(self._parking, declaring(channel, self._parking))
        except TopologyError as error:
            raise ParkingUnusable(f"The parking queue cannot be used: {error}.") from None
        channel.close()
        self._messages = await self._session.message_channel()
        self._messages.on_delivery = self._receive
        self._messages.channel.on_closed.addCallback(self._fail)
        return int(declared.method.message_count)

    @property
    def is_open(self) -> bool:
        """True until the channel is closed, or the queue is deleted."""
        return self._messages is not None and self._messages.is_open and self._failure is None

    @property
    def is_active(self) -> bool:
        """True while there is a consumer."""
        return self._tag is not None

    def take(self) -> Content:
        """The first message of the buffer."""
        content = self.buffer.popleft()
        self._buffered -= size_of(content)
        self._pause_or_resume()
        return content

    def discard(self) -> None:
        """Forget the buffer, and all that arrives from now on."""
        self.is_discarding = True
        self.buffer.clear()
        self._buffered = 0
        self._pause_or_resume()

    def ack(self, tag: int) -> None:
        """Acknowledge a delivery. Not while there is a consumer: it would get another message in its place."""
        assert self._messages is not None
        self._messages.ack(tag)

    def give_back(self, up_to: int) -> None:
        """Give back all deliveries up to a tag that are not settled."""
        assert self._messages is not None
        self._messages.channel.basic_nack(up_to, multiple=True)

    async def consume(self, prefetch: int) -> None:
        """Begin a consumer, which gets so many deliveries. Raises as :meth:`.Reader.next`."""
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

    async def cancel(self) -> None:
        """End the consumer. All that is due should have arrived: a quorum queue moves what has not to its end."""
        tag, self._tag = self._tag, None
        if tag is None or self._messages is None:
            return
        if self._messages.is_open:
            await shield(self._messages.channel.basic_cancel(tag))

    async def arrival(self) -> bool:
        """Wait until a window is complete, or as much as may be in memory is there, or for a while.

        Returns:
            False if nothing further comes: messages were purged, or have expired. Then, and after a complete window,
            the consumer is ended.
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
            idle = idle + 1 if await self.ready() == 0 else 0
            if idle == _IDLE_QUESTIONS:
                await self.cancel()
                return False
            if self._clock.seconds() - since >= _STALLED:
                msg = f"The broker delivers nothing of {self._parking} for {_STALLED:g} s."
                raise BrokerUnavailable(msg)
        if self._due <= 0:
            await self.cancel()
        return True

    async def ready(self) -> int:
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
        self.last_tag = content.tag
        self._due -= 1
        if not self.is_discarding:
            self.buffer.append(content)
            self._buffered += size_of(content)
            self._pause_or_resume()
        if self._due <= 0 or self.is_paused:
            self._arrived.fire(None)

    def _pause_or_resume(self) -> None:
        """Stop reading from the socket if too much waits here: messages may be much larger than those before."""
        wanted = self._buffered > (_BUFFER_BYTES // 2 if self.is_paused else _BUFFER_BYTES)
        transport = self._session.transport
        if wanted != self.is_paused and transport is not None:
            self.is_paused = wanted
            (transport.pauseProducing if wanted else transport.resumeProducing)()

    def _canceled(self, tag: str, failure: Failure) -> None:
        """A consumer has ended."""
        if failure.check(ConsumerCancelled) and tag == self._tag:
            self._fail(ParkingUnusable(f"The {self._parking} was deleted meanwhile, or its node has stopped."))

    def _fail(self, reason: Exception) -> None:
        if self._failure is None:
            self._failure = reason
        self._arrived.fire(None)


def size_of(content: Content) -> int:
    """Bytes that a message counts as."""
    return len(content.body) + len(content.properties) + _OVERHEAD
