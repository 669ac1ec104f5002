"""Parking queues: looks, replays, drops. The broker is the only truth: no second copy of a message is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

    from provider_gateway.clocks import WallClock
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Settings
    from provider_gateway.parking.filters import Filter
    from provider_gateway.parking.jobs import JobDocument, JobRequest
    from provider_gateway.parking.looks import Look, Progress
    from provider_gateway.parking.operators import Audit, Operator
    from provider_gateway.parking.parked_message import ParkedMessage
    from provider_gateway.parking.places import ParkingPlace


class Job:
    """A job that runs in this process, or has run.

    Attributes:
        document: how far it is.
    """

    document: JobDocument

    def counted(self) -> Deferred[JobDocument]:
        """A Deferred that fires when the messages are counted, and with a dry run all is over.

        It fails with the error of a job that ended before anything was done: :class:`.CountChanged`,
        :class:`.ParkingBusy`, :class:`.BrokerUnavailable`, :class:`.ParkingUnusable`.
        """
        raise NotImplementedError

    def when_over(self) -> Deferred[JobDocument]:
        """A Deferred that fires with the last document when the job is over, in whatever way."""
        raise NotImplementedError

    def watch(self, on_change: Callable[[JobDocument], object]) -> Callable[[], None]:
        """Have a function called with each new document; returns a function that ends it."""
        raise NotImplementedError

    def cancel(self) -> None:
        """End the job as soon as what is in flight is settled. What was not acted on stays parked."""
        raise NotImplementedError


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
        wall_clock: has the date.
        share: share of the time that a look or a job may work, over 0 and up to 1. Below 1, it pauses, so that others
            in this process have their turn.

    Attributes:
        places: by work queue.
        jobs: the jobs of this process that run, and the last 100 that are over, by id.
    """

    places: Mapping[str, ParkingPlace]
    jobs: Mapping[str, Job]

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
        share: float = 1.0,
    ) -> None:
        self.places = places
        self.jobs = {}
        self._parts = (reactor, settings, entries, tls, audit, wall_clock, share)

    async def counts(self) -> dict[str, int | None]:
        """The number of parked messages by work queue, with those that a look holds; None without such a queue.

        A parking queue that several work queues share has the same number for each of them.
        """
        raise NotImplementedError

    async def at_work(self) -> dict[str, JobDocument]:
        """Who is at which parking queue now, in whatever process: the running look or job by work queue."""
        raise NotImplementedError

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
            on_message: called with each message that matches, and its body. If it returns a Deferred, the look waits
                for it.

        Raises:
            NoSuchQueue, ParkingBusy, ParkingUnusable, BrokerUnavailable: the text says why.
        """
        raise NotImplementedError

    async def show(self, queue: str, id_: str, *, operator: Operator, why: str = "") -> tuple[ParkedMessage, bytes]:
        """One message with its whole body. It has an audit line.

        Raises:
            NoSuchMessage: it is not there any more. As :meth:`look` besides.
        """
        raise NotImplementedError

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
        raise NotImplementedError

    def start(self, request: JobRequest) -> Job:
        """Start a job. It counts the messages that match, and then acts on exactly these.

        Raises:
            NoSuchQueue: there is no such work queue.
            Draining: the process stops.
        """
        raise NotImplementedError

    async def job(self, id_: str) -> JobDocument | None:
        """A job of this process, or the last one of a parking queue, in whatever process; None if nobody knows it."""
        raise NotImplementedError

    async def cancel(self, id_: str) -> bool:
        """Cancel a job, in whatever process. Returns False if nobody knows it, or it is over."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Cancel all jobs and looks, and return when their connections are closed. No further one begins."""
