"""Records requests and publishes them, in an order in which a crash loses none that was answered.

The order is: record committed, published until it is confirmed; with a key also: noted that it is confirmed. A gateway
that dies in between leaves a record that another request with its key takes over after a while. Until then that one
waits: its caller must not be told that there will be an answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, TimeoutError as DeferredTimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from provider_gateway.deferreds import InFlight, sleep
from provider_gateway.errors import GatewayError, OutcomeUnknown, PublishRefused, StoreUnavailable
from provider_gateway.results.errors import NotConfirmed, may_be_accepted
from provider_gateway.results.idempotency import ACCEPT_WITHIN, check_same, is_accepted, may_be_repeated
from provider_gateway.results.outcomes import refused, refused_reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.clocks import WallClock
    from provider_gateway.message.message import Message
    from provider_gateway.results.unconfirmed import Unconfirmed
    from provider_gateway.store.records import Record, ResultStore

#: Seconds before a message that may have been lost is published again; doubled up to the last.
_FIRST_DELAY, _LAST_DELAY = 0.2, 15.0
#: So many refusals of a message by which the broker closed the channel are no coincidence.
_MAX_REFUSALS = 3
#: Seconds by which a request looks later than a record may be taken over, so that it need not look twice.
_LATER = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What became of a request that was to be recorded and published.

    Attributes:
        record: of the request. Its ``id`` is the one to tell the caller, and need not be the one that it was given.
        existing: True if an earlier request with the same key is this one: nothing was published. If the record is not
            :func:`.is_accepted` then, nobody knows whether there will be an answer.
    """

    record: Record
    existing: bool


