"""The HTTP API: a request becomes a message, its reply the response. Every failure becomes a problem document."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.logger import Logger, LogLevel

from provider_gateway.content_codings import accepted_codings
from provider_gateway.errors import BadRequest, Draining, OutcomeUnknown, Overloaded
from provider_gateway.gateway.json_body import LARGE, InTurns, check_json
from provider_gateway.gateway.media_type import check_media_type
from provider_gateway.gateway.response import write_reply
from provider_gateway.http_server.app import App
from provider_gateway.http_server.problems import error_of, render, with_length
from provider_gateway.message.http_headers import JSON, headers_from_http, text_of
from provider_gateway.message.ids import RQUID, RQUID_BYTES, checked_rquid, fresh_id, fresh_rquid
from provider_gateway.message.message import PG_DEADLINE, PG_PUBLISHED, Message
from provider_gateway.security.identity import text_of_identity
from provider_gateway.topology.routing import checked_routing_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure
    from twisted.web.iweb import IRequest

    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.clocks import WallClock
    from provider_gateway.gateway.expected_wait import ExpectedWaits
    from provider_gateway.gateway.rpc import RPCClient
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.security.access_rules import AccessRules
    from provider_gateway.topology.routing import Routes

#: Headers that a browser may send across origins.
_CORS_REQUEST_HEADERS = f"Content-Type, routing-key, {RQUID}"
#: No white space and no controls: the value is written into the response.
_ORIGIN = re.compile(r"[\x21-\x7e]+")


class API:
    """The routes of the HTTPS listener.

    Args:
        rpc: publishes and waits for the reply, for ``/v1/predict``.
        publisher: publishes for ``/v1/publish``.
        reply_timeout: seconds that a caller waits.
        max_in_flight: requests served at a time; further ones are answered with 503.
        max_json_depth: depth of nested arrays and objects in bodies.
        access_rules: decide which identity may use which routing key; None lets every caller use every routing key.
        expected_waits: refuses requests whose reply would come too late.
        cors_origins: origins that a browser may call from; ``*`` is any origin.
        wall_clock: deadlines of messages are times of it.
        logs_responses: log each response, at the level "debug".
    """

    app = App()
    _log = Logger()

    def __init__(
        self,
        *,
        rpc: RPCClient,
        publisher: Publisher,
        routes: Routes,
        reply_timeout: float,
        max_in_flight: int,
        max_json_depth: int,
        cors_origins: Sequence[str],
        access_rules: AccessRules | None,
        expected_waits: ExpectedWaits,
        clock: IReactorTime,
        wall_clock: WallClock,
        metrics: Metrics,
        logs_responses: bool = False,
    ) -> None:
        self._rpc = rpc
        self._publisher = publisher
        self._routes = routes
        self._reply_timeout = reply_timeout
        self._max_in_flight = max_in_flight
        self._max_json_depth = max_json_depth
        self._in_turns = InTurns(clock, max_json_depth)
        self._access_rules = access_rules
        self._expected_waits = expected_waits
        self._cors_origins = frozenset(cors_origins)
        self._clock = clock
        self._wall_clock = wall_clock
        self._metrics = metrics
        self._logs_responses = logs_responses
        self._in_flight = 0
        self._draining = False
        metrics.http_in_flight.set_function(lambda: self._in_flight)

    def drain(self) -> None:
        """Answer new requests with 503 from now on."""
        self._draining = True

    @app.route("/health", methods=["GET"])
    def health(self, request: IRequest) -> bytes:
        """Respond with 200: the listener runs. The response is the seed's."""
        return with_length(request, JSON, b'{"status": "OK"}')

    @app.route("/v1/predict", methods=["POST"])
    async def predict(self, request: Any) -> bytes:
        """Publish the body, wait for the reply, respond with it."""
        # All in one coroutine: a second one would take 300 bytes more for each waiting request.
        self._admit(request)
        try:
            routing_key = self._routing_key(request)
            self._authorise(request, routing_key)
            self._expected_waits.check(routing_key)
            if request.body_size > LARGE:
                await self._check_in_turns(request)
                self._expected_waits.check(routing_key)  # others may have been taken meanwhile
            accepted = accepted_codings(request.requestHeaders.getRawHeaders(b"Accept-Encoding"))
            # No variable refers to the message: it would hold headers and body while the request waits.
            reply = await self._rpc.call(
                self._take_message(request, self._rpc.reply_queue),
                self._routes.exchange(routing_key),
                routing_key,
            )
            return self._respond(request, reply, routing_key, accepted)
        finally:
            self._in_flight -= 1

    @app.route("/v1/publish", methods=["POST"])
    async def publish(self, request: IRequest) -> bytes:
        """Publish the body, and answer with 202 once the broker has confirmed and routed the message."""
        self._admit(request)
        try:
            return await self._publish(request)
        finally:
            self._in_flight -= 1

    @app.route("/v1/predict", methods=["OPTIONS"])
    @app.route("/v1/publish", methods=["OPTIONS"])
    def preflight(self, request: IRequest) -> bytes:
        """List the methods; also answers a browser's CORS preflight (Fetch standard) if its origin is allowed."""
        if self._allow_origin(request):
            request.setHeader("Access-Control-Allow-Methods", "POST")
            request.setHeader("Access-Control-Allow-Headers", _CORS_REQUEST_HEADERS)
        request.setHeader("Allow", "OPTIONS, POST")
        request.setResponseCode(204)
        return b""

    @app.handle_errors(Exception)
    def problem(self, request: Any, failure: Failure) -> bytes:
        """Respond to any failure with a problem document, and log it."""
        rquid = request.rquid = request.rquid or fresh_rquid()
        error = error_of(failure)
        # With a broker that is away, or a caller over its rate, every request fails. The metrics count them; a line for
        # each would flood the log.
        self._log.emit(
            LogLevel.debug if error.status in (429, 503) else LogLevel.info,
            "{status} {problem}: {detail}",
            status=error.status,
            problem=error.problem,
            detail=error.detail,
            rquid=rquid,
            correlation_id=request.correlation_id,
            identity=text_of_identity(request.identity),
        )
        return render(request, error, rquid)

    def _admit(self, request: Any) -> None:
        """Set a request's id, and count the request as in flight.

        Raises:
            BadRequest: its RqUID is malformed.
            Draining: the process is stopping.
            Overloaded: too many are in flight.
        """
        sent = request.requestHeaders.getRawHeaders(RQUID_BYTES)
        request.rquid = checked_rquid(text_of(sent[0])) if sent else fresh_rquid()
        if self._cors_origins:  # spares the call where CORS is off
            self._allow_origin(request)
        if self._draining:
            msg = "This instance is stopping; another one, or this one after its restart, will serve the request."
            raise Draining(msg)
        if self._in_flight >= self._max_in_flight:
            msg = f"{self._in_flight} requests are being served (MAX_IN_FLIGHT)."
            raise Overloaded(msg)
        self._in_flight += 1

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
        routing_key = self._routing_key(request)
        self._authorise(request, routing_key)
        if request.body_size > LARGE:
            await self._check_in_turns(request)
        message = self._take_message(request, None)
        confirmed = self._publisher.publish(message, self._routes.exchange(routing_key), routing_key)
        try:
            await confirmed.addTimeout(self._reply_timeout, self._clock)
        except DeferredTimeoutError:
            msg = f"The broker did not confirm the message within {self._reply_timeout:g} s."
            raise OutcomeUnknown(msg) from None
        request.setResponseCode(202)
        ids = {"message_id": message.message_id, "correlation_id": message.correlation_id, "rquid": request.rquid}
        return with_length(request, JSON, json.dumps(ids).encode())

    def _authorise(self, request: Any, routing_key: str) -> None:
        """Check that the access file allows the caller to use a routing key.

        Raises:
            Forbidden: no rule allows it.
            RateLimited: the caller has used up its rate.
        """
        if self._access_rules is None:
            return
        identity = request.identity
        assert identity is not None, "HTTP_ACCESS needs TLS, and TLS needs a certificate"
        self._access_rules.check(identity, routing_key)

    async def _check_in_turns(self, request: Any) -> None:
        """Check a large body, for :meth:`_take_message`.

        Raises:
            UnsupportedMediaType: it is not declared as JSON.
            InvalidJSON: it is not JSON, or is nested too deeply.
        """
        check_media_type(request)
        await self._in_turns.check(request.content.getvalue())

    def _take_message(self, request: Any, reply_to: str | None) -> Message:
        """Make a message of a request's body and headers, and make the request forget them.

        Args:
            reply_to: the queue for the reply, for which the message gets a deadline and the time; None for no reply.

        Raises:
            UnsupportedMediaType: the body is not declared as JSON.
            InvalidJSON: the body is not JSON, or is nested too deeply.
            HeadersTooLarge: the headers do not fit a message.
        """
        check_media_type(request)
        body: bytes = request.content.getvalue()  # unlike read(), it copies nothing
        if len(body) <= LARGE:
            check_json(body, self._max_json_depth)
        headers: dict[str, Any] = headers_from_http(request.requestHeaders.getAllRawHeaders())
        headers[RQUID] = request.rquid
        headers["Content-Type"] = JSON  # beside the property: the seed's provider hands on headers only
        if reply_to is not None:
            published = self._wall_clock()
            headers[PG_PUBLISHED] = int(1000 * published)
            headers[PG_DEADLINE] = int(1000 * (published + self._reply_timeout))
        message = Message(body=body, headers=headers, correlation_id=fresh_id(), reply_to=reply_to)
        request.correlation_id = message.correlation_id
        request.forget_content()
        return message

    def _routing_key(self, request: IRequest) -> str:
        sent = request.requestHeaders.getRawHeaders(b"routing-key", [])
        if len(sent) > 1:
            msg = "There are several routing-key headers; send one."
            raise BadRequest(msg)
        if sent:
            try:
                return checked_routing_key(sent[0].decode())
            except UnicodeDecodeError:
                msg = "The routing-key header is not UTF-8."
                raise BadRequest(msg) from None
        if self._routes.default_routing_key is None:
            msg = "The routing-key header is missing, and the queue file names no routingKey to use without it."
            raise BadRequest(msg)
        return self._routes.default_routing_key

    def _allow_origin(self, request: IRequest) -> bool:
        """Set the CORS headers of the response; False if the origin is not allowed, or not given."""
        if not self._cors_origins:
            return False
        request.setHeader("Vary", "Origin")
        origin = text_of(request.requestHeaders.getRawHeaders(b"Origin", [b""])[0])
        if not _ORIGIN.fullmatch(origin) or not self._cors_origins & {origin, "*"}:
            return False
        request.setHeader("Access-Control-Allow-Origin", origin)
        request.setHeader("Access-Control-Expose-Headers", RQUID)
        return True
