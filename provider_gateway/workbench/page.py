"""The page of a gateway, put together: figures, counts, streams and views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.http_server.event_stream import EventStreams
from provider_gateway.workbench.figures import Figures
from provider_gateway.workbench.live import LiveFigures
from provider_gateway.workbench.pages import Pages
from provider_gateway.workbench.queue_counts import QueueCounts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.web.resource import IResource

    from provider_gateway.amqp.session import Session
    from provider_gateway.clocks import WallClock
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Settings
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.parking.parking import Parking
    from provider_gateway.workbench.access import Access
    from provider_gateway.workbench.pages import Requests
    from provider_gateway.workbench.turns import Turns

#: Streams of live figures at a time, and of one identity.
STREAMS, STREAMS_OF_IDENTITY = 50, 10


class Page:
    """What a gateway has at ``/workbench``.

    Args:
        reactor: times figures and streams.
        entries: of the queue file.
        access: knows who may do what.
        turns: of the looks into parking queues.
        requests: what is to be known of requests to models.
        wait: seconds that the message of the newest reply of a work queue waited; None if that is not known.

    Attributes:
        resource: serves the page, and all that is below it.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        entries: Sequence[QueueEntry],
        *,
        parking: Parking,
        access: Access,
        turns: Turns,
        requests: Requests,
        wait: Callable[[str], float | None],
        metrics: Metrics,
        wall_clock: WallClock,
    ) -> None:
        self._counts = QueueCounts(reactor)
        streams = EventStreams(most=STREAMS, most_of_identity=STREAMS_OF_IDENTITY)
        live = LiveFigures(
            Figures(metrics, [entry.queue_name for entry in entries], wait, reactor),
            self._counts,
            parking.held,
            entries,
            streams=streams,
            who=access.who,
            clock=reactor,
            wall_clock=wall_clock,
        )
        self._pages = Pages(
            parking,
            live,
            streams,
            access=access,
            turns=turns,
            requests=requests,
            instance=settings.instance,
            workers=settings.workers,
            clock=reactor,
            wall_clock=wall_clock,
        )
        self.resource: IResource = self._pages.resource()

    def open(self, session: Session) -> None:
        """Ask for counts of queues on a new session from now on."""
        self._counts.open(session)

    def drain(self) -> None:
        """End the streams of live figures, and refuse new ones."""
        self._pages.drain()
