"""Makes the message of a request: routing key, body, and headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.errors import BadRequest
from provider_gateway.gateway.admission import owner_of
from provider_gateway.gateway.json_body import LARGE, InTurns, check_json
from provider_gateway.gateway.media_type import check_media_type
from provider_gateway.message.http_headers import JSON, headers_from_http
from provider_gateway.message.ids import RQUID, fresh_id
from provider_gateway.message.message import PG_DEADLINE, PG_PUBLISHED, Message
from provider_gateway.topology.routing import checked_routing_key

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.web.iweb import IRequest

    from provider_gateway.clocks import WallClock
    from provider_gateway.results.results import Results
    from provider_gateway.topology.routing import Routes


class RequestMessages:
    """Makes messages of requests.

    Args:
        results: keeps answers that nobody waits for; None if no result store is configured.
        reply_timeout: seconds that a caller waits.
        max_json_depth: depth of nested arrays and objects in bodies.
        wall_clock: deadlines of messages are times of it.
    """

    def __init__(
        self,
        *,
        routes: Routes,
        results: Results | None,
        reply_timeout: float,
        max_json_depth: int,
        clock: IReactorTime,
        wall_clock: WallClock,
    ) -> None:
        self._routes = routes
        self._results = results
        self._reply_timeout = reply_timeout
        self._max_json_depth = max_json_depth
        self._in_turns = InTurns(clock, max_json_depth)
        self._wall_clock = wall_clock

    def routing_key(self, request: IRequest) -> str:
        """The routing key that a request names, or the queue file's.

        Raises:
            BadRequest: there is none, or it is malformed.
        """
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

    async def check_in_turns(self, request: Any) -> None:
        """Check a large body, for :meth:`take`.

        Raises:
            UnsupportedMediaType: it is not declared as JSON.
            InvalidJSON: it is not JSON, or is nested too deeply.
        """
        check_media_type(request)
        await self._in_turns.check(request.content.getvalue())

    def take(self, request: Any, reply_to: str | None, *, has_deadline: bool = True) -> Message:
        """Make a message of a request's body and headers, and make the request forget them.

        Args:
            reply_to: the queue for the reply, for which the message gets the time, and what keeping the answer needs;
                None for no reply.
            has_deadline: False if the message may be started after the caller has stopped waiting.

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
            if has_deadline:
                headers[PG_DEADLINE] = int(1000 * (published + self._reply_timeout))
            if self._results is not None:
                headers |= self._results.headers(owner_of(request))
        message = Message(body=body, headers=headers, correlation_id=fresh_id(), reply_to=reply_to)
        request.correlation_id = message.correlation_id
        request.forget_content()
        return message
