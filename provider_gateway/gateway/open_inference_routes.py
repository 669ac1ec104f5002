"""The routes of the Open Inference Protocol. A request for a model is one of ``/v1/predict`` at a path of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from provider_gateway.http_server.app import App

if TYPE_CHECKING:
    from twisted.web.iweb import IRequest

    from provider_gateway.gateway.open_inference import OpenInference
    from provider_gateway.gateway.origins import Origins

_MODEL = "/v2/models/<name>"
_VERSION = f"{_MODEL}/versions/<version>"


class OpenInferenceRoutes(ABC):
    """Base of the API: its routes below ``/v2``."""

    app = App()
    _open_inference: OpenInference
    _origins: Origins

    @abstractmethod
    async def predict(self, request: Any) -> bytes:
        """Serve a request for a model."""

    @app.route("/v2", methods=["GET"])
    def server_metadata(self, request: IRequest) -> bytes:
        """Tell about the server."""
        return self._open_inference.server(request)

    @app.route("/v2/health/live", methods=["GET"])
    def server_live(self, request: IRequest) -> bytes:
        """Tell that the server runs."""
        self._origins.allow(request)
        return self._open_inference.live(request)

    @app.route("/v2/health/ready", methods=["GET"])
    async def server_ready(self, request: IRequest) -> bytes:
        """Tell whether all models are ready."""
        return await self._open_inference.ready(request)

    @app.route(_MODEL, methods=["GET"])
    @app.route(_VERSION, methods=["GET"])
    def model_metadata(self, request: IRequest, name: str, version: str | None = None) -> bytes:
        """Tell about a model."""
        return self._open_inference.model(request, name, version)

    @app.route(f"{_MODEL}/ready", methods=["GET"])
    @app.route(f"{_VERSION}/ready", methods=["GET"])
    async def model_ready(self, request: IRequest, name: str, version: str | None = None) -> bytes:
        """Tell whether a model is ready."""
        return await self._open_inference.model_ready(request, name, version)

    @app.route(f"{_MODEL}/infer", methods=["POST"])
    @app.route(f"{_VERSION}/infer", methods=["POST"])
    async def infer(self, request: Any, name: str, version: str | None = None) -> bytes:
        """Serve a request for a model whose path is not in the table: it is unknown, or percent-encoded otherwise."""
        request.path = self._open_inference.infer_path(name, version)
        return await self.predict(request)

    @app.route(f"{_MODEL}/infer", methods=["OPTIONS"])
    @app.route(f"{_VERSION}/infer", methods=["OPTIONS"])
    def preflight_infer(self, request: IRequest, name: str, version: str = "") -> bytes:  # noqa: ARG002 - any of them
        """List the methods; also answers a browser's preflight."""
        return self._origins.preflight(request, "POST")

    @app.route("/v2", methods=["OPTIONS"])
    @app.route("/v2/health/live", methods=["OPTIONS"])
    @app.route("/v2/health/ready", methods=["OPTIONS"])
    @app.route(_MODEL, methods=["OPTIONS"])
    @app.route(f"{_MODEL}/ready", methods=["OPTIONS"])
    @app.route(_VERSION, methods=["OPTIONS"])
    @app.route(f"{_VERSION}/ready", methods=["OPTIONS"])
    def preflight_metadata(self, request: IRequest, name: str = "", version: str = "") -> bytes:  # noqa: ARG002 - as above
        """As :meth:`preflight_infer`."""
        return self._origins.preflight(request, "GET, HEAD")
