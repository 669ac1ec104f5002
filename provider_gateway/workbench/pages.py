"""The page ``/workbench``: what runs, what is parked, one message, a job, results, and a form to send a request.

It changes nothing: its script calls the HTTP interface. Whatever a message says is shown as text. Addresses have queues
and ids in their queries, since a queue's name may hold slashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provider_gateway import __version__
from provider_gateway.errors import NotFound
from provider_gateway.http_server.app import App
from provider_gateway.http_server.problems import error_of, with_length
from provider_gateway.workbench import texts
from provider_gateway.workbench.answers import NOTHING_HERE, Answers
from provider_gateway.workbench.live import may_see
from provider_gateway.workbench.parked_views import ParkedViews, id_of
from provider_gateway.workbench.queries import query_of
from provider_gateway.workbench.rendering import Rendering

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure
    from twisted.web.resource import IResource

    from provider_gateway.clocks import WallClock
    from provider_gateway.http_server.event_stream import EventStreams
    from provider_gateway.parking.parking import Parking
    from provider_gateway.store.records import Record
    from provider_gateway.workbench.access import Access
    from provider_gateway.workbench.live import LiveFigures
    from provider_gateway.workbench.turns import Turns

WORKBENCH = "/workbench"
#: In the demo, a POST to this path makes a few messages that are parked.
FAILURES = "/demo/failures"
#: Results on one page.
_RESULTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """What the page needs to know of requests to models.

    Attributes:
        keys: the routing keys that the caller of a request may use, of the queue file.
        types: media types that the models accept.
        owner: the name that the caller's results are kept for; None if it has none.
        results: an owner's newest records, and those after one with an id; None without a result store.
        may_use: True if the caller of a request may use a routing key.
    """

    keys: Callable[[Any], Sequence[str]]
    types: Sequence[str]
    owner: Callable[[Any], str | None]
    results: Callable[[str, int, str | None], Awaitable[Sequence[Record]]] | None
    may_use: Callable[[Any, str], bool]


class Pages:
    """The routes of the page.

    Args:
        live: has the figures of the overview.
        streams: of those who watch.
        access: knows who may do what.
        turns: of the looks into parking queues.
        instance: name of this process.
        workers: processes that share the port.
    """

    app = App()

    def __init__(
        self,
        parking: Parking,
        live: LiveFigures,
        streams: EventStreams,
        *,
        access: Access,
        turns: Turns,
        requests: Requests,
        instance: str,
        workers: int,
        clock: IReactorTime,
        wall_clock: WallClock,
    ) -> None:
        self._live = live
        self._streams = streams
        self._requests = requests
        views = [("overview", WORKBENCH, "What runs"), ("parking", f"{WORKBENCH}/parking", "Parked messages")]
        if requests.results is not None:
            views.append(("results", f"{WORKBENCH}/results", "Results"))
        views.append(("send", f"{WORKBENCH}/send", "Send a request"))
        rendering = self._rendering = Rendering(
            {
                "views": views,
                "instance": instance,
                "version": __version__,
                "workers": workers,
                "scope": "this worker process" if workers > 1 else "this process",
                "unknown": texts.UNKNOWN,
            }
        )
        answers = self._answers = Answers(rendering, access, wall_clock)
        self._parked = ParkedViews(parking, access, answers, turns, clock=clock, wall_clock=wall_clock)

    def resource(self) -> IResource:
        """What serves the page."""
        return self.app.resource({f"{WORKBENCH}/".encode(): WORKBENCH})

    def drain(self) -> None:
        """End the streams of live figures, and refuse new ones."""
        self._streams.drain()
        self._live.stop()

    @app.route(WORKBENCH, methods=["GET"])
    async def overview(self, request: Any) -> bytes:
        """What runs now."""
        operator = self._answers.enter(request)
        shown = await self._live.shown(operator)
        return self._answers.page(
            request,
            operator,
            "overview",
            texts=shown.texts,
            states=shown.states,
            flows=[flow for flow in self._live.flows if may_see(operator, flow.queue)],
            failures_path=FAILURES if FAILURES.encode() in request.beside else None,
        )

    @app.route(f"{WORKBENCH}/events", methods=["GET"])
    async def events(self, request: Any) -> bytes:
        """The figures of the overview, every other second, as server-sent events."""
        self._answers.enter(request)
        if request.method == b"HEAD":
            return with_length(request, "text/event-stream; charset=utf-8", b"")
        stream = self._streams.open(request)
        self._live.watch(stream)
        return await self._streams.until_end(stream)

    @app.route(f"{WORKBENCH}/parking", methods=["GET"])
    async def parked(self, request: Any) -> bytes:
        """The parking queues; with a queue in the query, its messages."""
        operator = self._answers.enter(request)
        query = query_of(request.uri)
        if "queue" in query:
            return await self._parked.messages(request, operator, query)
        return await self._parked.queues(request, operator)

    @app.route(f"{WORKBENCH}/message", methods=["GET"])
    async def message(self, request: Any) -> bytes:
        """One parked message in full."""
        return await self._parked.message(request, self._answers.enter(request), query_of(request.uri))

    @app.route(f"{WORKBENCH}/job", methods=["GET"])
    async def job(self, request: Any) -> bytes:
        """A job, and how far it is."""
        return await self._parked.job(request, self._answers.enter(request), query_of(request.uri))

    @app.route(f"{WORKBENCH}/results", methods=["GET"])
    async def results(self, request: Any) -> bytes:
        """The caller's results, the newest first."""
        operator = self._answers.enter(request)
        find, owner = self._requests.results, self._requests.owner(request)
        if find is None:
            raise NotFound(NOTHING_HERE)
        query = query_of(request.uri)
        after = id_of(query, "after") if "after" in query else None
        # One more than is shown tells whether there are more.
        records = [] if owner is None else await find(owner, _RESULTS + 1, after)
        following = records[_RESULTS - 1].id if len(records) > _RESULTS else None
        shown = [each for each in records[:_RESULTS] if self._requests.may_use(request, each.routing_key)]
        return self._answers.page(request, operator, "results", owner=owner or "", records=shown, next=following)

    @app.route(f"{WORKBENCH}/send", methods=["GET"])
    def send(self, request: Any) -> bytes:
        """A form that sends a request to a model."""
        operator = self._answers.enter(request)
        return self._answers.page(
            request, operator, "send", keys=self._requests.keys(request), types=self._requests.types
        )

    @app.route(f"{WORKBENCH}/static/<name>", methods=["GET"])
    def static(self, request: Any, name: str) -> bytes:
        """A file that the page needs. Nothing in it is secret, and yet it is for operators only."""
        self._answers.enter(request)
        return self._rendering.static(request, name)

    @app.handle_errors(Exception)
    def problem(self, request: Any, failure: Failure) -> bytes:
        """Answer any failure: operators with a page, others as if there were no page."""
        return self._answers.failure(request, error_of(failure))
