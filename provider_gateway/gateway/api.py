"""The HTTP API: a request becomes a message, its reply the response. Every failure gets a response."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.logger import Logger

from provider_gateway.content_codings import accepted_codings
from provider_gateway.errors import DeadlinePassed, MethodNotAllowed, NotFound, OutcomeUnknown
from provider_gateway.gateway.about_routes import AboutRoutes
from provider_gateway.gateway.admission import Admission
from provider_gateway.gateway.documentation import Documentation
from provider_gateway.gateway.error_forms import error_form_of
from provider_gateway.gateway.json_body import LARGE
from provider_gateway.gateway.kept_answers import KeptAnswers
from provider_gateway.gateway.model_list import ModelList
from provider_gateway.gateway.open_inference import OpenInference
from provider_gateway.gateway.origins import Origins
from provider_gateway.gateway.recorded_requests import RecordedRequests
from provider_gateway.gateway.request_message import RequestMessages
from provider_gateway.gateway.request_terms import SPECIAL, check_no_webhook, request_terms
from provider_gateway.gateway.response import write_reply
from provider_gateway.gateway.status_document import REQUESTS
from provider_gateway.gateway.stored_requests import StoredRequests
from provider_gateway.http_server.problems import error_of, log_error, render, with_length
from provider_gateway.message.http_headers import JSON
from provider_gateway.openapi.document import routes_of
from provider_gateway.security.identity import text_of_identity
from provider_gateway.workbench.parking_routes import ParkingRoutes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure
    from twisted.web.iweb import IRequest
    from twisted.web.resource import IResource

    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.clocks import WallClock
    from provider_gateway.gateway.expected_wait import ExpectedWaits
    from provider_gateway.gateway.offer import Offer
    from provider_gateway.gateway.readiness import Readiness
    from provider_gateway.gateway.rpc import RPCClient
    from provider_gateway.http_server.request import BoundedRequest
    from provider_gateway.message.message import Message
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.openapi.document import Route
    from provider_gateway.results.results import Results
    from provider_gateway.security.access_rules import AccessRules
    from provider_gateway.topology.routing import Routes
    from provider_gateway.tracing.tracer import Tracer
    from provider_gateway.workbench.access import Rights

PREDICT = "/v1/predict"
_BELOW = REQUESTS.encode()


class API(AboutRoutes):
    """The routes of the HTTPS listener.

    Args:
        rpc: publishes and waits for the reply, for ``/v1/predict``.
        publisher: publishes for ``/v1/publish``.
        results: keeps answers that nobody waits for; None if no result store is configured.
        reply_timeout: seconds that a caller waits.
        max_in_flight: requests served at a time; further ones are answered with 503.
        max_json_depth: depth of nested arrays and objects in bodies.
        access_rules: decide which identity may use which routing key; None lets every caller use every routing key.
        expected_waits: refuses requests whose reply would come too late.
        readiness: knows whether a model's queue is served.
        offer: what a caller is told of who may use everything.
        cors_origins: origins that a browser may call from; ``*`` is any origin.
        wall_clock: deadlines of messages are times of it.
        parking: knows what the sender of a request may do with parked messages, for the documentation.
        logs_responses: log each response, at the level "debug".
        tracer: makes spans; None without traces.

    Attributes:
        admission: lets requests in, or not.
    """

    app = AboutRoutes.app
    _log = Logger()

    def __init__(
        self,
        *,
        rpc: RPCClient,
        publisher: Publisher,
        routes: Routes,
        results: Results | None = None,
        reply_timeout: float,
        max_in_flight: int,
        max_json_depth: int,
        cors_origins: Sequence[str],
        access_rules: AccessRules | None,
        expected_waits: ExpectedWaits,
        readiness: Readiness,
        offer: Offer,
        clock: IReactorTime,
        wall_clock: WallClock,
        metrics: Metrics,
        parking: Callable[[Any], Rights] = lambda _: (),
        logs_responses: bool = False,
        tracer: Tracer | None = None,
    ) -> None:
        self._rpc = rpc
        self._publisher = publisher
        self._routes = routes
        self._reply_timeout = reply_timeout
        self._expected_waits = expected_waits
        self._clock = clock
        self._metrics = metrics
        self._logs_responses = logs_responses
        self._origins = Origins(cors_origins)
        self.admission = Admission(
            max_in_flight=max_in_flight,
            origins=self._origins,
            access_rules=access_rules,
            metrics=metrics,
            tracer=tracer,
        )
        self.error_form = error_form_of(routes.queues)
        self._models = ModelList(routes.queues, self.admission)
        self._documentation = Documentation(self.routes(), offer, self.admission, parking)
        self._open_inference = OpenInference(routes.queues, self.admission, readiness)
        self._messages = RequestMessages(
            routes=routes,
            results=results,
            reply_timeout=reply_timeout,
            max_json_depth=max_json_depth,
            clock=clock,
            wall_clock=wall_clock,
        )
        self._recorded: RecordedRequests | None = None
        self._stored: StoredRequests | None = None
        if results is not None:
            answers = KeptAnswers(results, wall_clock, metrics.headers_dropped.inc)
            self._recorded = RecordedRequests(
                results,
                answers,
                admission=self.admission,
                messages=self._messages,
                routes=routes,
                reply_timeout=reply_timeout,
                clock=clock,
            )
            self._stored = StoredRequests(results, answers, self.admission, reply_timeout)

    @classmethod
    def routes(cls) -> list[Route]:
        """The routes that the documentation describes: not those of the workbench's page, which is for people."""
        return [*routes_of(cls.app), *routes_of(ParkingRoutes.app)]

    def resource(self, beside: Callable[[BoundedRequest], IResource | None] = lambda _: None) -> IResource:
        """What the listener serves: the routes, and the paths that entries of the queue file add.

        Args:
            beside: finds another resource for a request; None leaves the request to the routes.
        """
        return self.app.resource(dict.fromkeys(self._routes.path_keys, PREDICT), beside)

    def drain(self) -> None:
        """Answer new requests with 503 from now on."""
        self.admission.drain()

    @app.route(PREDICT, methods=["POST"])
    async def predict(self, request: Any) -> bytes:
        """Publish the body, wait for the reply, respond with it."""
        # All in one coroutine: a second one would take 300 bytes more for each waiting request.
        self.admission.enter(request)
        try:
            routing_key = self._messages.routing_key(request)
            self.admission.authorise(request, routing_key)
            if not SPECIAL.isdisjoint(request.requestHeaders.values):
                terms = request_terms(request.requestHeaders.values, has_store=self._recorded is not None)
                if terms is not None and self._recorded is not None:
                    return await self._recorded.predict(request, routing_key, terms)
            self._expected_waits.check(routing_key)
            if request.body_size > LARGE:
                await self._messages.check_in_turns(request, routing_key)
                self._expected_waits.check(routing_key)  # others may have been taken meanwhile
            accepted = accepted_codings(request.requestHeaders.getRawHeaders(b"Accept-Encoding"))
            try:
                # No variable refers to the message: it would hold headers and body while the request waits.
                reply = await self._rpc.call(
                    self._messages.take(request, routing_key, self._rpc.reply_queue),
                    self._routes.exchange(routing_key),
                    routing_key,
                )
            except (DeadlinePassed, OutcomeUnknown) as error:
                if self._recorded is not None:
                    is_confirmed = self._rpc.is_confirmed(request.correlation_id)
                    await self._recorded.keep(request, routing_key, error, is_confirmed=is_confirmed)
                raise
            return self._respond(request, reply, routing_key, accepted)
        finally:
            self.admission.in_flight -= 1

    @app.route("/v1/publish", methods=["POST"])
    async def publish(self, request: IRequest) -> bytes:
        """Publish the body, and answer with 202 once the broker has confirmed and routed the message."""
        return await self.admission.serve(request, lambda: self._publish(request))

    @app.route(REQUESTS, methods=["GET"])
    async def list_requests(self, request: IRequest) -> bytes:
        """List the caller's requests."""
        return await self._fetch(request, lambda stored: stored.list(request))

    @app.route(f"{REQUESTS}/<id_>", methods=["GET"])
    async def request_status(self, request: IRequest, id_: str) -> bytes:
        """Tell what has become of a request."""
        return await self._fetch(request, lambda stored: stored.status(request, id_))

    @app.route(f"{REQUESTS}/<id_>", methods=["DELETE"])
    async def erase_request(self, request: IRequest, id_: str) -> bytes:
        """Erase a request, or cancel it if it is pending."""
        return await self._fetch(request, lambda stored: stored.erase(request, id_))

    @app.route(f"{REQUESTS}/<id_>/result", methods=["GET"])
    async def request_result(self, request: IRequest, id_: str) -> bytes:
        """Respond as ``/v1/predict`` would have."""
        return await self._fetch(request, lambda stored: stored.result(request, id_))

    @app.route(PREDICT, methods=["OPTIONS"])
    @app.route("/v1/publish", methods=["OPTIONS"])
    def preflight(self, request: IRequest) -> bytes:
        """List the methods; also answers a browser's CORS preflight (Fetch standard) if its origin is allowed."""
        return self._origins.preflight(request, "POST")

    @app.route(REQUESTS, methods=["OPTIONS"])
    @app.route(f"{REQUESTS}/<id_>/result", methods=["OPTIONS"])
    def preflight_fetch(self, request: IRequest, id_: str = "") -> bytes:  # noqa: ARG002 - whatever the id
        """As :meth:`preflight`."""
        self._checked_store()
        return self._origins.preflight(request, "GET, HEAD")

    @app.route(f"{REQUESTS}/<id_>", methods=["OPTIONS"])
    def preflight_request(self, request: IRequest, id_: str) -> bytes:  # noqa: ARG002 - as above
        """As :meth:`preflight`."""
        self._checked_store()
        return self._origins.preflight(request, "DELETE, GET, HEAD")

    @app.handle_errors(Exception)
    def problem(self, request: Any, failure: Failure) -> bytes:
        """Respond to any failure in the form of its path, and log it."""
        if request.rquid is None:  # it was not admitted: no route, method or model, or a malformed RqUID
            request.rquid = request.rquid_sent()
            self._origins.allow(request)
        rquid, error = request.rquid, error_of(failure)
        if self._stored is None and isinstance(error, MethodNotAllowed) and request.path.startswith(_BELOW):
            error = NotFound("There is nothing at this path.")
        log_error(self._log, request, error)
        return render(request, error, rquid, self.error_form)

    async def _fetch(self, request: Any, answer: Callable[[StoredRequests], Awaitable[bytes]]) -> bytes:
        return await self.admission.serve(request, lambda: answer(self._checked_store()))

    def _checked_store(self) -> StoredRequests:
        if self._stored is None:
            msg = "There is nothing at this path: this gateway keeps no results (RESULT_STORE)."
            raise NotFound(msg)
        return self._stored

    def _respond(self, request: Any, reply: Message, routing_key: str, accepted: frozenset[str] | None) -> bytes:
        body = write_reply(request, reply, accepted, self._metrics.headers_dropped.inc)
        if self._logs_responses:  # an event costs 10 µs even if no observer wants it
            self._log.debug(
                "answered",
                rquid=request.rquid,
                correlation_id=request.correlation_id,
                routing_key=routing_key,
                identity=text_of_identity(request.identity),
            )
        return body

    async def _publish(self, request: Any) -> bytes:
        routing_key = self._messages.routing_key(request)
        self.admission.authorise(request, routing_key)
        check_no_webhook(request.requestHeaders.values)
        if request.body_size > LARGE:
            await self._messages.check_in_turns(request, routing_key)
        message = self._messages.take(request, routing_key, None)
        confirmed = self._publisher.publish(message, self._routes.exchange(routing_key), routing_key)
        try:
            await confirmed.addTimeout(self._reply_timeout, self._clock)
        except DeferredTimeoutError:
            msg = f"The broker did not confirm the message within {self._reply_timeout:g} s."
            raise OutcomeUnknown(msg) from None
        request.setResponseCode(202)
        ids = {"message_id": message.message_id, "correlation_id": message.correlation_id, "rquid": request.rquid}
        return with_length(request, JSON, json.dumps(ids).encode())
