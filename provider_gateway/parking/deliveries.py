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
    from pika.adapters.twisted_connection import TwistedChannel
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from provider_gateway.amqp.message_channel import Content, MessageChannel
    from provider_gateway.amqp.session import Session
    from provider_gateway.topology.declarations import Queue

#: Bytes in memory at which no more is read from the socket.
_BUFFER_BYTES = 16 * 2**20
#: Bytes in memory below which the next window may begin.
_LOW_BYTES = 2 * 2**20
#: Bytes of a message beside its body and its properties.
_OVERHEAD = 300
#: Seconds without a delivery after which the queue is asked whether it is empty, and when that is a fault.
_IDLE, _STALLED = 0.25, 30.0
#: Times that it is asked: a node that has just taken over a queue may not know.
_QUESTIONS = 2
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
        bytes: of all deliveries.
        is_last_new: the last one was delivered for the first time.
    """

    def __init__(self, session: Session, parking: Queue, clock: IReactorTime) -> None:
        self._session = session
        self._parking = parking
        self._clock = clock
        self._messages: MessageChannel | None = None
        self._questions: TwistedChannel | None = None
        self._failure: Exception | None = None
        self.buffer: deque[Content] = deque()
        self.buffered = 0
        self.is_paused = self.is_discarding = False
        self._arrived: Waiters[None] = Waiters()
        self._is_told = False
        #: The consumer, the first delivery tag of it, and how many deliveries it may still get.
        self._tag: str | None = None
        self._first = 1
        self._due = 0
        self._consumers = 0
        self.last_tag = 0
        self.bytes = 0
        self.is_last_new = False

    async def open(self) -> int:
        """Declare the queue, as the process does. Returns the number of its messages.

        Raises:
            InUse: it is empty, since somebody else has its messages.
            ParkingUnusable: the broker refuses it.
            ConnectionLost, AMQPError: the connection is gone.
        """
        channel = await self._session.channel()
        try:
            declared = await attempt(self._parking, declaring(channel, self._parking))
        except TopologyError as error:
            raise ParkingUnusable(f"The parking queue cannot be used: {error}.") from None
        if declared.method.consumer_count and not declared.method.message_count:
            raise InUse
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
    def is_full(self) -> bool:
        """True if nothing more comes: there is no consumer, or it has all that it gets."""
        return self._tag is None or self._due <= 0

    @property
    def is_low(self) -> bool:
        """True if so little is in the buffer that more may be asked for."""
        return self.buffered < _LOW_BYTES

    def take(self) -> Content:
        """The first message of the buffer."""
        content = self.buffer.popleft()
        self.buffered -= size_of(content)
        if self.is_paused:
            self._pause_or_resume()
        return content

    def discard(self) -> None:
        """Forget the buffer, and all that arrives from now on."""
        self.is_discarding = True
        self.buffer.clear()
        self.buffered = 0
        self._pause_or_resume()

    def ack(self, tag: int) -> None:
        """Acknowledge a delivery."""
        assert self._messages is not None
        self._messages.ack(tag)
        # Its consumer gets another message in its place.
        self._due += tag >= self._first

    def give_back(self, up_to: int) -> None:
        """Give back all deliveries up to a tag that are not settled."""
        assert self._messages is not None
        self._messages.channel.basic_nack(up_to, multiple=True)

    async def end(self) -> None:
        """End the channel: the queue gets back all that is not settled, and :meth:`ready` asks on another channel."""
        assert self._messages is not None
        self._messages.channel.close()
        self._questions = await self._session.channel()

    async def renew(self, prefetch: int) -> None:
        """Begin a consumer that gets so many deliveries, in place of the one that is full.

        Raises:
            InUse, ParkingUnusable, ConnectionLost, AMQPError: see :meth:`.Reader.next`.
        """
        assert self._messages is not None
        channel = self._messages.channel
        # It is for new consumers alone. Nothing else is asked between two consumers, when others may get in.
        await shield(channel.basic_qos(prefetch_count=prefetch))
        await self.cancel()
        # In the order of these tags, a quorum queue takes back what the consumers had.
        self._consumers += 1
        tag = f"{self._consumers:08d}"
        self._due, self._first = prefetch, self.last_tag + 1
        try:
            queue, self._tag = await shield(channel.basic_consume(self._parking.name, exclusive=True, consumer_tag=tag))
        except ChannelClosedByBroker as error:
            raise self._refusal(error) from None
        queue.get().addErrback(partial(self._canceled, tag))

    async def cancel(self) -> None:
        """End the consumer. It has to be full: a quorum queue moves what is on its way to its end."""
        tag, self._tag = self._tag, None
        if tag is not None and self.is_open:
            assert self._messages is not None
            await shield(self._messages.channel.basic_cancel(tag))

    async def arrival(self) -> bool:
        """Wait for a delivery; if deliveries are discarded, until the consumer is full.

        Returns:
            False if none comes: messages were purged, or have expired.
        """
        since, due, last = self._clock.seconds(), self._due, self.last_tag
        while self._failure is None and self.last_tag == last and self._due >= due > 0:
            arrival = self._arrived.wait()
            timer = self._clock.callLater(_IDLE, arrival.callback, None)
            await arrival
            if timer.active():
                timer.cancel()
            elif await self.is_empty():
                return False
            elif self._clock.seconds() - since >= _STALLED:
                msg = f"The broker delivers nothing of {self._parking} for {_STALLED:g} s."
                raise BrokerUnavailable(msg)
        if self._failure is not None:
            raise self._failure
        return True

    async def is_empty(self) -> bool:
        """True if no message is ready, and none is on its way."""
        assert self._messages is not None
        for _ in range(_QUESTIONS):
            last = self.last_tag
            if await self.ready():
                return False
            # What the broker's channel had got by then arrives before its next answer.
            await shield(self._messages.channel.basic_qos(prefetch_count=0))
            if self.last_tag != last:
                return False
        return True

    async def ready(self) -> int:
        """The number of messages that are ready."""
        assert self._messages is not None
        channel = self._questions or self._messages.channel
        try:
            declared = await shield(channel.queue_declare(self._parking.name, passive=True))
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
        self.last_tag, self.is_last_new = content.tag, not content.redelivered
        size = size_of(content)
        self.bytes += size
        self._due -= 1
        if not self.is_discarding:
            self.buffer.append(content)
            self.buffered += size
            if self.buffered > _BUFFER_BYTES:
                self._pause_or_resume()
        if not self._is_told and (not self.is_discarding or self._due <= 0):
            # Once for all that arrives in this turn of the reactor.
            self._is_told = True
            self._clock.callLater(0, self._tell)

    def _tell(self) -> None:
        self._is_told = False
        self._arrived.fire(None)

    def _pause_or_resume(self) -> None:
        """Stop reading from the socket if too much waits here: messages may be much larger than those before."""
        wanted = self.buffered > (_BUFFER_BYTES // 2 if self.is_paused else _BUFFER_BYTES)
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
