"""Parking queues: looks, replays, drops. The broker is the only truth: no second copy of a message is kept."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from provider_gateway.deferreds import InFlight
from provider_gateway.errors import Draining
from provider_gateway.observability.metrics import Metrics
from provider_gateway.parking.collecting import Collecting
from provider_gateway.parking.connecting import Connecting
from provider_gateway.parking.desk import MAX_HELD, Desk
from provider_gateway.parking.errors import NoSuchMessage, NoSuchQueue
from provider_gateway.parking.filters import Filter
from provider_gateway.parking.job_run import Job
from provider_gateway.parking.jobs import fresh_document
from provider_gateway.parking.operators import audit_line
from provider_gateway.parking.questions import Questions
from provider_gateway.topology.reply_addresses import reply_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

    from provider_gateway.clocks import WallClock
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Settings
    from provider_gateway.parking.jobs import Action, JobDocument, JobRequest
    from provider_gateway.parking.looks import Look, Progress
    from provider_gateway.parking.operators import Audit, Operator
    from provider_gateway.parking.parked_message import ParkedMessage
    from provider_gateway.parking.places import ParkingPlace

#: Jobs that are over and still known.
_KEPT = 100
#: Messages of a look between two reports.
_REPORTED_EVERY = 500


class Parking:
    """The parking queues of the queue file, as one process works on them.

    Each look and each job has a connection to the broker of its own. The errors that they may raise are those of
    :mod:`provider_gateway.parking.errors`, and :class:`.BrokerUnavailable`.

    Args:
        reactor: provides TCP, host names and time.
        settings: of the process: how to reach the broker.
        entries: all of the queue file.
        tls: makes TLS towards a broker, for ``amqps`` addresses; None without TLS.
        places: from :func:`.places_of`.
        audit: writes the audit log.
        metrics: of the process: counts what is published.
        wall_clock: has the date.
        share: share of the time that a look or a job may work, over 0 and up to 1. Below 1, it pauses, so that others
            in this process have their turn.
        max_held: bytes of messages that a look or job may hold at the broker.

    Attributes:
        places: by work queue.
        jobs: the jobs of this process that run, and the last 100 that are over, by id.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        entries: Sequence[QueueEntry],
        *,
        tls: Callable[[str], IOpenSSLClientConnectionCreator] | None,
        places: Mapping[str, ParkingPlace],
        audit: Audit,
        wall_clock: WallClock,
        metrics: Metrics | None = None,
        share: float = 1.0,
        max_held: int = MAX_HELD,
    ) -> None:
        self.places = places
        self.jobs: dict[str, Job] = {}
        self._connecting = Connecting(reactor, settings, tls)
        self._reply_prefix = reply_prefix(entries)
        self._audit = audit
        self._wall_clock = wall_clock
        self._metrics = Metrics() if metrics is None else metrics
        self._desk = Desk(
            self._connecting,
            process=settings.instance,
            share=share,
            max_held=max_held,
            clock=reactor,
            wall_clock=wall_clock,
        )
        self._questions = Questions(places, self._connecting, self._desk, wall_clock)
        self._running = InFlight(lambda f: self._log.failure("A job on a parking queue broke", f))

    async def counts(self) -> dict[str, int | None]:
        """The number of parked messages by work queue, with those that a look holds; None without such a queue.

        A parking queue that several work queues share has the same number for each of them.
        """
        return await self._questions.counts()

    def held(self, queue: str) -> int:
        """How many messages of a work queue's parking queue a look or a job of this process holds now.

        The broker does not count them as ready.
        """
        return self._desk.unsettled(self.places[queue].parking.name)

    async def at_work(self) -> dict[str, JobDocument]:
        """Who is at which parking queue now, in whatever process: the running look or job by work queue."""
        return await self._questions.at_work()

    async def look(
        self,
        queue: str,
        filter_: Filter,
        *,
        operator: Operator,
        limit: int = 100,
        after: int = -1,
        on_progress: Callable[[Progress], object] | None = None,
        on_message: Callable[[ParkedMessage, bytes], object] | None = None,
    ) -> Look:
        """Look at all messages of a parking queue. Nothing is changed.

        Args:
            queue: the work queue's name.
            limit: most messages of the result, which are kept in memory. All that match are counted.
            after: the result begins behind this position.
            on_progress: called from time to time.
            on_message: called with each message that matches, and its body. If it returns a Deferred or a coroutine,
                the look waits for it.

        Raises:
            NoSuchQueue, ParkingBusy, ParkingUnusable, BrokerUnavailable: the text says why.
        """
        document = self._document("look", queue, filter_, operator)
        return await self._look(
            document, filter_, limit=limit, after=after, on_progress=on_progress, on_message=on_message
        )

    async def _look(
        self,
        document: JobDocument,
        filter_: Filter,
        *,
        limit: int = 0,
        after: int = -1,
        on_progress: Callable[[Progress], object] | None = None,
        on_message: Callable[[ParkedMessage, bytes], object] | None = None,
    ) -> Look:
        place = self._place(document.queue)
        collecting = Collecting(place, filter_, limit=limit, after=after, counts=on_message is None)
        async with self._desk.at(place, document) as held:
            reader = await held.open_reader()
            held.tell(state="running", total=reader.total)
            while (
                not held.is_canceled
                and not collecting.is_full
                and (content := reader.at_hand() or await reader.next()) is not None
            ):
                message = collecting.add(content)
                if message is not None and on_message is not None:
                    waits = on_message(message, content.body)
                    if waits is not None and isinstance(waits, Awaitable):
                        await waits
                if collecting.seen % _REPORTED_EVERY == 0:
                    held.tell(done=collecting.seen)
                    if on_progress is not None:
                        on_progress(collecting.progress(reader.total))
            if held.is_canceled and not collecting.is_full and collecting.seen < reader.total:
                msg = "The look was ended: by somebody else, or since the process stops."
                raise Draining(msg)
            held.tell(state="done", done=collecting.seen, finished=self._wall_clock())
            if on_progress is not None:
                on_progress(collecting.progress(reader.total))
            return collecting.look(reader.total, self._wall_clock())

    async def show(self, queue: str, id_: str, *, operator: Operator, why: str = "") -> tuple[ParkedMessage, bytes]:
        """One message with its whole body. It has an audit line.

        Raises:
            NoSuchMessage: it is not there any more. As :meth:`look` besides.
        """
        found: list[tuple[ParkedMessage, bytes]] = []
        one = Filter(ids=frozenset({id_}), limit=1)
        await self._look(
            self._document("look", queue, one, operator), one, on_message=lambda *message: found.append(message)
        )
        if not found:
            msg = f"No message {ascii(id_)[1:60]} is parked for {queue!r} any more."
            raise NoSuchMessage(msg)
        self._audit(audit_line("shown", queue, operator, found[0][0], why=why))
        return found[0]

    async def export(
        self,
        queue: str,
        filter_: Filter,
        on_message: Callable[[ParkedMessage, bytes], Awaitable[None] | None],
        *,
        operator: Operator,
        why: str = "",
        on_progress: Callable[[Progress], object] | None = None,
    ) -> Look:
        """Hand over each message that matches, with its body, in the order of the queue. Each has an audit line.

        The result has no messages. Raises as :meth:`look`.
        """

        def hand_over(message: ParkedMessage, body: bytes) -> object:
            self._audit(audit_line("exported", queue, operator, message, why=why))
            return on_message(message, body)

        document = self._document("export", queue, filter_, operator)
        return await self._look(document, filter_, on_message=hand_over, on_progress=on_progress)

    def start(self, request: JobRequest) -> Job:
        """Start a job. It counts the messages that match, and then acts on exactly these.

        Raises:
            NoSuchQueue: there is no such work queue.
            Draining: the process stops.
        """
        place = self._place(request.queue)
        self._desk.check_open()
        job = Job(
            request,
            place,
            desk=self._desk,
            connecting=self._connecting,
            audit=self._audit,
            metrics=self._metrics,
            reply_prefix=self._reply_prefix,
        )
        over = [id_ for id_, each in self.jobs.items() if each.document.is_over]
        for id_ in over[: max(0, len(over) - _KEPT + 1)]:
            del self.jobs[id_]
        self.jobs[job.document.id] = job
        self._running.start(job.run())
        return job

    async def job(self, id_: str) -> JobDocument | None:
        """A job of this process, or the last one of a parking queue, in whatever process; None if nobody knows it."""
        if id_ in self.jobs:
            return self.jobs[id_].document
        found = await self._questions.noted_job(id_)
        return None if found is None else found[1]

    async def cancel(self, id_: str) -> bool:
        """Cancel a job, in whatever process. Returns False if nobody knows it, or it is over."""
        if id_ in self.jobs:
            job = self.jobs[id_]
            job.cancel()
            return not job.document.is_over
        return await self._questions.cancel(id_)

    async def stop(self) -> None:
        """Cancel all jobs and looks, and return when their connections are closed. No further one begins."""
        for job in self.jobs.values():
            job.cancel()
        await self._desk.stop()
        await self._running.empty()

    def _place(self, queue: str) -> ParkingPlace:
        place = self.places.get(queue)
        if place is None:
            msg = f"There is no queue {ascii(queue)[1:-1][:60]!r} with a parking queue."
            raise NoSuchQueue(msg)
        return place

    def _document(self, action: Action, queue: str, filter_: Filter, operator: Operator) -> JobDocument:
        return fresh_document(
            action,
            queue,
            operator,
            process=self._desk.process,
            now=self._wall_clock(),
            filter=filter_.shown(),
        )
