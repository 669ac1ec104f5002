"""The end of a delivery: its reply, its copy for another attempt, or its place in the parking queue; then its ack.

Nothing is acknowledged before what takes its place is confirmed, however long that takes. What was confirmed is
remembered, so that a message whose acknowledgement was lost is acknowledged when it comes again, and not run again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from provider_gateway.errors import ModelFailure, NoRoute, PublishRefused
from provider_gateway.message.copies import Copy, History
from provider_gateway.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.message.message import Message
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.provider.reliable_publisher import ReliablePublisher
    from provider_gateway.provider.task import Task

#: Addresses of callers without a queue, who are answered at most once (RabbitMQ guide, "Direct Reply-to").
_DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"
#: Settled deliveries that are remembered.
_REMEMBERED = 1000


class Settlement:
    """Settles the deliveries of one queue.

    Args:
        entry: the queue, where its failed messages go, and the reply address of messages that bring none.
    """

    _log = Logger()

    def __init__(self, entry: QueueEntry, publisher: ReliablePublisher, metrics: Metrics) -> None:
        self._entry = entry
        self._publisher = publisher
        self._retried = metrics.retried
        self._parked = metrics.parked
        self._settled = Recent(_REMEMBERED)

    def is_settled(self, task: Task) -> bool:
        """True if this very message was settled, and only its acknowledgement was lost."""
        return task.fingerprint is not None and task.fingerprint in self._settled

    def address(self, task: Task) -> str | None:
        """Where the reply goes; None if nobody asked for one."""
        return task.message.reply_to or self._entry.reply_to

    async def reply(self, task: Task, reply: Message, refused: Callable[[ModelFailure], Message]) -> None:
        """Publish a reply; park the message if nobody takes replies to it.

        Args:
            refused: makes the small reply that is sent if the broker does not take the first one, for its size perhaps.

        Raises:
            DeliveryLost: nothing was published; the broker delivers the message again.
        """
        address = self.address(task)
        assert address is not None
        try:
            try:
                await self._publish_reply(task, reply, address)
            except PublishRefused as error:
                self._warn(task, "the reply is refused", error.detail)
                stand_in = refused(ModelFailure("The broker does not take the model's answer.", "refused"))
                await self._publish_reply(task, stand_in, address)
        except PublishRefused as error:
            self._warn(task, "its stand-in is refused", error.detail)
            await self.park(task, "refused")
        except NoRoute as error:
            self._warn(task, "nobody takes the reply", error.detail)
            await self.park(task, "reply")
        else:
            self.done(task)

    async def retry(self, task: Task, exchange: str, routing_key: str, reason: str) -> None:
        """Publish the copy for the next attempt.

        Raises:
            DeliveryLost: as above.
        """
        history = History(task.history.attempt + 1, task.history.redeliveries)
        copy = Copy.of(task.message, self._entry.queue_name, history, reason)
        await self._publisher.publish_copy(task, copy, exchange, routing_key)
        self._retried.labels(self._entry.queue_name, reason).inc()
        self.done(task)

    async def renew(self, task: Task) -> None:
        """Replace a message that came back unacknowledged by a copy that counts this, at the end of its queue.

        Raises:
            DeliveryLost: as above.
        """
        history = History(task.history.attempt, task.history.redeliveries + 1)
        copy = Copy.of(task.message, self._entry.queue_name, history, "redelivered", may_expire=True)
        await self._publisher.publish_copy(task, copy, self._entry.return_exchange, task.delivery.routing_key)
        self.done(task)

    async def park(self, task: Task, reason: str, reply: Message | None = None) -> None:
        """Put the message into the parking queue, and tell the output channel, if there is one.

        Args:
            reply: the error for the output channel.

        Raises:
            DeliveryLost: as above.
        """
        parking = self._entry.parking
        copy = Copy.of(task.message, self._entry.queue_name, task.history, reason)
        await self._publisher.publish_copy(task, copy, "", parking)
        self._remember(task)  # it has its end; the error that is still to be told is no reason to begin anew
        self._parked.labels(self._entry.queue_name, reason).inc()
        self._log.error(
            "{queue}: parked in {parking}: {reason}",
            parking=parking,
            reason=reason,
            **task.log_fields,
        )
        address = self.address(task)
        if reply is not None and address is not None:
            try:
                await self._publish_reply(task, reply, address)
            except (NoRoute, PublishRefused) as error:
                self._warn(task, "nobody takes the error", error.detail)
        self.done(task)

    def done(self, task: Task) -> None:
        """Acknowledge a delivery, now that what takes its place is confirmed, and remember it."""
        self._remember(task)
        if not task.delivery.ack():
            self._log.info("{queue}: acknowledgement lost with its channel", **task.log_fields)

    def _remember(self, task: Task) -> None:
        if task.fingerprint is not None:
            self._settled.add(task.fingerprint)

    async def _publish_reply(self, task: Task, reply: Message, address: str) -> None:
        """Publish a reply.

        Raises:
            NoRoute, PublishRefused, DeliveryLost: see :meth:`ReliablePublisher.publish_reply`.
        """
        if not isinstance(address, str):
            msg = "The reply address is not UTF-8."
            raise NoRoute(msg)
        try:
            await self._publisher.publish_reply(task, reply, address)
        except NoRoute:
            # The broker delivers these, and returns them all the same.
            if not address.startswith(_DIRECT_REPLY_TO):
                raise

    def _warn(self, task: Task, what: str, reason: str) -> None:
        self._log.warn("{queue}: {what}: {reason}", what=what, reason=reason, **task.log_fields)
