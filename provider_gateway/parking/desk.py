"""Who is at which parking queue in this process: one at a time at each, and none once the process stops."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import DeferredLock, TimeoutError as DeferredTimeoutError

from provider_gateway.deferreds import Waiters
from provider_gateway.errors import Draining
from provider_gateway.parking.holding import busy, holding
from provider_gateway.parking.note import who

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.clocks import WallClock
    from provider_gateway.parking.connecting import Connecting
    from provider_gateway.parking.holding import Holding
    from provider_gateway.parking.jobs import JobDocument
    from provider_gateway.parking.places import ParkingPlace

#: Seconds that a look waits for another one of this process.
_PATIENCE = 10.0
#: Bytes of messages that one look or job may hold at the broker.
MAX_HELD = 2**30


class Desk:
    """Lets looks and jobs of this process begin.

    Args:
        share: share of the time that each may work.
        max_held: bytes of messages that each may hold at the broker.

    Attributes:
        process: the name of this process.
    """

    def __init__(
        self,
        connecting: Connecting,
        *,
        process: str,
        share: float,
        max_held: int,
        clock: IReactorTime,
        wall_clock: WallClock,
    ) -> None:
        self._connecting = connecting
        self.process = process
        self._share = share
        self._max_held = max_held
        self.clock = clock
        self.wall_clock = wall_clock
        self._locks: dict[str, DeferredLock] = {}
        #: By parking queue.
        self._holdings: dict[str, Holding] = {}
        self._is_stopping = False
        self._left: Waiters[None] = Waiters()

    def check_open(self) -> None:
        """Raise :class:`Draining` once the process stops."""
        if self._is_stopping:
            msg = "The process stops, and begins no further work on parking queues."
            raise Draining(msg)

    @asynccontextmanager
    async def at(
        self, place: ParkingPlace, document: JobDocument, on_change: Callable[[JobDocument], object] = lambda _: None
    ) -> AsyncIterator[Holding]:
        """Be at a parking queue, alone in this process.

        Raises:
            ParkingBusy: a job of this process is at it, or a look that takes long.
            Draining: the process stops.
            BrokerUnavailable: the broker cannot be reached, or the connection is lost.
        """
        self.check_open()
        name = place.parking.name
        self._check_free(place, jobs_only=True)
        lock = self._locks.setdefault(name, DeferredLock())
        try:
            await lock.acquire().addTimeout(_PATIENCE, self.clock)
        except DeferredTimeoutError:
            self._check_free(place, jobs_only=False)
            raise busy(place, None) from None
        try:
            self.check_open()
            options: dict[str, Any] = {"share": self._share, "max_held": self._max_held}
            clocks: dict[str, Any] = {"clock": self.clock, "wall_clock": self.wall_clock}
            async with holding(self._connecting, place, document, on_change=on_change, **options, **clocks) as held:
                self._holdings[name] = held
                if self._is_stopping:
                    held.cancel()
                yield held
        finally:
            self._holdings.pop(name, None)
            lock.release()
            self._left.fire(None)

    def _check_free(self, place: ParkingPlace, *, jobs_only: bool) -> None:
        held = self._holdings.get(place.parking.name)
        if held is not None and not (jobs_only and held.document.action == "look"):
            raise busy(place, who(held.document, self.wall_clock()))

    def document(self, parking: str) -> JobDocument | None:
        """What is done at a parking queue by this process; None if nothing is."""
        held = self._holdings.get(parking)
        return None if held is None else held.document

    def unsettled(self, parking: str) -> int:
        """Messages that this process holds, and that do not count as ready."""
        held = self._holdings.get(parking)
        return 0 if held is None or held.reader is None else held.reader.unsettled

    async def stop(self) -> None:
        """Cancel all that is going on, and return when it is over. Nothing begins any more."""
        self._is_stopping = True
        for held in self._holdings.values():
            held.cancel()
        while any(lock.locked for lock in self._locks.values()):
            await self._left.wait()
