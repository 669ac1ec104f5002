"""Moves replies that nobody waits for any more from the queue of this instance to the results queue.

There they are stored. So a store that is away never holds up the replies that somebody waits for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.logger import Logger

from provider_gateway.deferreds import InFlight, sleep
from provider_gateway.errors import TOO_LARGE, GatewayError, NoRoute, PublishRefused
from provider_gateway.message.ids import rquid_of
from provider_gateway.message.message import PG_COPY, Message
from provider_gateway.message.properties import CopiedProperties, decoded

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.consumer import Delivery
    from provider_gateway.amqp.publisher import Publisher

#: Seconds to wait for a confirm. Then the reply is published again.
_CONFIRM_TIMEOUT = 60.0
#: Seconds before a reply that was not taken is published again; doubled up to the last.
_FIRST_DELAY, _LAST_DELAY = 0.5, 15.0


#: Refusals by which the broker closed the channel, after which a reply is dropped: each may cost others their confirm.
_MAX_REFUSALS = 5
#: Not forwarded (lower case): headers that the broker routes by, or has added, and those of a copy.
_NOT_FORWARDED = frozenset({"cc", "bcc", "x-death", "x-delivery-count", "x-acquired-count", PG_COPY})
_NOT_FORWARDED_PREFIXES = ("x-first-death-", "x-last-death-")


def _forwarded(name: str) -> bool:
    return name not in _NOT_FORWARDED and not name.startswith(_NOT_FORWARDED_PREFIXES)


class _Forwarded(Message):
    """A reply as it arrived, with a message id of ours."""

    __slots__ = ()

    def properties(self) -> bytes:
        """Encode the AMQP properties: those that arrived, as far as a message that is published again may have them."""
        assert self.original is not None
        assert self.message_id is not None
        original = decoded(self.original)
        return b"".join(CopiedProperties(original, self.message_id, {}, original.headers_that(_forwarded)).encode())


class LateReplies:
    """Publishes late replies to the results queue, each until it is confirmed, and then acknowledges it.

    Args:
        queue: the results queue.
        max_held: bytes of replies that are held at a time. What is more is given back when there is room.
        kept: a Deferred for an id that fires when its record, which is being made, is committed; None if none is being
            made.
        clock: times confirms and delays.
    """

    _log = Logger()

    def __init__(
        self,
        publisher: Publisher,
        queue: str,
        *,
        max_held: int,
        kept: Callable[[str], Deferred[None] | None],
        clock: IReactorTime,
    ) -> None:
        self._publisher = publisher
        self._queue = queue
        self._max_held = max_held
        self._kept = kept
        self._clock = clock
        self._held = 0
        self._left_out: list[Delivery] = []
        self._working = InFlight(lambda f: self._log.failure("A late reply cannot be forwarded", f))

    def forward(self, delivery: Delivery) -> None:
        """Forward a delivery. It is acknowledged when the broker has confirmed it."""
        size = len(delivery.message.body)
        if self._held and self._held + size > self._max_held:
            # To give it back now would bring it at once again.
            delivery.message.body = b""
            self._left_out.append(delivery)
            return
        self._held += size
        self._working.start(self._forward(delivery, size))

    def empty(self) -> Deferred[None]:
        """A Deferred that fires when nothing is being forwarded."""
        return self._working.empty()

    def cancel(self) -> None:
        """Forward nothing more. What is not acknowledged is delivered or dead-lettered by the broker."""
        self._working.cancel()

    async def _forward(self, delivery: Delivery, size: int) -> None:
        try:
            kept = self._kept(delivery.message.correlation_id or "")
            if kept is not None:
                await kept
            if await self._is_taken(delivery):
                delivery.ack()
        finally:
            self._held -= size
            if self._held <= self._max_held // 2:
                left_out, self._left_out = self._left_out, []
                for each in left_out:
                    each.give_back()

    async def _is_taken(self, delivery: Delivery) -> bool:
        """Publish a reply until it is confirmed. Returns False if its delivery is lost before: it will come again."""
        reply, delay, refusals = delivery.message, _FIRST_DELAY, 0
        while not delivery.is_lost:
            await self._publisher.when_ready()
            copy = _Forwarded(body=reply.body, original=reply.original)
            try:
                await self._publisher.publish(copy, "", self._queue).addTimeout(_CONFIRM_TIMEOUT, self._clock)
            except DeferredTimeoutError:
                continue
            except TOO_LARGE as error:
                self._warn("A late reply is dropped: {reason}", delivery, error)
                return True
            except GatewayError as error:
                refusals += isinstance(error, PublishRefused)
                if refusals >= _MAX_REFUSALS:
                    self._warn("A late reply is dropped: {reason}", delivery, error)
                    return True
                self._warn("A late reply is published again: {reason}", delivery, error)
                if isinstance(error, NoRoute):
                    await self._publisher.restore()
                await sleep(self._clock, delay)
                delay = min(2 * delay, _LAST_DELAY)
            else:
                return True
        return False

    def _warn(self, text: str, delivery: Delivery, error: GatewayError) -> None:
        self._log.warn(
            text,
            reason=error.detail,
            rquid=rquid_of(delivery.message.headers),
            correlation_id=delivery.message.correlation_id,
        )
