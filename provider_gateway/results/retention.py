"""Ends the time of records: what is pending for too long expires, and what was kept long enough is deleted.

A record with a webhook is ended by way of the results queue: commit, webhook, acknowledgement. So the webhook tells
what was committed, and is repeated after a crash in between. The timer runs on the injected clock; the dates are those
of the wall clock.
"""

from __future__ import annotations

from random import random
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList, TimeoutError as DeferredTimeoutError
from twisted.logger import Logger

from provider_gateway.deferreds import InFlight, sleep
from provider_gateway.errors import GatewayError, StoreUnavailable
from provider_gateway.results.outcomes import expired, overdue_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.clocks import WallClock
    from provider_gateway.store.records import Record, ResultStore

#: Seconds between two looks. Replicas look at different times: each does what there is to do.
_EVERY = 20.0
_SPREAD = 0.5
#: Pending records that expire in a batch.
_BATCH = 50
#: Records and results that are deleted in a batch at most. The store takes fewer if these would take it too long.
_MOST = 2000
#: If a batch deleted fewer rows, what is left can wait for the next look.
_FEW = 20
#: The pause after a batch: seconds at least, and as a share of the time that it took. The wait for the transaction
#: before is part of that time: with more, the purge would not keep up with requests under full load.
_PAUSE, _SHARE = 0.03, 0.5
#: Seconds to wait for a confirm. The next look tries again.
_CONFIRM_TIMEOUT = 20.0


class Retention:
    """Looks regularly for records whose time is over.

    Args:
        queue: the results queue.
        on_stored: called with each record that has expired here.
    """

    _log = Logger()

    def __init__(
        self,
        store: ResultStore,
        publisher: Publisher,
        queue: str,
        *,
        on_stored: Callable[[Record], object],
        clock: IReactorTime,
        wall_clock: WallClock,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._queue = queue
        self._on_stored = on_stored
        self._clock = clock
        self._wall_clock = wall_clock
        #: Ids of what was put into the results queue in this look.
        self._sent: set[str] = set()
        self._running = InFlight(
            lambda f: self._log.failure("Records whose time is over are not looked for any more", f)
        )

    def start(self) -> None:
        """Begin to look."""
        self._running.start(self._run())

    def stop(self) -> None:
        """Stop. What is under way is ended by another replica, or after the next start."""
        self._running.cancel()

    async def _run(self) -> None:
        while True:
            await sleep(self._clock, _EVERY * (1 + _SPREAD * (random() - 0.5)))  # noqa: S311 - no secret
            if not self._store.is_up:
                continue
            try:
                self._sent.clear()
                started = self._clock.seconds()
                while await self._expire() or await self._purge():
                    await sleep(self._clock, max(_PAUSE, _SHARE * (self._clock.seconds() - started)))
                    started = self._clock.seconds()
            except StoreUnavailable as error:
                self._log.info("Records whose time is over are not ended now: {reason}", reason=error.detail)
            except CancelledError:
                raise
            except Exception:  # noqa: BLE001 - one record that cannot be ended must not keep all others for ever
                self._log.failure("Records whose time is over cannot be ended; the next look tries again")

    async def _expire(self) -> bool:
        """End a batch of pending records. Returns True if there may be more."""
        overdue = await self._store.overdue(self._wall_clock(), _BATCH)
        left = [record for record in overdue if record.id not in self._sent]
        # All at once: then they share a commit.
        ending = [Deferred.fromCoroutine(self._expire_one(each)) for each in left]
        ends: list[tuple[bool, Any]] = await DeferredList(ending, consumeErrors=True)
        failures = [failure for succeeded, failure in ends if not succeeded]
        for failure in failures:
            if failure.check(StoreUnavailable) or not failure.check(GatewayError, DeferredTimeoutError):
                failure.raiseException()
        if failures:
            self._log.info(
                "{count} records with a webhook are not ended now: {reason}",
                count=len(failures),
                reason=failures[0].getErrorMessage() or f"no confirm within {_CONFIRM_TIMEOUT:g} s",
            )
        return len(overdue) == _BATCH and bool(left)

    async def _expire_one(self, record: Record) -> None:
        if record.webhook is not None:
            self._sent.add(record.id)
            publish = self._publisher.publish(overdue_reply(record), "", self._queue)
            await publish.addTimeout(_CONFIRM_TIMEOUT, self._clock)
            return
        finished = await self._store.finish(expired(record, self._wall_clock()))
        if finished.record is not None and finished.is_new:
            self._on_stored(finished.record)

    async def _purge(self) -> bool:
        """Delete a batch. Returns True if there may be more."""
        return await self._store.purge(self._wall_clock(), _MOST) >= _FEW
