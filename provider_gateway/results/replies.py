"""What comes of requests whose answers are kept: replies to store, late ones, and the end of the time of records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.amqp.notice_queue import NoticeQueue

if TYPE_CHECKING:
    from provider_gateway.amqp.session import Session
    from provider_gateway.results.late_replies import LateReplies
    from provider_gateway.results.results_queue import ResultsQueue
    from provider_gateway.results.retention import Retention
    from provider_gateway.store.records import ResultStore
    from provider_gateway.webhooks.webhooks import Webhooks


class Replies:
    """Consumes what belongs to requests whose answers are kept.

    Args:
        notices: the queue for notices.

    Attributes:
        consumers: channels that are needed to consume.
        late: takes the replies of this instance's queue for which no caller waits: they are stored, and then
            acknowledged.
    """

    def __init__(
        self,
        store: ResultStore,
        *,
        queue: ResultsQueue,
        late: LateReplies,
        retention: Retention,
        notices: NoticeQueue,
        webhooks: Webhooks,
    ) -> None:
        self._store = store
        self._queue = queue
        self.late = late
        self._retention = retention
        self._notices = notices
        self._webhooks = webhooks
        self.consumers = 1 + NoticeQueue.channels + webhooks.consumers
        store.on_change = queue.store_changed

    async def open(self, session: Session) -> None:
        """Consume on a new session.

        Raises:
            TopologyError, AMQPError, ConnectionLost: see :meth:`.Consumer.open`.
        """
        await self._queue.open(session)
        await self._notices.open(session)
        await self._webhooks.open(session)

    def start(self) -> None:
        """Begin to end the time of records."""
        self._retention.start()

    def waiting_for(self) -> list[str]:
        """What is missing to be ready."""
        missing = [] if self._queue.is_consumed else [f"consumer of {self._queue.name}"]
        if not self._notices.is_consumed:
            missing.append("consumer of notices")
        return missing + self._webhooks.waiting_for()

    def degraded(self) -> list[str]:
        """What cannot be done for now."""
        return [] if self._store.is_up else ["the result store is away"]

    async def close(self) -> None:
        """Finish with the replies that are held, and take no more. The store has to be open."""
        self._retention.stop()
        await self.late.empty()
        await self._queue.close()
        await self._webhooks.close()

    def stop(self) -> None:
        """Leave to the broker what :meth:`close` had no time for."""
        self.late.cancel()
        self._queue.abandon()
