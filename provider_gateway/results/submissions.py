"""Records requests and publishes them, in an order in which a crash loses none that was answered.

The order is: record committed, published, confirmed; with a key also: noted that it is confirmed. A gateway that dies
in between leaves a record whose key another request takes over after a while.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, TimeoutError as DeferredTimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from provider_gateway.deferreds import InFlight
from provider_gateway.errors import GatewayError, OutcomeUnknown, StoreUnavailable
from provider_gateway.results.errors import may_be_accepted
from provider_gateway.results.idempotency import ACCEPT_WITHIN, check_same, may_be_repeated
from provider_gateway.results.outcomes import refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.clocks import WallClock
    from provider_gateway.message.message import Message
    from provider_gateway.store.records import Record, ResultStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What became of a request that was to be recorded and published.

    Attributes:
        record: of the request. Its ``id`` is the one to tell the caller, and need not be the one that it was given.
        existing: True if an earlier request with the same key is this one: nothing was published.
    """

    record: Record
    existing: bool


class Submissions:
    """Records requests and publishes them.

    Args:
        on_stored: called with each record that became final.
        on_gone: called with the id of each record that is gone, and may have been waited for.
        confirm_timeout: seconds to wait for the broker's confirm.
    """

    _log = Logger()

    def __init__(
        self,
        store: ResultStore,
        publisher: Publisher,
        *,
        on_stored: Callable[[Record], object],
        on_gone: Callable[[str], object],
        confirm_timeout: float,
        clock: IReactorTime,
        wall_clock: WallClock,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._on_stored = on_stored
        self._on_gone = on_gone
        self._confirm_timeout = confirm_timeout
        self._clock = clock
        self._wall_clock = wall_clock
        self._working = InFlight(lambda f: self._log.failure("The outcome of a publish cannot be kept", f))

    async def submit(self, message: Message, exchange: str, record: Record) -> Submission:
        """Record a request and publish it, see :meth:`.Results.submit`."""
        holder = await self._store.add(record)
        if holder is not None:
            check_same(holder, record.fingerprint)
            taken = await self._taken_over(holder)
            if taken is None:
                return Submission(record=holder, existing=True)
            record, message.correlation_id = taken, taken.id
        await self._publish(message, exchange, record)
        return Submission(record=record, existing=False)

    async def _taken_over(self, holder: Record) -> Record | None:
        """The record that holds a key, if it may be published again by us, and by nobody else for a while."""
        now = self._wall_clock()
        if holder.accept_by is None or not may_be_repeated(holder, now):
            return None
        taken = replace(holder, accept_by=now + ACCEPT_WITHIN)
        if not await self._store.take_over(holder.id, holder.accept_by, now + ACCEPT_WITHIN):
            return None
        self._log.warn("The publish of a request was not confirmed in time, and is repeated", request_id=holder.id)
        return taken

    async def _publish(self, message: Message, exchange: str, record: Record) -> None:
        confirmed: Deferred[None] = Deferred()
        self._publisher.publish(message, exchange, record.routing_key).addBoth(self._confirm, confirmed, record)
        try:
            await confirmed.addTimeout(self._confirm_timeout, self._clock)
        except DeferredTimeoutError:
            await self._accept(record)
            msg = f"The broker did not confirm the message within {self._confirm_timeout:g} s."
            raise OutcomeUnknown(msg) from None
        except GatewayError as error:
            if may_be_accepted(error):
                await self._accept(record)
            else:
                await self._discard(record)
            raise
        await self._accept(record)

    async def _accept(self, record: Record) -> None:
        if record.key is None:
            return
        try:
            await self._store.accept(record.id)
        except StoreUnavailable as error:
            # What was promised holds. Only, a request with the same key may be published again.
            self._warn("It cannot be noted that a request was accepted: {reason}", record, error)

    async def _discard(self, record: Record) -> None:
        try:
            await self._store.discard(record.id)
        except StoreUnavailable as error:
            self._warn("The record of a request that was not accepted stays until it expires: {reason}", record, error)
        if record.key is not None:
            self._on_gone(record.id)

    def _confirm(self, outcome: Failure | None, confirmed: Deferred[None], record: Record) -> None:
        """Hand over the outcome of a publish, unless it comes too late for that."""
        if not confirmed.called:
            confirmed.callback(outcome)  # a Failure makes it fail
        elif isinstance(outcome, Failure):
            error = outcome.value
            if isinstance(error, GatewayError) and not may_be_accepted(error):
                self._working.start(self._fail(record, error))

    async def _fail(self, record: Record, error: GatewayError) -> None:
        """End a request whose message was not accepted, after its caller was told that it may have been."""
        finished = await self._store.finish(refused(record, error, self._wall_clock()))
        if finished.record is not None:
            self._on_stored(finished.record)

    def _warn(self, text: str, record: Record, error: GatewayError) -> None:
        self._log.warn(text, reason=error.detail, request_id=record.id, rquid=record.rquid)
