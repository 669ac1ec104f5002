"""The admin listener: health for the orchestrator and metrics for Prometheus; GET and HEAD only, no other data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from prometheus_client.exposition import choose_encoder

from provider_gateway.klein_app import App
from provider_gateway.messages import JSON, text_of
from provider_gateway.problems import error_of, render, with_length

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry
    from twisted.python.failure import Failure
    from twisted.web.iweb import IRequest


class Admin:
    """The resources of the admin listener.

    Args:
        registry: rendered at ``/metrics``.
        waiting_for: what keeps this instance from being ready; empty when it is.
    """

    app = App()

    def __init__(self, registry: CollectorRegistry, waiting_for: Callable[[], list[str]]) -> None:
        self._registry = registry
        self._waiting_for = waiting_for

    @app.route("/health", methods=["GET"])
    def health(self, request: IRequest) -> bytes:
        """The process runs (the seed's answer)."""
        return _json(request, {"status": "OK"})

    @app.route("/health/live", methods=["GET"])
    def live(self, request: IRequest) -> bytes:
        """The process runs; a restart would not help with anything."""
        return _json(request, {"status": "OK"})

    @app.route("/health/ready", methods=["GET"])
    def ready(self, request: IRequest) -> bytes:
        """Requests are welcome: 200; else 503 with what is waited for."""
        waiting_for = self._waiting_for()
        if not waiting_for:
            return _json(request, {"status": "OK"})
        request.setResponseCode(503)
        return _json(request, {"status": "not ready", "waiting_for": waiting_for})

    @app.route("/metrics", methods=["GET"])
    def metrics(self, request: IRequest) -> bytes:
        """Prometheus exposition in the format that the scraper asks for."""
        accept = ",".join(map(text_of, request.requestHeaders.getRawHeaders(b"Accept", [])))
        encode, content_type = choose_encoder(accept)
        return with_length(request, content_type, encode(self._registry))

    @app.handle_errors(Exception)
    def problem(self, request: IRequest, failure: Failure) -> bytes:
        """Any failure as a problem document."""
        return render(request, error_of(failure), None)


def _json(request: IRequest, document: object) -> bytes:
    return with_length(request, JSON, json.dumps(document).encode())
