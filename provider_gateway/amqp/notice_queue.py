"""A queue for the notices that this process waits for. It belongs to one connection, and goes with it."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from pika.exceptions import AMQPError
from twisted.logger import Logger

from provider_gateway.amqp.consumer import Consumer
from provider_gateway.amqp.declare import attempt, declaring
from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.deferreds import InFlight, shield, sleep
from provider_gateway.errors import TopologyError
from provider_gateway.message.ids import fresh_id
from provider_gateway.topology.declarations import Binding, Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pika.adapters.twisted_connection import TwistedChannel
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.consumer import Delivery
    from provider_gateway.amqp.session import Session
    from provider_gateway.topology.declarations import Exchange

#: Notices that may be unacknowledged at a time. Each is acknowledged as it arrives.
_PREFETCH = 1000
#: Seconds between attempts to bind again while the connection is up.
_RESTORE_DELAY = 1.0


class NoticeQueue:
    """An exclusive queue, bound to one exchange by the keys that are waited for.

    A queue of the old connection may still be there when the next one is made: so each has a name of its own.

    Args:
        name: what the names of the queues begin with.
        exchange: is declared with the queue.
        on_notice: called with the key of each notice; must not raise.
        keys: are waited for from the beginning.
        on_bound: called when a new queue is bound by all keys: notices may have been missed before.
        clock: times the attempts to consume again.

    Attributes:
        channels: channels that it takes on a connection.
    """

    _log = Logger()
    channels = 2

    def __init__(
        self,
        name: str,
        exchange: Exchange,
        *,
        on_notice: Callable[[str], object],
        keys: Sequence[str] = (),
        on_bound: Callable[[], object] = lambda: None,
        clock: IReactorTime,
    ) -> None:
        self._prefix = name
        self._exchange = exchange
        self._on_notice = on_notice
        self._on_bound = on_bound
        self._clock = clock
        self._name = ""
        #: How many wait for each key.
        self._keys = Counter(keys)
        self._consumer: Consumer | None = None
        #: Binds; None while there is no queue.
        self._channel: TwistedChannel | None = None
        self._running = InFlight(lambda f: self._log.failure("The bindings of a notice queue broke", f))

    @property
    def is_consumed(self) -> bool:
        """True while the broker delivers notices."""
        return self._consumer is not None and self._consumer.is_registered

    async def open(self, session: Session) -> None:
        """Declare a queue on a session, bind it by all keys, and consume it.

        Raises:
            TopologyError, AMQPError, ConnectionLost: see :meth:`.Consumer.open`.
        """
        self._name = f"{self._prefix}.{fresh_id()[:8]}"
        self._consumer = Consumer(
            self._name, prefetch=_PREFETCH, declare=self._declare, deliver=self._deliver, clock=self._clock
        )
        await self._consumer.open(session)

    async def bind(self, key: str) -> bool:
        """Wait for notices with a key from now on. Several may wait for the same.

        Returns:
            True if the queue is bound. If it is not, then ``on_bound`` is called when it is.
        """
        self._keys[key] += 1
        channel = self._channel
        if channel is None or not channel.is_open:
            return False
        try:
            await self._bind(channel, key)
        except (TopologyError, AMQPError, ConnectionLost) as error:
            self._log.warn("{reason}", reason=str(error))
            return False
        return channel is self._channel

    def unbind(self, key: str) -> None:
        """Wait no longer; to be called once for each :meth:`bind`, also for one that was cancelled."""
        self._keys[key] -= 1
        if self._keys[key] <= 0:
            del self._keys[key]
            if self._channel is not None:
                self._running.start(self._unbind(self._channel, key))

    async def _declare(self, session: Session) -> None:
        """Declare the queue, and bind it by all keys, also by those that come meanwhile."""
        before, self._channel = self._channel, None
        if before is not None and before.is_open:
            before.close()
        channel = await session.channel()
        await attempt(self._exchange, declaring(channel, self._exchange))
        queue = Queue(self._name, {"x-queue-type": "classic"}, durable=False)
        declare = partial(channel.queue_declare, queue.name, exclusive=True, arguments=dict(queue.arguments))
        await attempt(queue, declare)
        bound: set[str] = set()
        while missing := self._keys.keys() - bound:
            for key in missing:
                await self._bind(channel, key)
            bound |= missing
        if self._channel is not None:
            channel.close()  # consumer and channel had ended both, and this is the second of two attempts
            return
        self._channel = channel
        channel.on_closed.addCallback(self._closed, session, channel)
        for key in bound - self._keys.keys():
            self._running.start(self._unbind(channel, key))
        self._on_bound()

    async def _bind(self, channel: TwistedChannel, key: str) -> None:
        binding = Binding(self._name, self._exchange.name, key)
        await attempt(binding, declaring(channel, binding))

    async def _unbind(self, channel: TwistedChannel, key: str) -> None:
        try:
            if channel.is_open:
                await shield(channel.queue_unbind(self._name, self._exchange.name, key))
        except (AMQPError, ConnectionLost):
            pass  # the binding ends with the queue or the exchange

    def _closed(self, _reason: Exception, session: Session, channel: TwistedChannel) -> None:
        """The channel is closed, for example since the exchange was deleted: bind again."""
        if self._channel is channel:
            self._channel = None
            self._running.start(self._restore(session))

    async def _restore(self, session: Session) -> None:
        while session.is_open and self._channel is None:
            await sleep(self._clock, _RESTORE_DELAY)
            if not session.is_open or self._channel is not None:
                return  # the queue may be one of a new session by now
            try:
                await self._declare(session)
            except (TopologyError, AMQPError, ConnectionLost) as error:
                self._log.warn("{queue} cannot be bound: {reason}", queue=self._name, reason=str(error))

    def _deliver(self, delivery: Delivery) -> None:
        delivery.ack()
        self._on_notice(delivery.routing_key)
