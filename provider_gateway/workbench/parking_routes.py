"""The routes below ``/v1/parking``: lists, single messages, and jobs that replay or drop them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlencode

from twisted.internet.defer import CancelledError, TimeoutError as DeferredTimeoutError
from twisted.logger import Logger

from provider_gateway.errors import BrokerUnavailable, NotFound
from provider_gateway.http_server.app import App
from provider_gateway.http_server.problems import error_of, log_error, render, with_length
from provider_gateway.message.http_headers import JSON
from provider_gateway.workbench.bodies import OTHER_TYPE, image_type
from provider_gateway.workbench.documents import (
    JOBS,
    PARKING,
    encoded,
    full_document,
    job_document,
    look_document,
    operator_document,
    path_of,
)
from provider_gateway.workbench.job_counts import count_messages
from provider_gateway.workbench.own_origin import check_json, check_own_origin
from provider_gateway.workbench.parking_requests import checked_id, job_request, list_request, no_query

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from provider_gateway.clocks import WallClock
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.parking.job_run import Job
    from provider_gateway.parking.jobs import JobDocument
    from provider_gateway.parking.operators import Operator
    from provider_gateway.parking.parked_message import ParkedMessage
    from provider_gateway.parking.parking import Parking
    from provider_gateway.workbench.access import Access
    from provider_gateway.workbench.admission import Admission
    from provider_gateway.workbench.turns import Turns

#: Seconds for which a job is waited for that still counts: what is wrong with it is then part of the response.
_UNTIL_COUNTED = 2.0
_QUEUE = f"{PARKING}/<queue>"
# Of this length alone: else "replay" and "drop" would be ids, and support GET.
_MESSAGE = f"{_QUEUE}/<string(length=32):id_>"
_JOB = f"{JOBS}/<id_>"


class ParkingRoutes:
    """Serves what is below ``/v1/parking``.

    Queue names are segments of the path, percent-encoded: they may hold slashes. So the routes get the segments as they
    were sent.

    Args:
        turns: of the looks.
        clock: has no date.
        wall_clock: has the date.
    """

    app = App()
    _log = Logger()

    def __init__(
        self,
        parking: Parking,
        access: Access,
        admission: Admission,
        turns: Turns,
        *,
        metrics: Metrics,
        clock: IReactorTime,
        wall_clock: WallClock,
    ) -> None:
        self._parking = parking
        self._access = access
        self._admission = admission
        self._metrics = metrics
        self._clock = clock
        self._wall_clock = wall_clock
        self._turns = turns

    @app.route(PARKING, methods=["GET"])
    async def queues(self, request: Any) -> bytes:
        """List the queues on which the caller has a right, with the numbers of parked messages."""
        return await self._serve(request, lambda operator: self._queues(request, operator))

    @app.route(_QUEUE, methods=["GET"])
    async def messages(self, request: Any, queue: str) -> bytes:
        """List parked messages, and count them by reason."""
        return await self._serve(request, lambda operator: self._list(request, operator, unquote(queue)))

    @app.route(_MESSAGE, methods=["GET"])
    async def message(self, request: Any, queue: str, id_: str) -> bytes:
        """Show one message."""

        async def answer(operator: Operator) -> bytes:
            message, body = await self._show(request, operator, unquote(queue), id_)
            return self._json(request, full_document(unquote(queue), message, body))

        return await self._serve(request, answer)

    @app.route(f"{_MESSAGE}/body", methods=["GET"])
    async def body(self, request: Any, queue: str, id_: str) -> bytes:
        """Give the body of one message, as a file or as an image."""

        async def answer(operator: Operator) -> bytes:
            _, body = await self._show(request, operator, unquote(queue), id_)
            request.setHeader("Content-Disposition", f'attachment; filename="{id_}"')
            request.setHeader("Content-Security-Policy", "default-src 'none'; sandbox")
            return with_length(request, image_type(body) or OTHER_TYPE, body)

        return await self._serve(request, answer)

    @app.route(f"{_QUEUE}/replay", methods=["POST"])
    async def replay(self, request: Any, queue: str) -> bytes:
        """Start a job that sends messages to their work queue again."""
        return await self._serve(request, lambda operator: self._start(request, operator, unquote(queue), "replay"))

    @app.route(f"{_QUEUE}/drop", methods=["POST"])
    async def drop(self, request: Any, queue: str) -> bytes:
        """Start a job that deletes messages."""
        return await self._serve(request, lambda operator: self._start(request, operator, unquote(queue), "drop"))

    @app.route(JOBS, methods=["GET"])
    async def jobs(self, request: Any) -> bytes:
        """List jobs: those of this process, and those that run in others."""
        return await self._serve(request, lambda operator: self._jobs(request, operator))

    @app.route(_JOB, methods=["GET"])
    async def job(self, request: Any, id_: str) -> bytes:
        """Tell how far a job is."""

        async def answer(operator: Operator) -> bytes:
            return self._json(request, job_document(await self._job(operator, id_)))

        return await self._serve(request, answer)

    @app.route(_JOB, methods=["DELETE"])
    async def cancel(self, request: Any, id_: str) -> bytes:
        """Cancel a job."""
        return await self._serve(request, lambda operator: self._cancel(request, operator, id_))

    @app.handle_errors(Exception)
    def problem(self, request: Any, failure: Failure) -> bytes:
        """Respond to any failure with a problem document, and log it."""
        if request.rquid is None:
            request.rquid = request.rquid_sent()
        error = error_of(failure)
        log_error(self._log, request, error)
        return render(request, error, request.rquid)

    async def _serve(self, request: Any, answer: Callable[[Operator], Awaitable[bytes]]) -> bytes:
        for name, value in (
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ):
            request.setHeader(name, value)

        async def answer_operator() -> bytes:
            check_own_origin(request)
            return await answer(self._access.operator(request))

        return await self._admission.serve(request, answer_operator, cors=False)

    @staticmethod
    def _json(request: Any, document: dict[str, Any]) -> bytes:
        return with_length(request, JSON, encoded(document))

    async def _queues(self, request: Any, operator: Operator) -> bytes:
        no_query(request.uri)

        async def ask() -> tuple[dict[str, int | None], dict[str, JobDocument]]:
            return await self._parking.counts(), await self._parking.at_work()

        counts, at_work = await self._turns.run(ask)
        queues = []
        for queue, place in self._parking.places.items():
            if rights := self._access.rights(operator, queue):
                now = at_work.get(queue)
                queues.append(
                    {
                        "queue": queue,
                        "parking": place.parking.name,
                        "messages": counts.get(queue),
                        "rights": rights,
                        "max_replays": place.max_replays,
                        "operator": None if now is None else operator_document(now),
                        "links": {"messages": path_of(queue)},
                    }
                )
        return self._json(request, {"queues": queues})

    async def _list(self, request: Any, operator: Operator, queue: str) -> bytes:
        self._access.check(operator, queue, None, "list")
        wanted = list_request(request.uri, self._wall_clock())
        if wanted.filter.grep is not None:
            self._access.check(operator, queue, "read", "search")
        look = await self._turns.run(
            lambda: self._parking.look(queue, wanted.filter, operator=operator, limit=wanted.limit, after=wanted.after)
        )
        document, after = look_document(look, whole=operator.may("read", queue))
        page = (*wanted.given, ("limit", wanted.limit), ("after", after))
        document["next"] = None if after is None else f"{path_of(queue)}?{urlencode(page)}"
        return self._json(request, document)

    async def _show(self, request: Any, operator: Operator, queue: str, id_: str) -> tuple[ParkedMessage, bytes]:
        self._access.check(operator, queue, "read", "show")
        no_query(request.uri)
        checked_id(id_)
        return await self._turns.run(lambda: self._parking.show(queue, id_, operator=operator))

    async def _start(self, request: Any, operator: Operator, queue: str, action: Literal["replay", "drop"]) -> bytes:
        check_json(request)
        self._access.check(operator, queue, action, action)
        no_query(request.uri)
        wanted = job_request(request.content.read(), action, queue, operator, self._wall_clock())
        if wanted.filter.grep is not None:
            self._access.check(operator, queue, "read", "search")
        job = self._parking.start(wanted)
        count_messages(job, self._metrics)
        await self._until_counted(job, for_long=wanted.expected_count is not None or wanted.dry_run)
        document = job_document(job.document)
        request.setResponseCode(202)
        request.setHeader("Location", document["links"]["self"])
        return self._json(request, document)

    async def _until_counted(self, job: Job, *, for_long: bool) -> None:
        """Wait until a job has counted its messages. If the client leaves meanwhile, the job ends."""
        counted = job.counted()
        if not for_long:
            counted.addTimeout(_UNTIL_COUNTED, self._clock)
        try:
            await counted
        except DeferredTimeoutError:
            pass
        except CancelledError:
            job.cancel()
            raise

    async def _jobs(self, request: Any, operator: Operator) -> bytes:
        no_query(request.uri)
        found = {id_: job.document for id_, job in self._parking.jobs.items()}
        try:
            at_work = await self._turns.run(self._parking.at_work)
        except BrokerUnavailable:
            at_work = {}  # what this process knows is better than nothing
        for each in at_work.values():
            found.setdefault(each.id, each)
        shown = sorted(filter(self._of(operator), found.values()), key=lambda each: -each.created)
        return self._json(request, {"jobs": [job_document(each) for each in shown]})

    async def _job(self, operator: Operator, id_: str) -> JobDocument:
        checked_id(id_)
        own = self._parking.jobs.get(id_)  # looks that are under way do not keep its operator waiting
        job = own.document if own is not None else await self._turns.run(lambda: self._parking.job(id_))
        if job is None or not self._of(operator)(job):
            msg = f"There is no job {id_}, or you have no right on its queue. Only the last ones are remembered."
            raise NotFound(msg)
        return job

    async def _cancel(self, request: Any, operator: Operator, id_: str) -> bytes:
        job = await self._job(operator, id_)
        self._access.check(operator, job.queue, "drop" if job.action == "drop" else "replay", "cancel")
        own = self._parking.jobs.get(id_)
        if own is not None:
            own.cancel()
            job, is_over = own.document, own.document.is_over
        else:
            is_over = not await self._turns.run(lambda: self._parking.cancel(id_))
        if not is_over:
            request.setResponseCode(202)
        return self._json(request, job_document(job))

    def _of(self, operator: Operator) -> Callable[[JobDocument], bool]:
        """Whether a job may be shown to an operator. Looks, which are the same to the engine, are no jobs here."""
        return lambda job: job.action in ("replay", "drop") and bool(self._access.rights(operator, job.queue))
