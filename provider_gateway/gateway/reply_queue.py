"""The reply queue of this instance: consumed on each new session, and deleted at an end in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pika.exceptions import AMQPError
from twisted.logger import Logger

from provider_gateway.amqp.consumer import Consumer
from provider_gateway.amqp.declare import declares
from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.deferreds import shield
from provider_gateway.errors import TopologyError
from provider_gateway.topology.result_objects import reply_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.consumer import Delivery
    from provider_gateway.amqp.session import Session
    from provider_gateway.config.queue_file import QueueEntry

#: Replies that may be unacknowledged at a time. Each is acknowledged as it arrives; only late ones may be held.
_PREFETCH = 1000


class ReplyQueue:
    """The reply queue of this instance.

    Args:
        name: of the queue; no other process uses it.
        entries: the entries whose replies come to this queue.
        expires: seconds after which the broker deletes the queue when it has no consumer.
        results: the queue that gets the replies that this process does not take; None without a result store.
        deliver: called with each delivery.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        entries: Sequence[QueueEntry],
        *,
        expires: float,
        results: str | None = None,
        deliver: Callable[[Delivery], object],
        clock: IReactorTime,
    ) -> None:
        self.name = name
        queue = reply_queue(name, entries, expires=expires, results=results)
        self._consumer = Consumer(
            name,
            prefetch=_PREFETCH,
            declare=declares(queue),
            deliver=deliver,
            clock=clock,
        )
        self._is_quorum = queue.arguments["x-queue-type"] == "quorum"
        self._session: Session | None = None
        self._was_open = False

    @property
    def is_consumed(self) -> bool:
        """True while the broker delivers replies."""
        return self._consumer.is_registered

    async def open(self, session: Session) -> None:
        """Declare the queue and consume it.

        If that fails and never worked before, the queue is deleted again: else each failed start would leave one.

        Raises:
            TopologyError, AMQPError, ConnectionLost: see :meth:`.Consumer.open`.
        """
        self._session = session
        try:
            await self._consumer.open(session)
        except (TopologyError, AMQPError):
            if not self._was_open:
                await self._delete(session)
            raise
        self._was_open = True

    def make_room(self) -> None:
        """Have replies delivered although many late ones are not acknowledged yet."""
        self._consumer.renew()

    async def close(self) -> None:
        """Stop consuming, and delete the queue. Without a connection it is left to expire."""
        try:
            await self._consumer.cancel()
        except (AMQPError, ConnectionLost) as error:
            self._stays(error)
            return
        if self._session is not None:
            await self._delete(self._session)

    async def _delete(self, session: Session) -> None:
        """Delete the queue, unless it is a classic one that somebody consumes. One that is gone already is no error."""
        try:
            if not session.is_open:
                return
            channel = await session.channel()
            # RabbitMQ ends the connection if a quorum queue is to be deleted under a condition.
            await shield(channel.queue_delete(self.name, if_unused=not self._is_quorum))
            channel.close()
        except (AMQPError, ConnectionLost) as error:
            self._stays(error)

    def _stays(self, error: Exception) -> None:
        reason = str(error) or type(error).__name__
        self._log.info("{queue} is not deleted, and left to expire: {reason}", queue=self.name, reason=reason)
