"""Where a reply goes: to the reply address of its message, or to the results queue if nobody waits there.

A message whose answer is kept names the results queue (``pg-results``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from provider_gateway.errors import NoRoute
from provider_gateway.message.message import PG_DEADLINE, PG_PARKED

if TYPE_CHECKING:
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.message.message import Message
    from provider_gateway.provider.expiry import Expiry
    from provider_gateway.provider.reliable_publisher import ReliablePublisher
    from provider_gateway.provider.task import Task

#: Prefix of reply addresses without a queue: a reply is delivered at most once (RabbitMQ guide, "Direct Reply-to").
_DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"


class ReplyRoute:
    """Publishes the replies to messages of one queue.

    Args:
        entry: the queue; has the reply address of messages without one.
        publisher: publishes a reply until it is confirmed.
        expiry: whether the caller still waits.
        late_after: seconds after the end of that wait from which on a kept reply goes to the results queue at once: the
            caller's queue keeps a reply for some time, but not once it expires itself.
    """

    _log = Logger()

    def __init__(self, entry: QueueEntry, publisher: ReliablePublisher, expiry: Expiry, *, late_after: float) -> None:
        self._reply_to = entry.reply_to
        self._publisher = publisher
        self._expiry = expiry
        self._late_after = late_after

    def address(self, task: Task) -> str | None:
        """The queue that the reply goes to; None if no reply is wanted, or if the caller was told of a failure."""
        if task.history.is_answered:
            return None
        return task.message.reply_to or self._reply_to or task.results

    async def publish(self, task: Task, reply: Message, address: str) -> None:
        """Publish a reply.

        Raises:
            NoRoute, BodyTooLarge, HeadersTooLarge, PublishRefused, DeliveryLost: see
                :meth:`.ReliablePublisher.publish_reply`.
        """
        results = task.results
        if results is not None:
            headers, history = task.delivery.message.headers, task.history
            reply_by = headers.get(PG_DEADLINE) if history.attempt <= 1 else history.reply_by
            is_late = type(reply_by) is int and self._expiry.is_past(reply_by / 1000 + self._late_after)
            if is_late or PG_PARKED in headers:  # or it was told that its message is parked, and that was replayed
                address = results
        try:
            if not isinstance(address, str):
                msg = "The reply address is not UTF-8."
                raise NoRoute(msg)
            await self._publisher.publish_reply(task, reply, address)
        except NoRoute as error:
            # The broker returns replies to these addresses even if it delivers them.
            if isinstance(address, str) and address.startswith(_DIRECT_REPLY_TO):
                return
            if results is None or address == results:
                raise
            self._log.info(
                "{queue}: the reply goes to {results}: {reason}",
                results=results,
                reason=error.detail,
                **task.log_fields,
            )
            await self._publisher.publish_reply(task, reply, results)
