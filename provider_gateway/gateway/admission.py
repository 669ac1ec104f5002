"""Which requests are let in: those that fit ``MAX_IN_FLIGHT`` and whose caller the access file allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.errors import BadRequest, Draining, Overloaded
from provider_gateway.http_server.server_span import begin_server_span
from provider_gateway.message.http_headers import text_of
from provider_gateway.message.ids import RQUID_BYTES, checked_rquid, fresh_rquid

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.gateway.origins import Origins
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.security.access_rules import AccessRules
    from provider_gateway.tracing.tracer import Tracer


def owner_of(request: Any) -> str | None:
    """The name that requests of this caller are kept for; None for a caller without one."""
    identity = request.identity
    return identity.names[0] if identity is not None and identity.names else None


class Admission:
    """Counts the requests in flight, and asks the access rules.

    Args:
        max_in_flight: requests served at a time; further ones are answered with 503.
        access_rules: decide which identity may use which routing key; None lets every caller use every routing key.
        tracer: makes spans; None without traces.

    Attributes:
        in_flight: requests that are being served. Whoever entered one takes it off again.
    """

    def __init__(
        self,
        *,
        max_in_flight: int,
        origins: Origins,
        access_rules: AccessRules | None,
        metrics: Metrics,
        tracer: Tracer | None = None,
    ) -> None:
        self._max_in_flight = max_in_flight
        self._origins = origins
        self._access_rules = access_rules
        self._tracer = tracer
        self._draining = False
        self.in_flight = 0
        metrics.http_in_flight.set_function(lambda: self.in_flight)

    def drain(self) -> None:
        """Answer new requests with 503 from now on."""
        self._draining = True

    async def serve(self, request: Any, answer: Callable[[], Awaitable[bytes]], *, cors: bool = True) -> bytes:
        """Let a request in, and count it as in flight until it is answered. Raises as :meth:`enter` and the answer."""
        self.enter(request, cors=cors)
        try:
            return await answer()
        finally:
            self.in_flight -= 1

    def enter(self, request: Any, *, cors: bool = True) -> None:
        """Set a request's id, and count the request as in flight.

        Args:
            cors: False if no page of another origin may ever read the response.

        Raises:
            BadRequest: its RqUID is malformed.
            Draining: the process is stopping.
            Overloaded: too many are in flight.
        """
        if self._tracer is not None:
            begin_server_span(self._tracer, request)
        sent = request.requestHeaders.getRawHeaders(RQUID_BYTES)
        request.rquid = checked_rquid(text_of(sent[0])) if sent else fresh_rquid()
        if self._origins.are_allowed and cors:  # spares the call where CORS is off
            self._origins.allow(request)
        if self._draining:
            msg = "This instance is stopping; another one, or this one after its restart, will serve the request."
            raise Draining(msg)
        if self.in_flight >= self._max_in_flight:
            msg = f"{self.in_flight} requests are being served (MAX_IN_FLIGHT)."
            raise Overloaded(msg)
        self.in_flight += 1

    def authorise(self, request: Any, routing_key: str) -> None:
        """Check that the access file allows the caller to use a routing key, and count the request for its rate.

        Notes the routing key for the access log. An operator who is known without a certificate is not in the access
        file, and may use every routing key.

        Raises:
            Forbidden: no rule allows it.
            RateLimited: the caller has used up its rate.
        """
        request.routing_key = routing_key
        if self._access_rules is None or request.operator is not None:
            return
        identity = request.identity
        assert identity is not None, "HTTP_ACCESS needs TLS, and TLS needs a certificate"
        self._access_rules.check(identity, routing_key)

    def may_use(self, request: Any, routing_key: str) -> bool:
        """True if the access file allows the caller to use a routing key. Nothing is counted for its rate."""
        rules = self._access_rules
        return rules is None or request.operator is not None or rules.allow(request.identity, routing_key)

    def may_use_any(self, request: Any, entry: QueueEntry) -> bool:
        """True if the access file allows the caller to use some routing key that leads to an entry's queue."""
        return self._access_rules is None or self._access_rules.allow_any(request.identity, entry)

    def endpoint_names(self, request: Any) -> tuple[str, ...]:
        """The names that a ``Webhook`` header of the caller may have."""
        return () if self._access_rules is None else self._access_rules.endpoint_names(request.identity)

    def endpoint(self, request: Any, name: str) -> str:
        """The endpoint that a ``Webhook`` header names, as records keep it.

        Raises:
            BadRequest: the access file has no such endpoint for the caller.
        """
        if self._access_rules is None:
            msg = "The Webhook header names an endpoint of the access file, and there is none (HTTP_ACCESS)."
            raise BadRequest(msg)
        return self._access_rules.endpoint(request.identity, name)
