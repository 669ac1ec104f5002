"""The workbench of a gateway, put together: parking queues over HTTP, for those who have a right on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from provider_gateway.parking.parking import Parking
from provider_gateway.parking.places import places_of
from provider_gateway.workbench.documents import PARKING
from provider_gateway.workbench.errors import AuditLogUnwritable
from provider_gateway.workbench.pages import WORKBENCH
from provider_gateway.workbench.parking_routes import ParkingRoutes
from provider_gateway.workbench.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twisted.internet.interfaces import IReactorTime
    from twisted.web.resource import IResource

    from provider_gateway.amqp.session import Session
    from provider_gateway.clocks import WallClock
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Settings
    from provider_gateway.http_server.request import BoundedRequest
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.parking.operators import Audit
    from provider_gateway.security.credentials import Credentials
    from provider_gateway.workbench.access import Access
    from provider_gateway.workbench.admission import Admission
    from provider_gateway.workbench.page import Page

#: Looks at a time, and those that wait for their turn.
LOOKS, WAITING = 4, 16
#: Share of the time that a look or a job may work: requests beside it go on.
_SHARE = 0.45


_log = Logger()


def parking_of(
    reactor: Any,
    settings: Settings,
    entries: Sequence[QueueEntry],
    *,
    credentials: Credentials,
    audit: Audit,
    metrics: Metrics,
    wall_clock: WallClock,
) -> Parking:
    """The parking queues of a gateway.

    Args:
        entries: of the queue file.
        credentials: have TLS towards the broker, and the access rules, without which there are no webhooks.
        audit: writes a line of the audit log.
    """
    has_webhooks = settings.result_store is not None and credentials.access_rules is not None
    return Parking(
        reactor,
        settings,
        entries,
        tls=credentials.broker.to if credentials.broker is not None else None,
        places=places_of(entries, webhooks=has_webhooks),
        audit=audit,
        metrics=metrics,
        wall_clock=wall_clock,
        share=_SHARE,
    )


def refusing(audit: Audit) -> Audit:
    """An audit log for which a line that cannot be written is an error of the request, or of the job."""

    def write(line: Mapping[str, object]) -> None:
        try:
            audit(line)
        except OSError as error:
            _log.error("AUDIT_LOG cannot be written, and nothing is done without it: {reason}", reason=str(error))
            msg = "Nothing was done: the audit log of this instance cannot be written. Its log has the reason."
            raise AuditLogUnwritable(msg) from None

    return write


class Workbench:
    """What a gateway has at ``/v1/parking``, and the page.

    Args:
        parking: the parking queues.
        access: knows who may do what.
        make_page: makes the page, given the turns of looks; None for no page.
        admission: lets requests in.
        clock: has no date.
        wall_clock: has the date.
    """

    def __init__(
        self,
        parking: Parking,
        access: Access,
        admission: Admission,
        make_page: Callable[[Turns], Page] | None = None,
        *,
        metrics: Metrics,
        clock: IReactorTime,
        wall_clock: WallClock,
    ) -> None:
        self._parking = parking
        self._access = access
        turns = Turns(LOOKS, WAITING)
        routes = ParkingRoutes(parking, access, admission, turns, metrics=metrics, clock=clock, wall_clock=wall_clock)
        self._page = make_page(turns) if make_page is not None else None
        #: By the path that they serve, with all that is below it.
        self._resources: dict[bytes, IResource] = {PARKING.encode(): routes.app.resource()}
        if self._page is not None:
            self._resources[WORKBENCH.encode()] = self._page.resource
        self._stopped: Deferred[None] | None = None

    def resource_for(self, request: BoundedRequest) -> IResource | None:
        """The resource that serves a request; None if nothing of the workbench does, or it is not there."""
        for path, resource in self._resources.items():
            if request.path == path or request.path.startswith(path + b"/"):
                if not self._access.is_open(request):
                    return None
                # As they were sent: a slash in the name of a queue does not separate segments.
                request.postpath = request.path[1:].split(b"/")
                return resource
        return None

    def open(self, session: Session) -> None:
        """Ask for counts of queues on a new session from now on."""
        if self._page is not None:
            self._page.open(session)

    def drain(self) -> None:
        """Cancel jobs and looks, begin no further ones, and end the streams of live figures."""
        if self._page is not None:
            self._page.drain()
        if self._stopped is None:
            self._stopped = Deferred.fromCoroutine(self._parking.stop())
            self._stopped.addErrback(lambda failure: _log.failure("Jobs could not be ended in order", failure))

    async def close(self) -> None:
        """Wait until all jobs and looks have ended."""
        self.drain()
        assert self._stopped is not None, "drain() sets it"
        await self._stopped
