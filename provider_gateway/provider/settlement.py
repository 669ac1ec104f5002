"""Settles deliveries: publishes a reply or a copy, waits for its confirm, then acknowledges the delivery.

Nothing is acknowledged before the confirm, however long it takes. Settled messages are remembered: if an
acknowledgement is lost with its channel, the redelivery is acknowledged and not served again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from twisted.logger import Logger

from provider_gateway.deferreds import Waiters
from provider_gateway.errors import TOO_LARGE, ModelFailure, Nacked, NoRoute, PublishRefused
from provider_gateway.message.copies import Copy
from provider_gateway.message.ids import RQUID, has_rquid
from provider_gateway.message.message import PG_COPY, PG_MODEL_ERROR, PG_MODEL_STATUS, PG_PARKED, PG_PARKED_AT
from provider_gateway.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.clocks import WallClock
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.errors import GatewayError
    from provider_gateway.message.copies import History
    from provider_gateway.message.message import Message
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.provider.reliable_publisher import ReliablePublisher
    from provider_gateway.provider.reply_route import ReplyRoute
    from provider_gateway.provider.task import Task

#: Why the broker may not take a copy to the work queue.
_NOT_TAKEN = (Nacked, PublishRefused, *TOO_LARGE)
#: Number of settled messages that are remembered.
_REMEMBERED = 1000


class Settlement:
    """Settles the deliveries of one queue.

    Args:
        entry: the queue; names the parking queue.
        publisher: publishes copies until they are confirmed.
        replies: publishes replies likewise.
        wall_clock: tells when a message was parked.

    Attributes:
        address: see :meth:`.ReplyRoute.address`.
    """

    _log = Logger()

    def __init__(
        self,
        entry: QueueEntry,
        publisher: ReliablePublisher,
        replies: ReplyRoute,
        metrics: Metrics,
        *,
        wall_clock: WallClock,
    ) -> None:
        self._entry = entry
        self._publisher = publisher
        self._replies = replies
        self.address = replies.address
        self._wall_clock = wall_clock
        self._retried = metrics.retried
        self._parked = metrics.parked
        self._settled = Recent(_REMEMBERED)
        #: By the ids of copies to the work queue that the broker has not confirmed.
        self._renewing: dict[str, Waiters[None]] = {}

    def is_settled(self, task: Task) -> bool:
        """True if the message was settled, so that only its acknowledgement was lost."""
        return task.fingerprint is not None and task.fingerprint in self._settled

    async def reply(self, task: Task, reply: Message, refused: Callable[[ModelFailure], Message]) -> None:
        """Publish the reply. If it is unrouted or refused, park the message.

        Args:
            refused: makes an error reply. It is published if the broker refuses the first reply, or that is too large.

        Raises:
            DeliveryLost: no reply is confirmed, and the broker delivers the message again.
        """
        address = self.address(task)
        assert address is not None
        try:
            try:
                await self._replies.publish(task, reply, address)
            except (PublishRefused, *TOO_LARGE) as error:
                self._warn(task, "the reply is refused", error.detail)
                detail = "The broker does not take the model's answer."
                if isinstance(error, TOO_LARGE):
                    detail = f"{detail} {error.detail}"
                stand_in = refused(ModelFailure(detail, "refused"))
                await self._replies.publish(task, stand_in, address)
        except (PublishRefused, *TOO_LARGE) as error:
            self._warn(task, "its stand-in is refused", error.detail)
            await self.park(task, "refused")
        except NoRoute as error:
            self._warn(task, "nobody takes the reply", error.detail)
            await self.park(task, "reply")
        else:
            self.done(task)

    async def tell(self, task: Task, reply: Message) -> bool:
        """Publish an error reply, if the message has a reply address. The delivery stays unsettled.

        Returns:
            True if the reply is confirmed; False also if it is unrouted or refused.

        Raises:
            DeliveryLost: as above.
        """
        address = self.address(task)
        if address is None:
            return False
        try:
            await self._replies.publish(task, reply, address)
        except (NoRoute, PublishRefused, *TOO_LARGE) as error:
            self._warn(task, "nobody takes the error", error.detail)
            return False
        return True

    async def retry(
        self, task: Task, exchange: str, routing_key: str, reason: str, *, is_answered: bool = False
    ) -> None:
        """Publish the copy for the next attempt.

        Args:
            is_answered: the caller has its reply, and is to get no other one. That reply must be confirmed by now: a
                copy that says so, of a message without a reply, would lose the reply.

        Raises:
            DeliveryLost: as above.
        """
        reply_by = None if is_answered else task.reply_by
        attempt = task.history.attempt + 1
        history = replace(task.history, attempt=attempt, held=0, reply_by=reply_by, is_answered=is_answered)
        copy = Copy.of(task.message, self._entry.queue_name, history, reason, kept=task.copied_headers)
        await self._publisher.publish_copy(task, copy, exchange, routing_key)
        self._retried.labels(self._entry.queue_name, reason).inc()
        self.done(task)

    async def renew(self, task: Task) -> bool:
        """Publish a copy to the end of the work queue that counts one more redelivery.

        Returns:
            False if the queue is full. The delivery is unsettled then: if all that is in hand waited for room, nothing
            would be consumed, and there would be none.

        Raises:
            DeliveryLost: as above.
        """
        history = replace(task.history, redeliveries=task.history.redeliveries + 1)
        try:
            await self._replace(task, history, "redelivered", gives_up=(Nacked,))
        except Nacked as error:
            self._warn(task, "its queue takes no copy that counts its return, so it is served alone", error.detail)
            return False
        return True

    async def give_back(self, task: Task, *, held: int, redeliveries: int) -> bool:
        """Publish a copy to the end of the work queue that counts nothing: a rejected message would be counted.

        Args:
            held: milliseconds for which the message was held for a busy model, in all.
            redeliveries: as counted until now. A quorum queue begins to count anew with the copy.

        Returns:
            False if the broker takes no copy, for example because the queue is full. The delivery is unsettled then: to
            hold it until there is room could be for ever, since nothing may be consumed meanwhile.

        Raises:
            DeliveryLost: as above.
        """
        history = replace(task.history, held=held, redeliveries=redeliveries)
        try:
            await self._replace(task, history, "held", gives_up=_NOT_TAKEN)
        except _NOT_TAKEN as error:
            self._warn(task, "its queue takes no copy, so the delivery is rejected", error.detail)
            return False
        return True

    async def _replace(
        self, task: Task, history: History, reason: str, *, gives_up: tuple[type[GatewayError], ...]
    ) -> None:
        copy = Copy.of(task.message, self._entry.queue_name, history, reason, may_expire=True, kept=task.copied_headers)
        renewed = self._renewing[copy.publish_id] = Waiters()
        try:
            exchange, key = self._entry.return_exchange, task.delivery.routing_key
            await self._publisher.publish_copy(task, copy, exchange, key, gives_up=gives_up)
            self.done(task)
        finally:
            del self._renewing[copy.publish_id]
            renewed.fire(None)

    async def when_renewed(self, task: Task) -> None:
        """Return when the delivery that this message is a copy of is acknowledged, if that is still to be done here.

        The broker may deliver a copy before it confirms it. If the copy killed the process then, its original would
        come back, too, and there would be two of the message.
        """
        copy_id = task.message.headers.get(PG_COPY)
        renewed = self._renewing.get(copy_id) if isinstance(copy_id, str) else None
        if renewed is not None:
            await renewed.wait()

    async def park(self, task: Task, reason: str, reply: Message | None = None) -> None:
        """Publish a copy to the parking queue, then the reply, if the message has a reply address.

        Args:
            reason: label of the metric, and ``pg-reason`` of the copy.
            reply: an error reply; None for no reply.

        Raises:
            DeliveryLost: as above.
        """
        parking = self._entry.parking
        kept = {**task.copied_headers, PG_PARKED_AT: int(1000 * self._wall_clock())}
        if task.results is not None:
            kept[PG_PARKED] = parking
        if task.model_error:
            kept[PG_MODEL_ERROR] = task.model_error
        if task.model_status is not None:
            kept[PG_MODEL_STATUS] = int(task.model_status)
        if not has_rquid(task.message.headers):
            kept[RQUID] = task.rquid
        copy = Copy.of(task.message, self._entry.queue_name, replace(task.history, held=0), reason, kept=kept)
        await self._publisher.publish_copy(task, copy, "", parking)
        self._remember(task)  # now: the message must not be parked twice if the reply cannot be published
        self._parked.labels(self._entry.queue_name, reason).inc()
        self._log.error(
            "{queue}: parked in {parking}: {reason}",
            parking=parking,
            reason=reason,
            **task.log_fields,
        )
        if reply is not None:
            if task.results is not None:
                reply = replace(reply, headers={**reply.headers, PG_PARKED: parking})
            await self.tell(task, reply)
        self.done(task)

    async def expire(self, task: Task, reply: Message) -> None:
        """Tell the results queue that a message is dropped whose answer would have been kept, and acknowledge it.

        Raises:
            DeliveryLost: as above.
        """
        assert task.results is not None
        try:
            await self._publisher.publish_reply(task, reply, task.results)
        except (NoRoute, PublishRefused, *TOO_LARGE) as error:
            self._warn(task, "nobody takes the word that it is expired", error.detail)
        self.done(task)

    def done(self, task: Task) -> None:
        """Acknowledge a delivery and remember its message; to be called once its reply or copy is confirmed."""
        self._remember(task)
        if not task.delivery.ack():
            self._log.info("{queue}: acknowledgement lost with its channel", **task.log_fields)

    def _remember(self, task: Task) -> None:
        if task.fingerprint is not None:
            self._settled.add(task.fingerprint)

    def _warn(self, task: Task, what: str, reason: str) -> None:
        self._log.warn("{queue}: {what}: {reason}", what=what, reason=reason, **task.log_fields)
