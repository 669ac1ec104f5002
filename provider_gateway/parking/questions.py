"""Questions about parking queues: how many messages there are, who is at them, how far a job elsewhere is."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from pika.exceptions import AMQPError, ChannelClosedByBroker

from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.deferreds import shield
from provider_gateway.errors import BrokerUnavailable, TopologyError
from provider_gateway.parking.errors import ParkingUnusable
from provider_gateway.parking.note import read_note, remove_note

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from provider_gateway.amqp.session import Session
    from provider_gateway.clocks import WallClock
    from provider_gateway.parking.connecting import Connecting
    from provider_gateway.parking.desk import Desk
    from provider_gateway.parking.jobs import JobDocument
    from provider_gateway.parking.places import ParkingPlace


class Questions:
    """Asks on a connection of its own each time.

    Args:
        desk: knows what this process does.
    """

    def __init__(
        self, places: Mapping[str, ParkingPlace], connecting: Connecting, desk: Desk, wall_clock: WallClock
    ) -> None:
        self._places = places
        self._connecting = connecting
        self._desk = desk
        self._wall_clock = wall_clock

    async def counts(self) -> dict[str, int | None]:
        """See :meth:`.Parking.counts`."""
        by_name: dict[str, int | None] = {}
        async with self._session() as session:
            for place in self._places.values():
                name = place.parking.name
                if name not in by_name:
                    by_name[name] = await self._count(session, name)
        return {queue: by_name[place.parking.name] for queue, place in self._places.items()}

    async def _count(self, session: Session, name: str) -> int | None:
        channel = await session.channel()
        try:
            declared = await shield(channel.queue_declare(name, passive=True))
        except ChannelClosedByBroker:
            return None
        channel.close()
        return int(declared.method.message_count) + self._desk.unsettled(name)

    async def at_work(self) -> dict[str, JobDocument]:
        """See :meth:`.Parking.at_work`."""
        by_name: dict[str, JobDocument] = {}
        async with self._session() as session:
            for name in {place.parking.name for place in self._places.values()}:
                document = self._desk.document(name)
                if document is None:
                    noted = await read_note(session, name)
                    document = noted.holder if noted is not None and noted.is_at_work(self._wall_clock()) else None
                if document is not None:
                    by_name[name] = document
        names = {queue: place.parking.name for queue, place in self._places.items()}
        return {queue: by_name[name] for queue, name in names.items() if name in by_name}

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        session = await self._connecting.open()
        try:
            yield session
        except (AMQPError, ConnectionLost) as error:
            msg = f"The connection to the broker was lost: {error}."
            raise BrokerUnavailable(msg) from None
        finally:
            await session.close()

    async def noted_job(self, id_: str) -> tuple[str, JobDocument] | None:
        """The parking queue's name and the document of a job that a note tells of."""
        async with self._session() as session:
            for name in {place.parking.name for place in self._places.values()}:
                noted = await read_note(session, name)
                if noted is None or noted.job is None or noted.job.id != id_:
                    continue
                job = noted.job
                if not job.is_over and not noted.is_at_work(self._wall_clock()):
                    job = replace(job, state="failed", error="Its process has ended, or lost its connection.")
                return name, job
        return None

    async def cancel(self, id_: str) -> bool:
        """Cancel a job of another process. Returns False if nobody knows it, or it is over."""
        found = await self.noted_job(id_)
        if found is None or found[1].is_over:
            return False
        async with self._session() as session:
            try:
                await remove_note(session, found[0])
            except TopologyError as error:
                raise ParkingUnusable(f"The job cannot be canceled from here: {error}.") from None
        return True
