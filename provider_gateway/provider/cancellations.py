"""The requests that were canceled lately, as gateways tell all providers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.amqp.notice_queue import NoticeQueue
from provider_gateway.recent import Recent
from provider_gateway.topology.result_objects import canceled_exchange, check_result_names, notice_queue_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.session import Session
    from provider_gateway.config.queue_file import QueueEntry

#: Number of canceled requests that are remembered.
_REMEMBERED = 10_000


class Cancellations:
    """The ids of canceled requests. What is canceled while there is no connection is not learnt.

    Args:
        instance: of this process.

    Attributes:
        channels: channels that it takes on a connection.
        ids: the correlation ids.

    Raises:
        SettingsError: the queue file uses a name that is needed, or one would be too long.
    """

    channels = NoticeQueue.channels

    def __init__(self, entries: Sequence[QueueEntry], instance: str, clock: IReactorTime) -> None:
        check_result_names(entries)
        self.ids = Recent(_REMEMBERED)
        self._queue = NoticeQueue(
            notice_queue_name(entries, instance, "canceled"),
            canceled_exchange(entries),
            keys=[""],
            on_notice=self.ids.add,
            clock=clock,
        )

    async def open(self, session: Session) -> None:
        """Hear of cancellations on a new session.

        Raises:
            TopologyError, AMQPError, ConnectionLost: see :meth:`.Consumer.open`.
        """
        await self._queue.open(session)
