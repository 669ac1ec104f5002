"""The resources of the admin listener: health for the orchestrator, metrics for Prometheus. GET and HEAD only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.exposition import choose_encoder
from twisted.internet.defer import Deferred

from provider_gateway.http_server.app import App
from provider_gateway.http_server.problems import error_of, render, with_length
from provider_gateway.message.http_headers import JSON, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import Metric
    from twisted.python.failure import Failure
    from twisted.web.iweb import IRequest

    # A Deferred where other processes are asked first.
    Collect = Callable[[], Iterable[Metric] | Deferred[Iterable[Metric]]]
    Reasons = Callable[[], list[str] | Deferred[list[str]]]


@dataclass(frozen=True)
class _Collected:
    """The part of a registry that an encoder uses."""

    metrics: Iterable[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.metrics


class Admin:
    """The resources of the admin listener.

    Args:
        collect: returns the metrics for ``/metrics``.
        waiting_for: returns what keeps this instance from being ready; empty when it is ready.
        degraded: returns what this instance cannot do for now, as no other one could; empty when all is well.
    """

    app = App()

    def __init__(self, collect: Collect, waiting_for: Reasons, degraded: Reasons) -> None:
        self._collect = collect
        self._waiting_for = waiting_for
        self._degraded = degraded

    @app.route("/health", methods=["GET"])
    def health(self, request: IRequest) -> bytes:
        """Respond with 200: the process runs. The response is the seed's."""
        return _json(request, {"status": "OK"})

    @app.route("/health/live", methods=["GET"])
    def live(self, request: IRequest) -> bytes:
        """Respond with 200: the process runs, and a restart would not help."""
        return _json(request, {"status": "OK"})

    @app.route("/health/ready", methods=["GET"])
    async def ready(self, request: IRequest) -> bytes:
        """Respond with 200 when this instance is ready, else with 503 and what it waits for.

        An instance whose model is away is ready: without it, all replicas would be taken out of service at once.
        """
        found = self._waiting_for(), self._degraded()  # other processes are asked both at the same time
        waiting_for, degraded = [await each if isinstance(each, Deferred) else each for each in found]
        document: dict[str, object] = {"status": "OK"}
        if waiting_for:
            request.setResponseCode(503)
            document = {"status": "not ready", "waiting_for": waiting_for}
        if degraded:
            document["degraded"] = degraded
        return _json(request, document)

    @app.route("/metrics", methods=["GET"])
    async def metrics(self, request: IRequest) -> bytes:
        """Respond with the metrics, in the Prometheus format that the scraper asks for."""
        found = self._collect()
        collected = _Collected(await found if isinstance(found, Deferred) else found)
        accept = ",".join(map(text_of, request.requestHeaders.getRawHeaders(b"Accept", [])))
        encode, content_type = choose_encoder(accept)
        return with_length(request, content_type, encode(collected))

    @app.handle_errors(Exception)
    def problem(self, request: IRequest, failure: Failure) -> bytes:
        """Respond to any failure with a problem document."""
        return render(request, error_of(failure), None)


def _json(request: IRequest, document: object) -> bytes:
    return with_length(request, JSON, json.dumps(document).encode())
