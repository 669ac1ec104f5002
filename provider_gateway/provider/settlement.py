"""The end of a delivery: its reply, its copy for another attempt, or its place in the parking queue; then its ack.

Nothing is acknowledged before what takes its place is confirmed, however long that takes. What was confirmed is
remembered, so that a message whose acknowledgement was lost is acknowledged when it comes again, and not run again.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.logger import Logger

from provider_gateway.deadlines import TimeLimit
from provider_gateway.deferreds import sleep
from provider_gateway.errors import (
    BrokerBlocked,
    BrokerUnavailable,
    ModelFailure,
    Nacked,
    NoRoute,
    OutcomeUnknown,
    PublishRefused,
)
from provider_gateway.message.copies import Copy, History
from provider_gateway.provider.task import DeliveryLost
from provider_gateway.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.message.message import Message
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.provider.task import Task

#: Seconds before what the broker refused (a queue is full, or gone) is published again; doubled up to the last.
_FIRST_DELAY, _LAST_DELAY = 1.0, 15.0
#: Seconds to wait for a confirm on a connection that is up; then it is published again, and waited for twice as long.
_CONFIRM_TIMEOUT = 60.0
#: Channels that the broker may close over a message, or while it is one of several, before something else is tried.
_MAX_REFUSALS, _MAX_SUSPICIONS = 3, 10
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

    def __init__(self, entry: QueueEntry, publisher: Publisher, clock: IReactorTime, metrics: Metrics) -> None:
        self._entry = entry
        self._publisher = publisher
        self._clock = clock
        self._retried = metrics.retried
        self._parked = metrics.parked
        self._first_confirm = TimeLimit(clock, _CONFIRM_TIMEOUT)
        self._settled = Recent(_REMEMBERED)
        self._stuck: Counter[str] = Counter()

    def waiting_for(self) -> list[str]:
        """The queues that do not take what has to go there."""
        return sorted(name for name, count in self._stuck.items() if count)

    def is_settled(self, task: Task) -> bool:
        """True if this very message was settled, and only its acknowledgement was lost."""
        return task.identity is not None and task.identity in self._settled

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
                await self._offer(task, reply, address)
            except PublishRefused as error:
                self._warn(task, "the reply is refused", error.detail)
                stand_in = refused(ModelFailure("The broker does not take the model's answer.", "refused"))
                await self._offer(task, stand_in, address)
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
        await self._copy(task, Copy.of(task.message, self._entry.queue_name, history, reason), exchange, routing_key)
        self._retried.labels(self._entry.queue_name, reason).inc()
        self.done(task)

    async def renew(self, task: Task) -> None:
        """Replace a message that came back unacknowledged by a copy that counts this, at the end of its queue.

        Raises:
            DeliveryLost: as above.
        """
        history = History(task.history.attempt, task.history.redeliveries + 1)
        copy = Copy.of(task.message, self._entry.queue_name, history, "redelivered", may_expire=True)
        await self._copy(task, copy, self._entry.return_exchange, task.delivery.routing_key)
        self.done(task)

    async def park(self, task: Task, reason: str, reply: Message | None = None) -> None:
        """Put the message into the parking queue, and tell the output channel, if there is one.

        Args:
            reply: the error for the output channel.

        Raises:
            DeliveryLost: as above.
        """
        parking = self._entry.parking
        await self._copy(task, Copy.of(task.message, self._entry.queue_name, task.history, reason), "", parking)
        self._remember(task)  # it has its end; the error that is still to be told is no reason to begin anew
        self._parked.labels(self._entry.queue_name, reason).inc()
        self._log.error(
            "{queue}: parked in {parking}: {reason}",
            queue=self._entry.queue_name,
            parking=parking,
            reason=reason,
            rquid=task.rquid,
            correlation_id=task.message.correlation_id,
            message_id=task.message.message_id,
        )
        address = self.address(task)
        if reply is not None and address is not None:
            try:
                await self._offer(task, reply, address)
            except (NoRoute, PublishRefused) as error:
                self._warn(task, "nobody takes the error", error.detail)
        self.done(task)

    def done(self, task: Task) -> None:
        """Acknowledge a delivery, now that what takes its place is confirmed, and remember it."""
        self._remember(task)
        if not task.delivery.ack():
            self._log.info(
                "{queue}: acknowledgement lost with its channel", queue=self._entry.queue_name, rquid=task.rquid
            )

    def _remember(self, task: Task) -> None:
        if task.identity is not None:
            self._settled.add(task.identity)

    async def _offer(self, task: Task, reply: Message, address: str) -> None:
        """Publish a reply; wait while its queue is full.

        Raises:
            NoRoute, PublishRefused, DeliveryLost: see :meth:`_publish`.
        """
        if not isinstance(address, str):
            msg = "The reply address is not UTF-8."
            raise NoRoute(msg)
        delay = _FIRST_DELAY
        while True:
            try:
                return await self._publish(task, reply, "", address)
            except NoRoute:
                if address.startswith(_DIRECT_REPLY_TO):
                    return None  # the broker delivers these, and returns them all the same
                raise
            except Nacked as error:
                self._warn(task, "the reply waits", error.detail)
            delay = await self._pause(task, delay)

    async def _copy(self, task: Task, copy: Copy, exchange: str, routing_key: str) -> None:
        """Publish a copy, however often that takes: it is our own queue that it goes to, and it must be there.

        Raises:
            DeliveryLost: see :meth:`_publish`.
        """
        delay, name = _FIRST_DELAY, exchange or routing_key
        stuck = 0
        try:
            while True:
                try:
                    return await self._publish(task, copy, exchange, routing_key)
                except (NoRoute, Nacked, PublishRefused) as error:
                    self._warn(task, "the message is kept", error.detail)
                if not stuck:
                    stuck = 1
                    self._stuck[name] += 1
                delay = await self._pause(task, delay)
                await self._publisher.restore()
        finally:
            self._stuck[name] -= stuck

    async def _pause(self, task: Task, delay: float) -> float:
        """Sleep before another try of what was refused; returns how long to sleep the next time.

        Raises:
            DeliveryLost: the delivery was lost before, and its redelivery did not come to us meanwhile.
        """
        was_lost = task.delivery.is_lost
        await sleep(self._clock, delay)
        if task.delivery.is_lost and (was_lost or task.identity is None):
            raise DeliveryLost
        return min(2 * delay, _LAST_DELAY)

    async def _publish(self, task: Task, message: Message, exchange: str, routing_key: str) -> None:
        """Publish until the broker says something about it, over as many connections as that takes.

        Raises:
            NoRoute, Nacked: no such queue; a full one.
            PublishRefused: several channels in a row were closed over it.
            DeliveryLost: meanwhile the broker delivers the message again, and we could not know it again.
        """
        refusals = suspicions = 0
        try:
            return await self._attempt(task, message, exchange, routing_key)
        except PublishRefused as error:
            refusals += error.is_certain
        await self._when_ready(task)
        # Those that were on the channel with it are suspects, too; apart from each other, it shows who is to blame.
        await self._publisher.one_suspect.acquire()
        try:
            while True:
                try:
                    return await self._attempt(task, message, exchange, routing_key)
                except PublishRefused as error:
                    refusals += error.is_certain
                    suspicions += 1
                    if refusals == _MAX_REFUSALS or suspicions == _MAX_SUSPICIONS:
                        raise
                await self._when_ready(task)
        finally:
            self._publisher.one_suspect.release()

    async def _attempt(self, task: Task, message: Message, exchange: str, routing_key: str) -> None:
        """Publish until the broker says something about it, or closes the channel over a message.

        Raises:
            NoRoute, Nacked, PublishRefused, DeliveryLost: as above.
        """
        patience = _CONFIRM_TIMEOUT
        while True:
            publishing = self._publisher.publish(message, exchange, routing_key)
            try:
                if patience == _CONFIRM_TIMEOUT:
                    return await self._first_confirm.on(publishing)
                return await publishing.addTimeout(patience, self._clock)
            except PublishRefused:
                raise
            except (BrokerUnavailable, BrokerBlocked, OutcomeUnknown):
                pass  # it comes back
            except DeferredTimeoutError:
                patience *= 2  # the confirm may be owed still, by a queue without its majority
            await self._when_ready(task)

    async def _when_ready(self, task: Task) -> None:
        """Return when the publisher is ready again.

        Raises:
            DeliveryLost: meanwhile the broker delivers the message again, and we could not know it again.
        """
        await self._publisher.when_ready()
        if task.delivery.is_lost and task.identity is None:
            raise DeliveryLost

    def _warn(self, task: Task, what: str, reason: str) -> None:
        self._log.warn(
            "{queue}: {what}: {reason}",
            queue=self._entry.queue_name,
            what=what,
            reason=reason,
            rquid=task.rquid,
            correlation_id=task.message.correlation_id,
        )
