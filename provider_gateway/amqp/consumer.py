"""Consumes one queue, with manual acknowledgement and a finite prefetch.

If the broker cancels the consumer (its queue was deleted) or closes the channel, the queue is declared and the consumer
opened again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pika.exceptions import AMQPError
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.deferreds import InFlight, shield, sleep
from provider_gateway.errors import TopologyError
from provider_gateway.message.message import Message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pika.adapters.twisted_connection import ClosableDeferredQueue, TwistedChannel
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.message_channel import Content, MessageChannel
    from provider_gateway.amqp.session import Session

#: Seconds between attempts to open a consumer again while the connection is up.
_RESTORE_DELAY = 1.0


# Not frozen: a frozen dataclass with seven attributes costs 1 µs more to create. No code changes one.
@dataclass(slots=True, eq=False, kw_only=True)
class Delivery:
    """A message as the broker delivered it, until it is acknowledged.

    Attributes:
        queue: the queue that it was consumed from.
        exchange: the exchange that it was published to, or dead-lettered through.
        routing_key: the routing key of that.
        redelivered: True if the broker delivered it before, and it was not acknowledged.
    """

    message: Message
    queue: str
    exchange: str
    routing_key: str
    redelivered: bool
    _tag: int
    _channel: MessageChannel

    @property
    def is_lost(self) -> bool:
        """True if its channel is closed. It cannot be acknowledged any more, and the broker delivers it again."""
        return not self._channel.is_open

    def ack(self, *, is_urgent: bool = True) -> bool:
        """Acknowledge it.

        Args:
            is_urgent: False if nothing depends on it, but that the broker forgets the message some time. Then it may
                wait for 0.1 s for another write on the connection.

        Returns:
            False if it is lost.
        """
        if self.is_lost:
            return False
        self._channel.ack(self._tag, is_urgent=is_urgent)
        return True

    def give_back(self) -> None:
        """Let the broker deliver it again, here or elsewhere."""
        if not self.is_lost:
            self._channel.channel.basic_reject(self._tag)

    def dead_letter(self) -> None:
        """Let the broker dead-letter it. Of a queue without a dead-letter exchange, the broker drops it."""
        if not self.is_lost:
            self._channel.channel.basic_reject(self._tag, requeue=False)


class Consumer:
    """Consumes one queue.

    Args:
        queue: its name.
        prefetch: most deliveries that may be unacknowledged.
        declare: declares the queue; called before the consumer is opened, each time.
        deliver: called with each delivery, which it has acknowledged at some time; must not raise. If it returns
            False, the delivery is given back.
        clock: times the attempts to open the consumer again.
    """

    _log = Logger()

    def __init__(
        self,
        queue: str,
        *,
        prefetch: int,
        declare: Callable[[Session], Awaitable[None]],
        deliver: Callable[[Delivery], object],
        clock: IReactorTime,
    ) -> None:
        self.queue = queue
        #: The prefetch that is wanted, and the one of the running consumer; 0 in a pause.
        self._prefetch = prefetch
        self._consumes_with = 0
        self._declare = declare
        self._deliver = deliver
        self._clock = clock
        self._channel: MessageChannel | None = None
        self._tag: str | None = None
        self._stopping = False
        self._session: Session | None = None
        self._changing = DeferredLock()
        self._watching = InFlight(lambda f: self._log.failure("The consumer of {queue} broke", f, queue=queue))

    @property
    def is_registered(self) -> bool:
        """True while the broker delivers to this consumer, or would, were it not for a pause of ours."""
        return self._channel is not None

    async def open(self, session: Session) -> None:
        """Declare the queue and start consuming on a session.

        Raises:
            TopologyError: the broker refused a declaration.
            AMQPError: the broker refused the consumer, or closed the channel.
            ConnectionLost: the connection is gone.
        """
        if self._stopping:
            return
        await self._declare(session)
        messages = await session.message_channel()
        messages.on_delivery = partial(self._receive, messages)
        await self._changing.acquire()
        try:
            self._session = session
            await self._consume(messages)
        finally:
            self._changing.release()

    async def _consume(self, messages: MessageChannel) -> None:
        channel, session, prefetch = messages.channel, self._session, self._prefetch
        assert session is not None
        if not prefetch:
            self._channel, self._tag, self._consumes_with = messages, None, 0
            return
        await shield(channel.basic_qos(prefetch_count=prefetch))
        if self._stopping:
            return  # the channel stays: deliveries of its former consumer may be in flight
        queue, tag = await shield(channel.basic_consume(self.queue))
        if self._stopping:
            await shield(channel.basic_cancel(tag))
            return
        self._channel, self._tag, self._consumes_with = messages, tag, prefetch
        self._watching.start(self._watch(session, channel, queue, tag))

    def consume_with(self, prefetch: int) -> None:
        """Consume with another prefetch: replace the running consumer, pause, or go on after a pause.

        The channel stays the same, so that deliveries in flight can be acknowledged. The prefetch of a consumer cannot
        be changed, and that of a channel is not supported by quorum queues.

        Args:
            prefetch: 0 for a pause, which lasts over reconnections.
        """
        self._prefetch = prefetch
        self._watching.start(self._change())

    def renew(self) -> None:
        """Replace the running consumer by one with the same prefetch.

        Deliveries that are not acknowledged yet count for the consumer that they came from: the new one has room.
        """
        self._watching.start(self._change(is_renewal=True))

    async def _change(self, *, is_renewal: bool = False) -> None:
        """Cancel the consumer, and begin a new one unless there is to be a pause."""
        await self._changing.acquire()
        messages, session = self._channel, self._session
        try:
            if messages is None or self._stopping:
                return  # it is opened again with its session, or not at all
            if self._consumes_with == self._prefetch and not (is_renewal and self._prefetch):
                return  # an earlier change did it
            tag, self._tag, self._consumes_with = self._tag, None, 0
            if tag is not None:
                await shield(messages.channel.basic_cancel(tag))
            await self._consume(messages)
            return
        except (AMQPError, ConnectionLost) as error:
            if session is None or not session.is_open or self._channel is not messages:
                return
            self._log.warn("{queue} cannot be consumed: {reason}", queue=self.queue, reason=str(error))
            self._channel = None
        finally:
            self._changing.release()
        await self._restore(session)

    async def cancel(self) -> None:
        """Stop deliveries for good. Deliveries in flight can still be acknowledged."""
        self._stopping = True
        channel, tag, self._channel = self._channel, self._tag, None
        if channel is not None and tag is not None and channel.is_open:
            await shield(channel.channel.basic_cancel(tag))

    async def _watch(self, session: Session, channel: TwistedChannel, queue: ClosableDeferredQueue, tag: str) -> None:
        """Open the consumer again when it ends. Then pika's queue, which gets no messages, fails with the reason."""
        reason: Exception
        try:
            await queue.get()
        except (AMQPError, ConnectionLost) as error:
            reason = error
        else:
            return
        if self._stopping or (tag != self._tag and channel.is_open):
            return  # it was cancelled by us
        if self._channel is None or self._channel.channel is not channel:
            return  # a change of the prefetch found it first, and opens it again; two consumers would take turns
        self._channel = None
        if not session.is_open:
            return
        self._log.warn(
            "The consumer of {queue} was ended by the broker: {reason}",
            queue=self.queue,
            reason=str(reason) or type(reason).__name__,
        )
        if channel.is_open:
            # Its unacknowledged messages were deleted with the queue, or are delivered again.
            channel.close()
        await self._restore(session)

    def _receive(self, channel: MessageChannel, content: Content) -> None:
        if channel is not self._channel:
            # The message was on its way when the consumer was cancelled. Reject: another consumer may take it.
            if channel.is_open:
                channel.channel.basic_reject(content.tag)
            return
        delivery = Delivery(
            message=Message.received(content.properties, content.body),
            queue=self.queue,
            exchange=content.exchange,
            routing_key=content.routing_key,
            redelivered=content.redelivered,
            _tag=content.tag,
            _channel=channel,
        )
        if self._deliver(delivery) is False:
            delivery.give_back()

    async def _restore(self, session: Session) -> None:
        while not self._stopping and session.is_open:
            try:
                await self.open(session)
            except (TopologyError, AMQPError, ConnectionLost) as error:
                self._log.warn("{queue} cannot be consumed: {reason}", queue=self.queue, reason=str(error))
                await sleep(self._clock, _RESTORE_DELAY)
            else:
                if self.is_registered:
                    self._log.info("{queue} is consumed again", queue=self.queue)
                return
