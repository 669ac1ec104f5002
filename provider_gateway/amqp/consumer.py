"""Consumes one queue with manual acknowledgement and a finite prefetch, and keeps doing so.

A consumer that the broker cancels (its queue was deleted) or whose channel closes is declared and opened again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pika.exceptions import AMQPError
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

#: Seconds between attempts to open a consumer again on a connection that is up.
_RESTORE_DELAY = 1.0


# Not frozen: setting seven attributes of a frozen one costs 1 µs more.
@dataclass(slots=True, eq=False, kw_only=True)
class Delivery:
    """A message that waits for its acknowledgement.

    Attributes:
        exchange: the exchange that it was published to, or dead-lettered through.
        routing_key: with which it was.
        redelivered: the broker delivered it before, and it was not acknowledged.
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
        """True if it can no longer be acknowledged: its channel is gone and the broker delivers it again."""
        return not self._channel.is_open

    def ack(self) -> bool:
        """Acknowledge it; False if it is lost."""
        if self.is_lost:
            return False
        self._channel.ack(self._tag)
        return True


class Consumer:
    """Consumes one queue.

    Args:
        prefetch: unacknowledged messages at a time.
        declare: declares the queue, before each (re)opening of the consumer.
        deliver: takes each delivery; must not raise, and settles it in its own time.
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
        self._prefetch = prefetch
        self._declare = declare
        self._deliver = deliver
        self._clock = clock
        self._channel: MessageChannel | None = None
        self._tag: str | None = None
        self._stopping = False
        self._watching = InFlight(lambda f: self._log.failure("The consumer of {queue} broke", f, queue=queue))

    @property
    def is_registered(self) -> bool:
        """True while the broker delivers to this consumer."""
        return self._channel is not None

    async def open(self, session: Session) -> None:
        """Declare the queue and start consuming on a session.

        Raises:
            TopologyError, AMQPError, ConnectionLost: as the broker refuses or goes away.
        """
        if self._stopping:
            return
        await self._declare(session)
        messages = await session.message_channel()
        messages.on_delivery = partial(self._hand_on, messages)
        channel = messages.channel
        await shield(channel.basic_qos(prefetch_count=self._prefetch))
        if self._stopping:
            channel.close()
            return
        queue, tag = await shield(channel.basic_consume(self.queue))
        if self._stopping:
            await shield(channel.basic_cancel(tag))
            return
        self._channel, self._tag = messages, tag
        self._watching.start(self._watch(session, channel, queue))

    async def cancel(self) -> None:
        """Stop deliveries for good; what was delivered may still be acknowledged."""
        self._stopping = True
        channel, tag, self._channel = self._channel, self._tag, None
        if channel is not None and tag is not None and channel.is_open:
            await shield(channel.channel.basic_cancel(tag))

    async def _watch(self, session: Session, channel: TwistedChannel, queue: ClosableDeferredQueue) -> None:
        """Restore the consumer when it ends; pika's queue gets no messages, but an error then."""
        reason: Exception
        try:
            await queue.get()
        except (AMQPError, ConnectionLost) as error:
            reason = error
        else:
            return
        if self._stopping:
            return
        self._channel = None
        if not session.is_open:
            return
        self._log.warn(
            "The consumer of {queue} was ended by the broker: {reason}",
            queue=self.queue,
            reason=str(reason) or type(reason).__name__,
        )
        if channel.is_open:
            # What is unacknowledged on it went with the queue, or is delivered again.
            channel.close()
        await self._restore(session)

    def _hand_on(self, channel: MessageChannel, content: Content) -> None:
        if channel is not self._channel:
            # It was on its way when we cancelled; another consumer may have it.
            if channel.is_open:
                channel.channel.basic_reject(content.tag)
            return
        self._deliver(
            Delivery(
                message=Message.received(content.properties, content.body),
                queue=self.queue,
                exchange=content.exchange,
                routing_key=content.routing_key,
                redelivered=content.redelivered,
                _tag=content.tag,
                _channel=channel,
            )
        )

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
