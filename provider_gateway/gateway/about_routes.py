"""The routes about the gateway itself: health, models, and the documentation of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.gateway.model_list import MODELS
from provider_gateway.gateway.open_inference_routes import OpenInferenceRoutes
from provider_gateway.http_server.problems import with_length
from provider_gateway.message.http_headers import JSON

if TYPE_CHECKING:
    from twisted.web.iweb import IRequest

    from provider_gateway.gateway.documentation import Documentation
    from provider_gateway.gateway.model_list import ModelList


class AboutRoutes(OpenInferenceRoutes):
    """Base of the API: its routes about the gateway."""

    app = OpenInferenceRoutes.app
    _models: ModelList
    _documentation: Documentation

    @app.route("/health", methods=["GET"])
    def health(self, request: IRequest) -> bytes:
        """Respond with 200: the listener runs. The response is the seed's."""
        return with_length(request, JSON, b'{"status": "OK"}')

    @app.route(MODELS, methods=["GET"])
    def list_models(self, request: IRequest) -> bytes:
        """List the models that the caller may use."""
        return self._models.answer(request)

    @app.route("/", methods=["GET"])
    def home(self, request: IRequest) -> bytes:
        """Say where the documentation is."""
        return self._documentation.home(request)

    @app.route("/docs", methods=["GET"])
    def docs(self, request: IRequest) -> bytes:
        """Respond with the documentation as a page."""
        return self._documentation.page(request)

    @app.route("/openapi.json", methods=["GET"])
    def openapi(self, request: IRequest) -> bytes:
        """Respond with the OpenAPI document."""
        return self._documentation.document(request)

    @app.route("/", methods=["OPTIONS"])
    @app.route("/docs", methods=["OPTIONS"])
    @app.route("/openapi.json", methods=["OPTIONS"])
    @app.route(MODELS, methods=["OPTIONS"])
    def preflight_about(self, request: IRequest) -> bytes:
        """List the methods; also answers a browser's preflight."""
        return self._origins.preflight(request, "GET, HEAD")
