"""Makes the message of a request: routing key, body, and headers."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from provider_gateway.content_codings import accepted_codings, are_accepted
from provider_gateway.errors import BadRequest
from provider_gateway.gateway.admission import owner_of
from provider_gateway.gateway.json_body import LARGE, InTurns, check_json
from provider_gateway.gateway.media_type import AcceptedBodies
from provider_gateway.gateway.tensor_bodies import TensorBodies
from provider_gateway.message.http_headers import headers_from_http
from provider_gateway.message.ids import RQUID, fresh_id
from provider_gateway.message.message import (
    MAX_IDENTITY,
    PG_ACCEPT_ENCODING,
    PG_DEADLINE,
    PG_IDENTITY,
    PG_PUBLISHED,
    Message,
)
from provider_gateway.topology.routing import checked_routing_key
from provider_gateway.tracing.publishes import begin_publish

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.clocks import WallClock
    from provider_gateway.results.results import Results
    from provider_gateway.topology.routing import Routes


#: Size of the cache from routing key to what is accepted for it. Callers use few keys.
_KEYS = 1000


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
        self._bodies = lru_cache(_KEYS)(lambda routing_key: AcceptedBodies(routes.entries(routing_key)))
        self._tensors = lru_cache(_KEYS)(lambda routing_key: TensorBodies(routes.entries(routing_key)))

    def routing_key(self, request: Any) -> str:
        """The routing key that a request names, or that of its path, or the queue file's.

        Raises:
            BadRequest: there is none, it is malformed, or it is not that of the path.
        """
        of_path = self._routes.path_keys.get(request.path)
        sent = request.requestHeaders.getRawHeaders(b"routing-key", [])
        if len(sent) > 1:
            msg = "There are several routing-key headers; send one."
            raise BadRequest(msg)
        if sent:
            try:
                routing_key = checked_routing_key(sent[0].decode())
            except UnicodeDecodeError:
                msg = "The routing-key header is not UTF-8."
                raise BadRequest(msg) from None
            if of_path is not None and routing_key != of_path:
                msg = "The routing-key header is not the routing key of this path; leave it out."
                raise BadRequest(msg)
            return routing_key
        if of_path is not None:
            return of_path
        if self._routes.default_routing_key is None:
            msg = "The routing-key header is missing, and the queue file names no routingKey to use without it."
            raise BadRequest(msg)
        return self._routes.default_routing_key

    async def check_in_turns(self, request: Any, routing_key: str) -> None:
        """Check a large body, for :meth:`take`.

        Raises:
            UnsupportedMediaType: it is not declared as a body that is accepted for this key.
            BadRequest: it declares more JSON than it has bytes.
            InvalidJSON: it is declared as JSON, and is not, or is nested too deeply.
        """
        declared = self._accepted(request, routing_key).declared(request.requestHeaders.values)
        if declared.is_json and len(text := declared.json_of(request.content.getvalue())) > LARGE:
            await self._in_turns.check(text)

    def take(self, request: Any, routing_key: str, reply_to: str | None, *, has_deadline: bool = True) -> Message:
        """Make a message of a request's body and headers, and make the request forget them.

        A body that is not JSON is taken as it is. One that begins with JSON is checked so far.

        Args:
            reply_to: the queue for the reply, for which the message gets the time, and what keeping the answer needs;
                None for no reply.
            has_deadline: False if the message may be started after the caller has stopped waiting.

        Raises:
            UnsupportedMediaType: the body is not declared as one that is accepted for this key.
            BadRequest: the body declares more JSON than it has bytes.
            InvalidJSON: the body is declared as JSON, and is not, or is nested too deeply.
            HeadersTooLarge: the headers do not fit a message.
        """
        bodies = self._accepted(request, routing_key)
        declared = bodies.declared(request.requestHeaders.values)
        content_type, coding, is_json, size = declared
        body: bytes = request.content.getvalue()  # unlike read(), it copies nothing
        if is_json and len(text := body if size is None else declared.json_of(body)) <= LARGE:
            check_json(text, self._max_json_depth)
        headers: dict[str, Any] = headers_from_http(request.requestHeaders.getAllRawHeaders())
        headers[RQUID] = request.rquid
        headers["Content-Type"] = content_type  # beside the property: the seed's provider hands on headers only
        if coding is not None:
            headers["Content-Encoding"] = coding  # likewise
        if (owner := owner_of(request)) is not None:
            headers[PG_IDENTITY] = owner[:MAX_IDENTITY]
        if reply_to is not None:
            published = self._wall_clock()
            headers[PG_PUBLISHED] = int(1000 * published)
            if has_deadline:
                headers[PG_DEADLINE] = int(1000 * (published + self._reply_timeout))
            if bodies.codings and (wanted := _wanted(request, bodies.codings)):
                headers[PG_ACCEPT_ENCODING] = wanted
            if self._results is not None:
                headers |= self._results.headers(owner)
        message = Message(body, headers, content_type, fresh_id(), reply_to, content_encoding=coding)
        if request.span is not None:
            begin_publish(request.span, message, self._routes.exchange(routing_key), routing_key)
        request.correlation_id = message.correlation_id
        request.forget_content()
        return message

    def _accepted(self, request: Any, routing_key: str) -> AcceptedBodies:
        return (self._tensors if request.path in self._routes.infer_keys else self._bodies)(routing_key)


def _wanted(request: Any, codings: tuple[str, ...]) -> str:
    """Those of an entry's codings that the caller names in its Accept-Encoding. Without the header it names none."""
    accepted = accepted_codings(request.requestHeaders.values.get(b"Accept-Encoding"))
    return "" if accepted is None else ", ".join(each for each in codings if are_accepted(each, accepted))