class Submissions:
    """Records requests and publishes them.

    Args:
        results_queue: ends requests with a webhook whose messages are refused.
        unconfirmed: the records whose messages are not confirmed, though their callers were told of them.
        on_stored: called with each record that became final.
        on_changed: called with the id of each record that is accepted or gone, and may be waited for.
        accepted: waits until a record is accepted, final or gone, at most for some seconds; returns it as it is then.
        confirm_timeout: seconds to wait for the broker's confirm, and for that of another request with the same key.
    """

    _log = Logger()

    def __init__(
        self,
        store: ResultStore,
        publisher: Publisher,
        results_queue: str,
        unconfirmed: Unconfirmed,
        *,
        on_stored: Callable[[Record], object],
        on_changed: Callable[[str], object],
        accepted: Callable[[str, float], Awaitable[Record | None]],
        confirm_timeout: float,
        clock: IReactorTime,
        wall_clock: WallClock,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._results_queue = results_queue
        self._on_stored = on_stored
        self._on_changed = on_changed
        self._accepted = accepted
        self._confirm_timeout = confirm_timeout
        self._clock = clock
        self._wall_clock = wall_clock
        self._unconfirmed = unconfirmed
        self._working = InFlight(lambda f: self._log.failure("The outcome of a publish cannot be kept", f))

    async def submit(self, message: Message, exchange: str, record: Record) -> Submission:
        """Record a request and publish it, see :meth:`.Results.submit`."""
        ends = self._clock.seconds() + self._confirm_timeout
        while (holder := await self._store.add(record)) is not None:
            check_same(holder, record.fingerprint)
            now, left = self._wall_clock(), ends - self._clock.seconds()
            if holder.accept_by is None or is_accepted(holder) or left <= 0:
                return Submission(record=holder, existing=True)
            if not may_be_repeated(holder, now):
                seen = await self._accepted(holder.id, min(left, holder.accept_by - now + _LATER))
                if seen is not None and not is_accepted(seen) and not may_be_repeated(seen, self._wall_clock()):
                    return Submission(record=seen, existing=True)  # this process drains, or the time is over
            elif await self._store.take_over(holder.id, holder.accept_by, now + ACCEPT_WITHIN):
                self._log.warn(
                    "The publish of a request was not confirmed in time, and is repeated", request_id=holder.id
                )
                record, message.correlation_id = replace(holder, accept_by=now + ACCEPT_WITHIN), holder.id
                break
        await self._publish(message, exchange, record)
        return Submission(record=replace(record, accept_by=None), existing=False)

    async def _publish(self, message: Message, exchange: str, record: Record) -> None:
        confirmed: Deferred[None] = Deferred()
        self._working.start(self._publish_and_confirm(message, exchange, record, confirmed))
        try:
            await confirmed.addTimeout(self._confirm_timeout, self._clock)
        except DeferredTimeoutError:
            # It goes on. With a key, it can be taken over if this process dies meanwhile, and must not get another id.
            msg = f"The broker did not confirm the message within {self._confirm_timeout:g} s."
            is_noted = record.key is not None or await self._unconfirmed.add(record)
            raise NotConfirmed(msg, record.id if is_noted else None) from None
        except GatewayError:
            await self._discard(record)
            raise
        await self._accept(record)

    async def _publish_and_confirm(
        self, message: Message, exchange: str, record: Record, confirmed: Deferred[None]
    ) -> None:
        outcome = None
        try:
            await self.until_confirmed(message, exchange, record)
        except Exception:  # noqa: BLE001 - whoever waits gets it
            outcome = Failure()
        self._confirm(outcome, confirmed, record)

    def idle(self) -> Deferred[None]:
        """A Deferred that fires when no publish is under way, and the store knows how those before ended."""
        return self._working.empty()

    async def until_confirmed(self, message: Message, exchange: str, record: Record, *, is_first: bool = True) -> None:
        """Publish a message, and again, if the broker may or may not have it: the record takes only one reply.

        Without this, a request whose message was lost with a connection would stay pending, though its caller was told
        to come back.

        Args:
            is_first: False if it was published before.

        Raises:
            GatewayError: the broker has not accepted the message, or refuses it each time.
        """
        delay, refusals, may_be_there = _FIRST_DELAY, 0, not is_first
        while True:
            if may_be_there:
                await sleep(self._clock, delay)
                await self._publisher.when_ready()
                delay = min(2 * delay, _LAST_DELAY)
            try:
                await self._publisher.publish(message, exchange, record.routing_key)
            except GatewayError as error:
                if isinstance(error, OutcomeUnknown) and error.was_read:
                    return
                if not (may_be_there or may_be_accepted(error)):
                    raise
                may_be_there = True
                refusals += isinstance(error, PublishRefused)
                if refusals >= _MAX_REFUSALS:
                    raise PublishRefused(error.detail, is_certain=True) from error
                self._warn("A request is published again: {reason}", record, error)
            else:
                return

    async def _accept(self, record: Record) -> None:
        if record.key is None:
            return
        try:
            await self._store.accept(record.id)
        except StoreUnavailable as error:
            # What was promised holds. Only, a request with the same key may be published again.
            self._warn("It cannot be noted that a request was accepted: {reason}", record, error)
        else:
            self._on_changed(record.id)

    async def _discard(self, record: Record) -> None:
        try:
            await self._store.discard(record.id)
        except StoreUnavailable as error:
            self._warn("The record of a request that was not accepted stays until it expires: {reason}", record, error)
        if record.key is not None:
            self._on_changed(record.id)

    def _confirm(self, outcome: Failure | None, confirmed: Deferred[None], record: Record) -> None:
        """Hand over the outcome of a publish, unless it comes too late for that."""
        if not confirmed.called:
            confirmed.callback(outcome)  # a Failure makes it fail
        elif outcome is None:
            self._working.start(self._confirm_late(record))
        else:
            error = outcome.value
            if isinstance(error, GatewayError) and not may_be_accepted(error):
                self._working.start(self.fail(record, error))

    async def _confirm_late(self, record: Record) -> None:
        await self._unconfirmed.confirm(record.id)
        await self._accept(record)

    async def fail(self, record: Record, error: GatewayError) -> None:
        """End a request whose message was not accepted, after its caller was told that it may have been.

        With a webhook this goes by way of the results queue: commit, webhook, acknowledgement.
        """
        if record.webhook is not None:
            reply = refused_reply(record, error)
            try:
                await self.until_confirmed(reply, "", replace(record, routing_key=self._results_queue))
            except GatewayError as refusal:
                self._warn("The webhook of a request that failed is not sent: {reason}", record, refusal)
            else:
                self._unconfirmed.forget(record.id)
                return
        self._unconfirmed.forget(record.id)
        finished = await self._store.finish(refused(record, error, self._wall_clock()))
        if finished.record is not None:
            self._on_stored(finished.record)

    def _warn(self, text: str, record: Record, error: GatewayError) -> None:
        self._log.warn(text, reason=error.detail, request_id=record.id, rquid=record.rquid)
