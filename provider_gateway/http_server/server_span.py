"""The span of a request: it begins when the request is admitted, and ends when it is recorded as finished.

Names and attributes follow the semantic conventions of OpenTelemetry for HTTP servers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from provider_gateway.message.http_headers import text_of
from provider_gateway.security.identity import text_of_identity
from provider_gateway.tracing.context import parse_context
from provider_gateway.tracing.otlp import encode_attributes
from provider_gateway.tracing.span import Kind

if TYPE_CHECKING:
    from provider_gateway.http_server.request import BoundedRequest
    from provider_gateway.tracing.tracer import Tracer


@lru_cache(1024)
def _fixed(method: str, route: str | None, status: int) -> bytes:
    return encode_attributes({"http.request.method": method, "http.route": route, "http.response.status_code": status})


def begin_server_span(tracer: Tracer, request: Any) -> None:
    """Begin the span of a request: a child of the caller's, if its headers tell of one."""
    values = request.requestHeaders.getRawHeaders
    traceparents = values(b"traceparent", [])
    parent = None
    if len(traceparents) == 1:
        parent = parse_context(text_of(traceparents[0]), ",".join(map(text_of, values(b"tracestate", []))))
    request.span = tracer.entered(Kind.SERVER, text_of(request.method), parent)


def end_server_span(request: BoundedRequest, route: str | None, method: str) -> None:
    """End the span of a finished request.

    Args:
        route: the pattern of its path; None for an unknown path.
        method: a known one, or "other".
    """
    span = request.span
    assert span is not None
    if span.is_sampled:
        known = method if method != "other" else "_OTHER"
        span.name = f"{known} {route}" if route is not None else known
        span.fixed = _fixed(known, route, request.code)
        span.attributes = {
            "url.path": text_of(request.path),
            "url.scheme": "https" if request.identity is not None else "http",
            "provider_gateway.rquid": request.rquid,
            "provider_gateway.identity": text_of_identity(request.identity),
        }
    if request.code >= 500:  # a 4xx is no error of the server
        span.fail("", str(request.code))
    span.end()
