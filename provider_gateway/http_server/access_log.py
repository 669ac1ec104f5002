"""Metrics and the access log: what is recorded of each finished HTTP request."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from provider_gateway.http_server.server_span import end_server_span
from provider_gateway.message.http_headers import text_of
from provider_gateway.observability.metrics import HTTP_BUCKETS
from provider_gateway.security.identity import text_of_identity
from provider_gateway.tracing.exemplars import Exemplars

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Counter, Histogram
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.clocks import WallClock
    from provider_gateway.http_server.request import BoundedRequest
    from provider_gateway.observability.metrics import Metrics

#: Values of labels. Everything else is "other": a scanner must not create time series.
_ROUTES = {
    each.encode(): each
    for each in (
    "/v1/predict", "/v1/publish", "/v1/requests", "/v1/models", "/health", "/", "/docs", "/openapi.json",
    "/v2", "/v2/health/live", "/v2/health/ready",
    "/v1/parking", "/v1/parking/jobs",
    "/workbench", "/workbench/events", "/workbench/parking", "/workbench/message", "/workbench/job",
    "/workbench/results", "/workbench/send",
)}  # fmt: skip
#: Paths with an id or a name, and the route that each of them counts for.
_PATTERNS = (
    (re.compile(rb"/v1/requests/[0-9a-f]{32}"), "/v1/requests/{id}"),
    (re.compile(rb"/v1/requests/[0-9a-f]{32}/result"), "/v1/requests/{id}/result"),
    (re.compile(rb"/workbench/static/[^/]+"), "/workbench/static/{name}"),
    (re.compile(rb"/v1/parking/jobs/[0-9a-f]+"), "/v1/parking/jobs/{id}"),
    (re.compile(rb"/v1/parking/[^/]+/[0-9a-f]+"), "/v1/parking/{queue}/{id}"),
    (re.compile(rb"/v1/parking/[^/]+/[0-9a-f]+/body"), "/v1/parking/{queue}/{id}/body"),
    *(
        (re.compile(rb"/v1/parking/[^/]+" + each.encode()), f"/v1/parking/{{queue}}{each}")
        for each in ("", "/replay", "/drop")
    ),
    *(
        (re.compile(rb"/v2/models/[^/]+" + pattern + what.encode()), f"/v2/models/{{name}}{version}{what}")
        for what in ("/infer", "/ready", "")
        for pattern, version in ((b"", ""), (rb"/versions/[^/]+", "/versions/{version}"))
    ),
)
_METHODS = {each.encode(): each for each in ("GET", "HEAD", "POST", "DELETE", "OPTIONS")}
_OTHER = "other"


def _route(path: bytes) -> str:
    """The route of a path with an id; "other" for any other path."""
    return next((route for pattern, route in _PATTERNS if pattern.fullmatch(path)), _OTHER)


class AccessRecord:
    """Records finished requests of the HTTPS listener.

    Args:
        clock: the clock that ``received_at`` was read from.
        access_log: one JSON line per request is written to it; None for no access log.
        wall_clock: has the time of the lines.
        paths: that the queue file adds; each is a route of its own.
    """

    def __init__(
        self,
        metrics: Metrics,
        clock: IReactorTime,
        access_log: TextIO | None,
        wall_clock: WallClock,
        paths: Iterable[str] = (),
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._access_log = access_log
        self._wall_clock = wall_clock
        self._routes = _ROUTES | {path.encode(): path for path in paths}
        #: Series by route, method and status. Looking one up by its labels costs 3 µs, and a request counts in two.
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram, Exemplars]] = {}

    def __call__(self, request: BoundedRequest) -> None:
        """Record one request."""
        assert request.received_at is not None
        route, method = self._routes.get(request.path) or _route(request.path), _METHODS.get(request.method, _OTHER)
        requests, durations, exemplars = self._series.get((route, method, request.code)) or self._begin(
            route, method, request.code
        )
        seconds = self._clock.seconds() - request.received_at
        requests.inc()
        span = request.span
        if span is None or not span.is_sampled:
            durations.observe(seconds)
        else:
            durations.observe(seconds, exemplars.of(seconds, span))
            end_server_span(request, None if route == _OTHER else route, method)
        if self._access_log is None:
            return
        line = {
            "time": datetime.fromtimestamp(self._wall_clock(), UTC).isoformat(timespec="milliseconds"),
            "method": text_of(request.method),
            "path": text_of(request.path),
            "status": request.code,
            "seconds": round(seconds, 6),
            "bytes": request.sentLength,
            "rquid": request.rquid,
            "correlation_id": request.correlation_id,
            "identity": text_of_identity(request.identity),
            "routing_key": request.routing_key,
            "client": getattr(request.channel.transport.getPeer(), "host", None),
        }
        if span is not None:
            line["trace_id"] = span.trace_id
        self._access_log.write(json.dumps(line) + "\n")
        self._access_log.flush()

    def _begin(self, route: str, method: str, code: int) -> tuple[Counter, Histogram, Exemplars]:
        """Look up the series that a request counts in."""
        requests = self._metrics.http_requests.labels(route, method, code)
        durations = self._metrics.http_request_seconds.labels(route)
        series = requests, durations, Exemplars(HTTP_BUCKETS, self._clock)
        self._series[route, method, code] = series
        return series
