"""Publishes a message until the broker has taken it, over as many channels and connections as that takes.

It neither decides what is published nor acknowledges anything: :mod:`provider_gateway.provider.settlement` does.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from twisted.internet.defer import DeferredLock, TimeoutError as DeferredTimeoutError
from twisted.logger import Logger

from provider_gateway.deadlines import TimeLimit
from provider_gateway.deferreds import sleep
from provider_gateway.errors import (
    TOO_LARGE,
    BrokerBlocked,
    BrokerUnavailable,
    GatewayError,
    Nacked,
    NoRoute,
    OutcomeUnknown,
    PublishRefused,
)
from provider_gateway.provider.task import DeliveryLost
from provider_gateway.tracing.publishes import begin_copy, begin_reply

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.message.copies import Copy
    from provider_gateway.message.message import Message
    from provider_gateway.provider.task import Task
    from provider_gateway.tracing.span import Span

#: Seconds to wait for a confirm on a connection that is up. Then the message is published again, and the next wait is
#: twice as long: a queue that has lost its majority confirms late.
_CONFIRM_TIMEOUT = 60.0
#: Seconds before a message that was not taken is published again; doubled up to the last.
_FIRST_DELAY, _LAST_DELAY = 1.0, 15.0
#: Refusals after which a message counts as refused too often: refusals that it certainly caused; refusals in its turn.
_MAX_CERTAIN, _MAX_IN_TURN = 3, 10
#: Losses of the connection after which a message has a turn; losses in its turn after which a reply is given up.
_MAX_LOSSES, _MAX_LOSSES_IN_TURN = 3, 10
#: Errors over which a reply is given up. After a nack it is published again.
_REPLY_GIVES_UP = (NoRoute, PublishRefused, *TOO_LARGE)


class State(Enum):
    """What a message waits for before it is published the next time."""

    AT_ONCE = "the publisher is ready"
    AWAITING_TURN = "no other message is published in turn"
    IN_TURN = "the publisher is ready, in this message's turn"
    BACKING_OFF = "the delay is over"


class ReliablePublisher:
    """Publishes the messages that deliveries are settled with, each until it is confirmed.

    The states of a message::

           +-------------+  refused,  +---------------+  its turn   +---------+ <--. refused,
        -> |   AT_ONCE   | ---------> | AWAITING_TURN | ----------> | IN_TURN | ---' below the limit
           +-------------+  or lost   +---------------+             +---------+
              |       ^     3 times           ^                          |
              | not   | after 1, 2, 4, 8,     | if lost                  |
              | taken | 15, 15 ... s          | 3 times                  |
              v       |                       |                          |
           +-------------+--------------------'                          |
           |             |  not taken, refused too often, or lost alone  |
           | BACKING_OFF | <---------------------------------------------'
           +-------------+

    A message is published in AT_ONCE and IN_TURN, when the publisher is ready. A confirm is the end. If the message was
    not sent, or no confirm came, it stays in its state and is published again.

    Lost: the connection ended before the confirm, and the broker has not said why. Mostly, this has nothing to do with
    the message, which is published again. But a broker that fails over a message, or a network device that lets it not
    pass, ends each connection. So a message that was lost three times has its turn, too. If it is lost when no other is
    unconfirmed, it waits for longer and longer, so that others get through. A reply is given up after ten such losses.

    Refused: the broker closed channel or connection. Each message that was unconfirmed may be the cause. They are
    published again one at a time, while no other is unconfirmed, so that a message that is refused each time does not
    take the others with it. It is refused too often after three refusals that it certainly caused, or after ten in its
    turn; after one that it certainly caused, if the broker cannot read it.

    Not taken: the broker nacked the message, or returned it as unrouted; or it is larger than the broker takes. A copy
    is published until it is confirmed. A reply is given up if it is unrouted, too large or refused too often, so it is
    in BACKING_OFF only after a nack.

    Args:
        publisher: publishes a message once.
        clock: times confirms and delays.
    """

    def __init__(self, *, publisher: Publisher, clock: IReactorTime) -> None:
        self.publisher = publisher
        self.clock = clock
        self.first_confirm = TimeLimit(clock, _CONFIRM_TIMEOUT)
        #: Held by the message in state IN_TURN.
        self.turn = DeferredLock()
        #: The queue or exchange that did not take a message's copy, until the copy is confirmed.
        self.not_taking: dict[Task, str] = {}

    def waiting_for(self) -> list[str]:
        """The queues and exchanges that do not take copies."""
        return sorted(set(self.not_taking.values()))

    def publish_reply(self, task: Task, reply: Message, queue: str) -> Coroutine[Any, Any, None]:
        """Publish a reply, and wait for its confirm.

        Args:
            task: the message that it answers.

        Raises:
            NoRoute: there is no such queue.
            BodyTooLarge, HeadersTooLarge: the broker takes no message so large.
            PublishRefused: the broker closed several channels, or connections, over it.
            DeliveryLost: the broker delivers the message again, and it cannot be recognised, or did not come to us.
        """
        publishing = _Publishing(
            self, task, reply, exchange="", routing_key=queue, is_copy=False, gives_up=_REPLY_GIVES_UP
        )
        if task.span is not None and task.span.is_sampled:
            publishing.span = begin_reply(task.span, reply, queue, is_kept=task.results is not None)
        return publishing.run()

    def publish_copy(
        self,
        task: Task,
        copy: Copy,
        exchange: str,
        routing_key: str,
        *,
        gives_up: tuple[type[GatewayError], ...] = (),
    ) -> Coroutine[Any, Any, None]:
        """Publish a copy, and wait for its confirm. What it is published to is ours, and is declared again if need be.

        Args:
            task: the message that it is a copy of.
            gives_up: errors over which it is not published again; they are raised.

        Raises:
            DeliveryLost: as above.
        """
        publishing = _Publishing(
            self, task, copy, exchange=exchange, routing_key=routing_key, is_copy=True, gives_up=gives_up
        )
        if task.span is not None:
            publishing.span = begin_copy(task.span, copy, exchange, routing_key)
        return publishing.run()


class _Publishing:
    """One message on its way to its confirm, which ends its span."""

    __slots__ = (
        *("_certain", "_delay", "_exchange", "_gives_up", "_in_turn", "_is_copy", "_losses", "_message", "_patience"),
        *("_routing_key", "_shared", "_state", "_task", "span"),
    )
    _log = Logger()

    def __init__(
        self,
        shared: ReliablePublisher,
        task: Task,
        message: Message,
        *,
        exchange: str,
        routing_key: str,
        is_copy: bool,
        gives_up: tuple[type[GatewayError], ...],
    ) -> None:
        self._shared = shared
        self._task, self._message = task, message
        self._exchange, self._routing_key = exchange, routing_key
        self._is_copy, self._gives_up = is_copy, gives_up
        self._state = State.AT_ONCE
        self._patience = _CONFIRM_TIMEOUT
        self._delay = _FIRST_DELAY
        self._certain = self._in_turn = 0  # refusals since it was published at once
        self._losses = 0
        self.span: Span | None = None

    async def run(self) -> None:
        shared = self._shared
        try:
            while True:
                publisher = shared.publisher
                publish = publisher.publish_alone if self._state is State.IN_TURN else publisher.publish
                publishing = publish(self._message, self._exchange, self._routing_key)
                try:
                    first = shared.first_confirm.on(publishing) if self._patience == _CONFIRM_TIMEOUT else None
                    return await (first or publishing.addTimeout(self._patience, shared.clock))
                except DeferredTimeoutError:
                    self._patience *= 2
                except PublishRefused as error:
                    self._refused(error)
                except (NoRoute, Nacked, *TOO_LARGE) as error:
                    self._not_taken(error)
                except OutcomeUnknown as error:
                    self._lost(error)
                except (BrokerUnavailable, BrokerBlocked):
                    pass  # the state stays
                await self._until_next()
        except BaseException as error:
            if self.span is not None:
                self.span.publish_ended(error)
            raise
        finally:
            if self.span is not None:
                self.span.end()
            if self._state is State.IN_TURN:
                shared.turn.release()
            if self._is_copy:
                shared.not_taking.pop(self._task, None)

    def _refused(self, error: PublishRefused) -> None:
        self._patience = _CONFIRM_TIMEOUT
        self._certain += error.is_certain
        if error.is_certain and error.is_final:
            self._not_taken(error)
            return
        if self._state is State.AT_ONCE:
            self._state = State.AWAITING_TURN
            return
        self._in_turn += 1
        if self._certain == _MAX_CERTAIN or self._in_turn == _MAX_IN_TURN:
            self._not_taken(error)

    def _lost(self, error: OutcomeUnknown) -> None:
        if self._state is State.AT_ONCE:
            self._losses += 1
            if self._losses >= _MAX_LOSSES:
                self._state = State.AWAITING_TURN
        elif error.is_alone:
            self._losses += 1
            if not self._is_copy and self._losses == _MAX_LOSSES + _MAX_LOSSES_IN_TURN:
                msg = "The connection to the broker was lost each time that the message was sent."
                raise PublishRefused(msg)
            if self._losses > _MAX_LOSSES:
                self._wait(error)

    def _not_taken(self, error: GatewayError) -> None:
        if isinstance(error, self._gives_up):
            raise error
        self._wait(error)

    def _wait(self, error: GatewayError) -> None:
        self._log.warn(
            "{queue}: {what}: {reason}",
            what="the message is kept" if self._is_copy else "the reply waits",
            reason=error.detail,
            **self._task.log_fields,
        )
        if self._is_copy:
            self._shared.not_taking[self._task] = self._exchange or self._routing_key
        if self._state is State.IN_TURN:
            self._shared.turn.release()
        self._state = State.BACKING_OFF
        self._patience = _CONFIRM_TIMEOUT
        self._certain = self._in_turn = 0

    async def _until_next(self) -> None:
        """Return when the message may be published again: in state AT_ONCE or IN_TURN."""
        if self._state is State.BACKING_OFF:
            await self._back_off()
            if self._losses < _MAX_LOSSES:
                self._state = State.AT_ONCE
                return
            self._state = State.AWAITING_TURN
        if self._state is State.AWAITING_TURN:
            await self._shared.turn.acquire()
            self._state = State.IN_TURN
        await self._shared.publisher.when_ready()
        self._check_delivery(was_lost=False)

    async def _back_off(self) -> None:
        was_lost = self._task.delivery.is_lost
        await sleep(self._shared.clock, self._delay)
        self._delay = min(2 * self._delay, _LAST_DELAY)
        self._check_delivery(was_lost=was_lost)
        if self._is_copy:
            await self._shared.publisher.restore()

    def _check_delivery(self, *, was_lost: bool) -> None:
        """Give the message up if it is delivered again as one that we do not know.

        Args:
            was_lost: the delivery was lost before the delay; if it still is, the redelivery did not come to us.
        """
        if self._task.delivery.is_lost and (was_lost or self._task.fingerprint is None):
            raise DeliveryLost
