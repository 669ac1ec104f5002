"""Moves replies that nobody waits for any more from the queue of this instance to the results queue.

There they are stored. So a store that is away never holds up the replies that somebody waits for.
"""

from __future__ import annotations

from collections import deque
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
#: Replies that are published at a time.
_AT_ONCE = 200
#: Replies whose bodies are held at most. The bodies have a limit of their own.
_MOST_HELD = 5_000
#: Replies that are left unacknowledged at most, without their bodies: some 40 MB. The broker dead-letters what is more.
_MOST_LEFT_OUT = 100_000
#: So many unacknowledged replies of one consumer are many: well below the prefetch of a reply queue.
_MANY = 400

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


#: What is kept of the message of a reply that is left out.
_NOTHING = Message(b"")


class LateReplies:
    """Publishes late replies to the results queue, each until it is confirmed, and then acknowledges it.

    While the results queue takes none, late replies stay unacknowledged. They count for the prefetch of their consumer,
    which must not run out: replies that a caller waits for come from the same queue.

    Args:
        queue: the results queue.
        max_held: bytes of replies that are held at a time. What is more is given back when there is room.
        kept: a Deferred for an id that fires when its record, which is being made, is committed; None if none is being
            made.
        clock: times confirms and delays.

    Attributes:
        on_many: called when many late replies are unacknowledged: their consumer must be replaced by one with room.
            Whoever consumes the queue that they come from sets it.
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
        self.on_many: Callable[[], object] = lambda: None
        self._clock = clock
        #: Bytes of the bodies of all that is forwarded or waits for that.
        self._held = 0
        self._waiting: deque[Delivery] = deque()
        self._left_out: list[Delivery] = []
        #: Those that are unacknowledged and came since the last call of ``on_many``.
        self._recent: set[Delivery] = set()
        self._is_dead_lettering = False
        self._working = InFlight(lambda f: self._log.failure("A late reply cannot be forwarded", f))

    def forward(self, delivery: Delivery) -> None:
        """Forward a delivery. It is acknowledged when the broker has confirmed it."""
        self._forget_lost()
        if len(self._left_out) >= _MOST_LEFT_OUT:
            self._dead_letter(delivery)
            return
        self._recent.add(delivery)
        size, count = len(delivery.message.body), len(self._working) + len(self._waiting)
        if count >= _MOST_HELD or (self._held and self._held + size > self._max_held):
            # To give it back now would bring it at once again.
            delivery.message = _NOTHING
            self._left_out.append(delivery)
        else:
            self._held += size
            if len(self._working) < _AT_ONCE:
                self._working.start(self._work(delivery))
            else:
                self._waiting.append(delivery)
        if len(self._recent) >= _MANY:
            self._recent.clear()
            self.on_many()

    def empty(self) -> Deferred[None]:
        """A Deferred that fires when nothing is being forwarded."""
        return self._working.empty()

    def cancel(self) -> None:
        """Forward nothing more. What is not acknowledged is delivered or dead-lettered by the broker."""
        self._working.cancel()

    async def _work(self, delivery: Delivery) -> None:
        """Forward a delivery, and then those that wait."""
        while True:
            await self._forward(delivery)
            if not self._waiting:
                return
            delivery = self._waiting.popleft()

    async def _forward(self, delivery: Delivery) -> None:
        size = len(delivery.message.body)
        try:
            kept = self._kept(delivery.message.correlation_id or "")
            if kept is not None:
                await kept
            if await self._is_taken(delivery):
                delivery.ack()
        finally:
            self._held -= size
            self._recent.discard(delivery)
            if self._left_out and self._has_room():
                self._give_back()

    def _forget_lost(self) -> None:
        """Forget what the broker delivers again, on another channel."""
        if self._left_out and self._left_out[0].is_lost:
            self._left_out = [each for each in self._left_out if not each.is_lost]
        while self._waiting and self._waiting[0].is_lost:
            self._held -= len(self._waiting.popleft().message.body)

    def _has_room(self) -> bool:
        return self._held <= self._max_held // 2 and len(self._working) + len(self._waiting) <= _MOST_HELD // 2

    def _give_back(self) -> None:
        left_out, self._left_out = self._left_out, []
        self._is_dead_lettering = False
        for each in left_out:
            self._recent.discard(each)
            each.give_back()

    def _dead_letter(self, delivery: Delivery) -> None:
        if not self._is_dead_lettering:
            self._is_dead_lettering = True
            self._log.warn(
                "{queue} takes no replies, and {count} late ones wait: the broker dead-letters further ones",
                queue=self._queue,
                count=_MOST_LEFT_OUT,
            )
        delivery.dead_letter()

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
