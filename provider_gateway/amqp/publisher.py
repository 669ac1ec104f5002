"""Publishes messages as mandatory and with publisher confirms, and reports the outcome of each.

A returned message is recognised by its ``publish_id``. RabbitMQ sends a message's return before its confirm (RabbitMQ
guide, "Publisher Confirms"). So the outcome is decided when the confirm arrives.
"""

from __future__ import annotations

from functools import cache, partial
from itertools import takewhile
from typing import TYPE_CHECKING

from pika.exceptions import AMQPError
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from provider_gateway.amqp.alone import Alone
from provider_gateway.amqp.channels import channels_needed
from provider_gateway.amqp.fitting import fitted
from provider_gateway.amqp.outcomes import Publish, Refusal, Returned, body_too_large, outcomes_at_end, unsendable
from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.deferreds import InFlight, Waiters, shield, sleep
from provider_gateway.errors import (
    TOO_LARGE,
    BrokerBlocked,
    BrokerUnavailable,
    GatewayError,
    Nacked,
    NoRoute,
    TopologyError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.message_channel import MessageChannel
    from provider_gateway.amqp.outbox import Outbox
    from provider_gateway.amqp.session import Session
    from provider_gateway.message.message import Message
    from provider_gateway.observability.metrics import Metrics


#: Seconds before a closed channel is opened again; doubled up to the last, until a message is confirmed.
_FIRST_DELAY, _LAST_DELAY = 0.1, 15.0
#: Seconds between two new channels because of refused messages, at least.
_RENEWAL = 10.0


class Publisher:
    """Publishes on the newest session that it was opened on.

    Args:
        declare: declares what is published to; called each time before a channel is opened.
        max_unsent: bytes that may wait to be sent. With more, publishes fail.
        max_stalled: likewise while the broker takes nothing; None for the same number.
        clock: times the attempts to open a channel again.
        metrics: counts ``published_total`` by outcome.
    """

    _log = Logger()

    def __init__(
        self,
        declare: Callable[[Session], Awaitable[None]],
        *,
        max_unsent: int,
        max_stalled: int | None = None,
        clock: IReactorTime,
        metrics: Metrics,
    ) -> None:
        self._declare = declare
        self._max_unsent = max_unsent
        self._max_stalled = max_unsent if max_stalled is None else max_stalled
        self._clock = clock
        # A look-up of labels costs 2 µs. There are as many as exchanges and outcomes.
        self._published = cache(metrics.published.labels)
        self._reopen_delay = _FIRST_DELAY
        self._reopening = InFlight(lambda f: self._log.failure("The publishing channel cannot be reopened", f))
        self._session: Session | None = None
        self._channel: MessageChannel | None = None
        self._renews_at = 0.0
        self._returned = Returned()
        self._unconfirmed: dict[int, Publish] = {}
        self._restoring = False
        self._waiting_to_publish: Waiters[None] = Waiters()
        self._alone = Alone(lambda: not self._unconfirmed, clock)

    async def open(self, session: Session) -> None:
        """Open a channel with confirms on a session, and publish on it from now on.

        Raises:
            TopologyError: the broker refused a declaration.
            AMQPError: the broker closed the channel.
            ConnectionLost: the connection is gone.
        """
        session.channels.require(channels_needed(1))
        await self._declare(session)
        self._use(session, await self._new_channel(session))

    async def _new_channel(self, session: Session) -> MessageChannel:
        channel = await session.message_channel()
        await shield(channel.channel.confirm_delivery())
        return channel

    def _use(self, session: Session, channel: MessageChannel) -> None:
        """Publish on this channel from now on."""
        self._returned = Returned()
        unconfirmed = self._unconfirmed = {}
        channel.on_return = self._returned.remember
        channel.on_confirm = partial(self._confirm, unconfirmed)
        channel.channel.on_closed.addCallback(self._closed, session, unconfirmed)
        self._session, self._channel = session, channel
        session.on_unblocked = self._tell_waiting
        self._tell_waiting()

    async def _renew(self) -> None:
        """Publish on a new channel, unless confirms are missing.

        Before RabbitMQ 4.0, what a quorum queue has refused to a channel it refuses to it for ever, although its limit
        was raised or taken away meanwhile (rabbitmq-server issue 12206).
        """
        former, session = self._channel, self._session
        if former is None or session is None or self._unconfirmed:
            return
        try:
            channel = await self._new_channel(session)
        except (AMQPError, ConnectionLost) as error:
            self._log.warn("No new publishing channel can be opened: {reason}", reason=str(error))
            return
        if self._channel is former and not self._unconfirmed:
            self._use(session, channel)
            channel = former
        if channel.is_open:
            channel.channel.close()

    @property
    def is_ready(self) -> bool:
        """True if a message can be sent now."""
        channel, session = self._channel, self._session
        if channel is None or not channel.is_open or session is None:
            return False
        return not session.blocked and not self._is_slow(session.outbox)

    def _is_slow(self, outbox: Outbox) -> bool:
        """True if too much waits for the broker. A burst of ours, which it is taking, may be larger."""
        return outbox.unsent > self._max_stalled and (outbox.is_stalled or outbox.unsent > self._max_unsent)

    async def restore(self) -> None:
        """Declare once more what is published to, since an exchange or queue is missing. Failures are logged."""
        session = self._session
        if session is None or self._restoring:
            return
        self._restoring = True
        try:
            await self._declare(session)
        except (TopologyError, AMQPError, ConnectionLost) as error:
            self._log.warn("What is published to cannot be declared: {reason}", reason=str(error))
        finally:
            self._restoring = False

    def when_ready(self) -> Deferred[None]:
        """A Deferred that fires when a message can be sent (at once, if it can be now)."""
        return succeed(None) if self.is_ready else self._waiting_to_publish.wait()

    def publish(self, message: Message, exchange: str, routing_key: str) -> Deferred[None]:
        """Publish one message, persistent and mandatory.

        Args:
            message: has a ``publish_id`` that no other unconfirmed message has.
            exchange: the empty string is the default exchange.

        Returns:
            A Deferred that fires when the broker has confirmed the message. Cancelling it does not stop the message. It
            fails with:
            :class:`BrokerUnavailable`, :class:`BrokerBlocked`: nothing was sent;
            :class:`NoRoute`: the message was returned as unrouted, or there is no such exchange;
            :class:`Nacked`: the broker nacked the message, for example because a queue is full;
            :class:`BodyTooLarge`: the body is over the broker's ``max_message_size``;
            :class:`HeadersTooLarge`: the properties do not fit a frame;
            :class:`PublishRefused`: the broker closed channel or connection over this or another unconfirmed message;
            :class:`OutcomeUnknown`: the connection was lost before the confirm.
        """
        channel, session = self._channel, self._session
        # is_open: when the channel closes, others may be told before _closed is called, and may publish.
        if channel is None or session is None or not channel.is_open:
            return fail(BrokerUnavailable("The connection to the broker is down; it is being opened again."))
        if session.blocked:
            return fail(BrokerBlocked("The broker is short of memory or disk space and accepts no messages."))
        outbox = session.outbox
        if outbox.unsent > self._max_stalled and self._is_slow(outbox):
            return fail(BrokerBlocked("The broker is too slow in taking messages."))
        if self._alone.holds:
            return self._alone.hold(partial(self.publish, message, exchange, routing_key))
        size = len(message.body)
        try:
            if size > session.max_body:
                raise body_too_large(size, session.max_body)
            properties = message.properties()
            if len(properties) > channel.max_properties:
                properties = fitted(message, channel.max_properties)
            tag = channel.publish(exchange, routing_key, properties, message.body)
        except (*TOO_LARGE, AMQPError) as error:
            return fail(error if isinstance(error, GatewayError) else unsendable(error))
        confirm: Deferred[None] = Deferred()
        self._unconfirmed[tag] = Publish(confirm, message.publish_id, exchange, routing_key, size, message.span)
        return confirm

    def publish_alone(self, message: Message, exchange: str, routing_key: str) -> Deferred[None]:
        """Publish one message while no other is unconfirmed. If it is refused, then certainly for its own sake.

        Args, Returns: as above. To be called for one message at a time.
        """
        return Deferred.fromCoroutine(self._alone.publish(partial(self.publish, message, exchange, routing_key)))

    def _confirm(self, unconfirmed: dict[int, Publish], tag: int, is_multiple: bool, is_positive: bool) -> None:
        # The tags are in ascending order.
        for each in list(takewhile(tag.__ge__, unconfirmed)) if is_multiple else [tag]:
            publish = unconfirmed.pop(each, None)
            if publish is not None:
                self._end(publish, *self._outcome(publish, is_positive))
        if self._alone.holds and not unconfirmed:
            self._alone.quiet()

    def _outcome(self, publish: Publish, is_positive: bool) -> tuple[str, GatewayError | None]:
        """The outcome that a confirm means: the metric's label, and the error if it is one."""
        exchange, key = publish.exchange, publish.routing_key
        if not is_positive:
            self._refused()
            return "nacked", Nacked(f"The broker refused the message for {key!r}: probably a queue is full.")
        if self._returned and self._returned[publish.publish_id]:
            # A counter, not a set: a message without a confirm is published again, and may be returned twice.
            msg = f"The broker returned the message: no queue is bound for {key!r} at exchange {exchange!r}."
            return "returned", NoRoute(msg)
        self._reopen_delay = _FIRST_DELAY
        return "confirmed", None

    def _end(self, publish: Publish, outcome: str, error: GatewayError | None) -> None:
        self._published(publish.exchange, outcome).inc()
        if error is not None:
            self._returned.forget(publish.publish_id)
        if publish.span is not None:
            publish.span.publish_ended(error)
        confirm = publish.confirm
        if confirm.called:
            return  # cancelled, perhaps by a timeout
        if error is None:
            confirm.callback(None)
        else:
            confirm.errback(error)

    def _refused(self) -> None:
        """Have the channel replaced when no message is unconfirmed: others wait until then."""
        now = self._clock.seconds()
        if now >= self._renews_at and not self._alone.holds:
            self._renews_at = now + _RENEWAL
            self._reopening.start(self._alone.publish(lambda: Deferred.fromCoroutine(self._renew())))

    def _closed(self, reason: Exception, session: Session, unconfirmed: dict[int, Publish]) -> None:
        if self._unconfirmed is unconfirmed:
            self._channel = self._session = None
            if session.is_open:
                # For example: the exchange is missing, the user has no permission, a message is too large.
                self._log.warn("The publishing channel was closed: {reason}", reason=str(reason))
                self._reopening.start(self._reopen(session))
        refusal = Refusal.told_by(reason)
        if refusal is not None and refusal.max_body is not None:
            # Further bodies over it are not sent: each would end the channel for all messages on it.
            session.max_body = refusal.max_body
        publishes = list(unconfirmed.values())
        unconfirmed.clear()
        for publish, outcome, error in outcomes_at_end(publishes, refusal):
            # A return comes before its confirm, and says enough.
            returned = self._returned[publish.publish_id]
            self._end(publish, *(self._outcome(publish, True) if returned else (outcome, error)))
        self._alone.quiet()

    async def _reopen(self, session: Session) -> None:
        while session.is_open:
            # The delay grows until a confirm: a message that is always refused must not keep the process busy.
            await sleep(self._clock, self._reopen_delay)
            self._reopen_delay = min(2 * self._reopen_delay, _LAST_DELAY)
            try:
                await self.open(session)
            except (TopologyError, AMQPError, ConnectionLost) as error:
                self._log.warn("The publishing channel cannot be opened: {reason}", reason=str(error))
            else:
                self._log.info("The publishing channel is open again")
                return

    def close(self) -> None:
        """Open no further channel."""
        self._reopening.cancel()

    def _tell_waiting(self) -> None:
        if self.is_ready:
            self._waiting_to_publish.fire(None)
