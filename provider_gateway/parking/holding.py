"""Holds a parking queue for one look or one job: a connection, the only consumer, and the note that says who it is."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pika.exceptions import AMQPError
from twisted.logger import Logger

from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.deferreds import InFlight, sleep
from provider_gateway.errors import BrokerUnavailable
from provider_gateway.parking.deliveries import InUse
from provider_gateway.parking.errors import ParkingBusy
from provider_gateway.parking.note import RENEWED, Note, read_note, who
from provider_gateway.parking.reader import MAX_WINDOW, Reader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.session import Session
    from provider_gateway.clocks import WallClock
    from provider_gateway.parking.connecting import Connecting
    from provider_gateway.parking.jobs import JobDocument
    from provider_gateway.parking.note import Noted
    from provider_gateway.parking.places import ParkingPlace

_log = Logger()
#: Tries to become the only consumer, and seconds between them: one that has just ended may still be there.
_TRIES, _TRY_PAUSE = 4, 0.3
#: Seconds within which a note is renewed by a holder that lives.
_RENEWED_WITHIN = 2.5 * RENEWED
#: Seconds of a look before it leaves a note: most are over before anybody could read it.
_SHORT = 0.5


class Holding:
    """A parking queue that is held.

    Args:
        session: of this holding alone.
        document: what is done; :meth:`tell` changes it.
        on_change: called with each new document.
        share: see :class:`.Reader`.
        max_held: likewise.

    Attributes:
        reader: the newest one.
        is_canceled: somebody wants it to end.
    """

    def __init__(
        self,
        session: Session,
        place: ParkingPlace,
        document: JobDocument,
        *,
        on_change: Callable[[JobDocument], object],
        clock: IReactorTime,
        wall_clock: WallClock,
        share: float,
        max_held: int,
    ) -> None:
        self._session = session
        self._place = place
        self.document = document
        self._on_change = on_change
        self._clock = clock
        self._wall_clock = wall_clock
        self._share = share
        self._max_held = max_held
        self.is_canceled = False
        #: The note of a process that was at the queue and has died: it stays until ours is written.
        self._gone: Noted | None = None
        self.reader: Reader | None = None
        self._note = Note(session, place.parking.name, on_cancel=self.cancel, wall_clock=wall_clock)

    async def give_way(self) -> None:
        """Make sure that nobody else is at work. Between two windows, a job has no consumer that would show it.

        A process that has died leaves a note that looks alive for a while, but nobody renews it.

        Raises:
            ParkingBusy: somebody is.
        """
        first = noted = await read_note(self._session, self._place.parking.name)
        until = self._clock.seconds() + _RENEWED_WITHIN
        # Without a first note there is nobody; a later one may be in the hands of another reader.
        while first is not None and (noted is None or noted.is_at_work(self._wall_clock())):
            if noted is not None and noted.holder != first.holder:
                raise busy(self._place, who(noted.holder, self._wall_clock()))
            if self._clock.seconds() >= until:
                self._gone = first
                return
            await sleep(self._clock, _TRY_PAUSE)
            noted = await read_note(self._session, self._place.parking.name)

    def cancel(self) -> None:
        """Have it end soon."""
        self.is_canceled = True

    async def open_reader(self, max_window: int = MAX_WINDOW) -> Reader:
        """A reader that is the queue's only consumer. An earlier one is released.

        Raises:
            ParkingBusy: somebody else is at the queue. Others as :meth:`.Reader.next`.
        """
        if self.reader is not None:
            await self.reader.release()
        for left in reversed(range(_TRIES)):
            holder = await self.holder()
            self.reader = reader = Reader(
                self._session,
                self._place.parking,
                clock=self._clock,
                share=self._share,
                max_held=self._max_held,
                max_window=max_window,
            )
            try:
                if holder is not None:
                    raise InUse
                await reader.open()
                await reader.claim()
                break
            except InUse as error:
                holder = holder or await self.holder()
                if holder is not None or not left:
                    raise busy(self._place, holder) from error
            await sleep(self._clock, _TRY_PAUSE)
        return reader

    async def holder(self) -> str | None:
        """Who else is at the queue, in words; None if that is not known."""
        noted = await read_note(self._session, self._place.parking.name)
        if noted is None or noted == self._gone or noted.holder.id == self.document.id:
            return None
        if not noted.is_at_work(self._wall_clock()):
            return None
        return who(noted.holder, self._wall_clock())

    def tell(self, **changes: Any) -> None:
        """Tell how far it is."""
        self.document = replace(self.document, updated=self._wall_clock(), **changes)
        self._on_change(self.document)

    async def keep_note(self) -> None:
        """Renew the note, for as long as this runs."""
        if self.document.action not in ("replay", "drop"):
            await sleep(self._clock, _SHORT)
        while True:
            await self._note.write(self.document)
            await sleep(self._clock, RENEWED)

    async def end(self) -> None:
        """Release all that is not settled, and renew the note, if there is one."""
        if self.reader is not None:
            await self.reader.release()
        if not self.document.is_over:
            self.document = replace(self.document, state="canceled" if self.is_canceled else "failed")
        if self._note.is_written:
            await self._note.write(self.document)


def busy(place: ParkingPlace, holder: str | None) -> ParkingBusy:
    """The error that somebody else is at a parking queue.

    Args:
        holder: who, in words; None if that is not known.
    """
    if holder is None:
        holder = "another program consumes it, and has left no note; rabbitmqctl list_consumers shows it"
    return ParkingBusy(f"Somebody else is at the parking queue {place.parking.name!r}: {holder}.")


@asynccontextmanager
async def holding(
    connecting: Connecting, place: ParkingPlace, document: JobDocument, **options: Any
) -> AsyncIterator[Holding]:
    """Hold a parking queue.

    Args:
        options: of :class:`Holding`.

    Raises:
        BrokerUnavailable: the broker cannot be reached, or the connection is lost. Nothing is lost with it.
        ParkingBusy: somebody else came to the queue meanwhile.
    """
    session = await connecting.open()
    held = Holding(session, place, document, **options)
    notes = InFlight(lambda f: _log.failure("The note at {parking} broke", f, parking=place.parking.name))
    try:
        await held.give_way()
        notes.start(held.keep_note())
        try:
            yield held
        except InUse as error:
            # Between two windows there is no consumer: somebody else was faster.
            raise busy(place, await held.holder()) from error
        finally:
            notes.cancel()
            # In order, also after an error: else the broker may give messages back in another order.
            if session.is_open:
                await held.end()
    except (AMQPError, ConnectionLost) as error:
        msg = f"The connection to the broker was lost: {error}. What was not settled is parked as before."
        raise BrokerUnavailable(msg) from None
    finally:
        with suppress(AMQPError, ConnectionLost):
            await session.close()
