"""The span of a request: it begins when the request is admitted, and ends when it is recorded as finished.

Names and attributes follow the semantic conventions of OpenTelemetry for HTTP servers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from provider_gateway.message.http_headers import text_of
from provider_gateway.security.identity import text_of_identity
from provider_gateway.tracing.context import parse_context
from provider_gateway.tracing.otlp import SpanTemplate
from provider_gateway.tracing.span import Kind, Span

if TYPE_CHECKING:
    from provider_gateway.http_server.request import BoundedRequest
    from provider_gateway.tracing.tracer import Tracer


@lru_cache(1024)
def _of_request(method: str, route: str | None, status: int, path: bytes, identity: str | None) -> SpanTemplate:
    """What many spans have in common."""
    return SpanTemplate(
        Kind.SERVER,
        f"{method} {route}" if route is not None else method,
        {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "url.path": text_of(path),
            "url.scheme": "http" if identity is None else "https",
            "provider_gateway.identity": identity,
        },
        ("provider_gateway.rquid",),
    )


def begin_server_span(tracer: Tracer, request: Any) -> None:
    """Begin the span of a request: a child of the caller's, if its headers tell of one."""
    values = request.requestHeaders.values
    traceparents = values.get(b"Traceparent")
    parent = None
    if traceparents is not None and len(traceparents) == 1:
        parent = parse_context(text_of(traceparents[0]), ",".join(map(text_of, values.get(b"Tracestate", ()))))
    request.span = tracer.entered(parent)


def end_server_span(request: BoundedRequest, route: str | None, method: str) -> None:
    """End the span of a finished request.

    Args:
        route: the pattern of its path; None for an unknown path.
        method: a known one, or "other".
    """
    span = request.span
    if not isinstance(span, Span):
        return
    known = method if method != "other" else "_OTHER"
    span.template = _of_request(known, route, request.code, request.path, text_of_identity(request.identity))
    span.values = (request.rquid,)
    if request.code >= 500:  # a 4xx is no error of the server
        span.fail("", str(request.code))
    span.end()
