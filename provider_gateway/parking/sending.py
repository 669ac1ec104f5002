"""Sends parked messages to their work queues again: each is acknowledged once the broker has confirmed its copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import DeferredLock, TimeoutError as DeferredTimeoutError, race

from provider_gateway.amqp.publisher import Publisher
from provider_gateway.config.short_strings import SHORT_STRING_BYTES
from provider_gateway.deferreds import InFlight, Waiters
from provider_gateway.errors import BrokerBlocked, BrokerUnavailable, GatewayError, OutcomeUnknown, PublishRefused
from provider_gateway.message.copies import PG_DROPPED, PG_QUEUE, PG_REPLAYS, Copy, History
from provider_gateway.message.message import (
    MAX_IDENTITY,
    PG_COPY,
    PG_IDENTITY,
    PG_OWNER,
    PG_PARKED,
    PG_PARKED_AT,
    PG_PUBLISHED,
    PG_REASON,
    PG_RESULTS,
    Message,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from provider_gateway.amqp.message_channel import Content
    from provider_gateway.amqp.session import Session
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.parking.parked_message import ParkedMessage
    from provider_gateway.parking.places import ParkingPlace

#: Copies that may be unconfirmed at a time, and bytes of them.
WINDOW, _WINDOW_BYTES = 100, 16 * 2**20
#: Seconds to wait for a confirm.
_CONFIRM_TIMEOUT = 60.0
#: Reason of copies.
REPLAYED = "replayed"
#: Of a request whose answer is kept: what its record is found by, and made of.
_OF_KEPT = (PG_RESULTS, PG_OWNER, PG_PUBLISHED, PG_PARKED)
#: Of a parked webhook: what it had no need of before.
_OF_PARKED = frozenset({PG_REASON, PG_PARKED_AT, PG_QUEUE, PG_COPY})


def copy_of(content: Content, message: ParkedMessage, place: ParkingPlace, reply_prefix: str) -> Message:
    """The message that is published in place of a parked one: it begins anew, with its first attempt.

    The caller of an HTTP request that is not kept had its error when the message was parked, and waits no more: nobody
    is replied to.

    Args:
        reply_prefix: see :func:`.reply_addresses.reply_prefix`: names of the gateways' reply queues begin with it.
    """
    original = Message.received(content.properties, content.body)
    headers, replays = original.headers, message.replays + 1
    if place.webhooks:
        told = {name: value for name, value in headers.items() if name not in _OF_PARKED}
        return Message(original.body, {**told, PG_REPLAYS: replays}, correlation_id=original.correlation_id)
    is_kept = isinstance(headers.get(PG_RESULTS), str)
    kept: dict[str, Any] = {name: headers[name] for name in _OF_KEPT if is_kept and name in headers}
    if message.identity is not None:
        kept[PG_IDENTITY] = message.identity[:MAX_IDENTITY]
    reply_to, dropped = original.reply_to, headers.get(PG_DROPPED)
    is_of_gateway = isinstance(reply_to, str) and reply_to.startswith(f"{reply_prefix}.")
    history = History(
        dropped=dropped if isinstance(dropped, str) else "",
        is_answered=is_of_gateway and not is_kept,
        replays=replays,
        routing_key=routing_key(message, place),
    )
    return Copy.of(original, place.queue, history, REPLAYED, kept=kept)


def routing_key(message: ParkedMessage, place: ParkingPlace) -> str:
    """The routing key to send a message with: that of its first delivery, if it is known."""
    if place.routing_key is not None:
        return place.routing_key
    key = message.routing_key
    is_known = key != place.parking.name and len(key.encode()) <= SHORT_STRING_BYTES
    return key if is_known else place.usual_key


class Sending:
    """Sends messages of one parking queue, several at a time.

    Args:
        session: to publish on; another one than messages are read from, which may be paused.
        on_outcome: called with each message, and with the error if it could not be published. Without an error, it has
            to be acknowledged.

    Attributes:
        lost: why no more can be sent: the connection is gone, or nothing is confirmed.
    """

    def __init__(
        self,
        session: Session,
        place: ParkingPlace,
        *,
        reply_prefix: str,
        on_outcome: Callable[[Content, ParkedMessage, GatewayError | None], object],
        clock: IReactorTime,
        metrics: Metrics,
    ) -> None:
        self._session = session
        self._place = place
        self._reply_prefix = reply_prefix
        self._on_outcome = on_outcome
        self._clock = clock
        self._publisher = Publisher(_nothing, max_unsent=_WINDOW_BYTES, clock=clock, metrics=metrics)
        self._alone = DeferredLock()
        self._running = InFlight(self._broken)
        #: Messages that may be unconfirmed: few at first, so that a wrong exchange concerns one only.
        self._window = 1
        self._bytes = 0
        self._settled: Waiters[None] = Waiters()
        self.lost: GatewayError | None = None
        self._defect: Failure | None = None

    async def open(self) -> None:
        """Open the channel to publish on.

        Raises:
            AMQPError, ConnectionLost: it cannot be opened.
        """
        await self._publisher.open(self._session)

    async def send(self, content: Content, message: ParkedMessage) -> None:
        """Begin to send a message; returns when there is room for it.

        Raises:
            GatewayError: nothing can be sent any more.
        """
        while self._running and (len(self._running) >= self._window or self._bytes > _WINDOW_BYTES):
            await self._settled.wait()
        self._check()
        self._running.start(self._send(content, message))

    async def finish(self) -> None:
        """Wait until all that was begun is settled, in one way or another. Raises as :meth:`send`."""
        while self._running:
            await self._settled.wait()
        self._check()

    def close(self) -> None:
        """Send no more. To be called when all is settled."""
        self._publisher.close()

    def _check(self) -> None:
        if self._defect is not None:
            self._defect.raiseException()
        if self.lost is not None:
            raise self.lost

    async def _send(self, content: Content, message: ParkedMessage) -> None:
        size = len(content.body)
        self._bytes += size
        try:
            error = await self._published(content, message)
            if self.lost is None:
                self._window = 1 if error is not None else min(WINDOW, 2 * self._window)
                self._on_outcome(content, message, error)
        finally:
            self._bytes -= size
            # After this coroutine has ended, so that those who wait see that there is room.
            self._clock.callLater(0, self._settled.fire, None)

    async def _published(self, content: Content, message: ParkedMessage) -> GatewayError | None:
        """Publish a copy. Returns the error of a message that the broker does not take."""
        while self.lost is None:
            copy = copy_of(content, message, self._place, self._reply_prefix)
            try:
                await self._try(self._publisher.publish(copy, self._place.exchange, routing_key(message, self._place)))
            except (BrokerBlocked, BrokerUnavailable):
                await self._until_ready()
            except OutcomeUnknown as error:
                if isinstance(error, PublishRefused) and error.is_certain:
                    return error
                # Another one was refused, and took this one with it. Sent alone, it is to blame for itself.
                return await self._published_alone(content, message)
            except GatewayError as error:
                return error
            else:
                return None
        return self.lost

    async def _published_alone(self, content: Content, message: ParkedMessage) -> GatewayError | None:
        await self._alone.acquire()
        try:
            await self._until_ready()
            if self.lost is not None:
                return self.lost
            copy = copy_of(content, message, self._place, self._reply_prefix)
            key = routing_key(message, self._place)
            await self._try(self._publisher.publish_alone(copy, self._place.exchange, key))
        except GatewayError as error:
            return error
        finally:
            self._alone.release()
        return None

    async def _try(self, publishing: Any) -> None:
        try:
            await publishing.addTimeout(_CONFIRM_TIMEOUT, self._clock)
        except DeferredTimeoutError:
            self.lost = OutcomeUnknown(f"The broker confirms nothing for {_CONFIRM_TIMEOUT:g} s.")
            raise self.lost from None

    async def _until_ready(self) -> None:
        """Wait until something can be published, or the connection is lost."""
        if self._session.is_open:
            either: list[Deferred[Any]] = [self._publisher.when_ready(), self._session.when_lost()]
            await race(either)
        if not self._session.is_open and self.lost is None:
            self.lost = BrokerUnavailable("The connection to the broker was lost.")

    def _broken(self, failure: Failure) -> None:
        self._defect = failure


async def _nothing(_session: Session) -> None:
    """Nothing is to be declared: what is published to exists, or the message is returned."""
