"""A model that is called by plain HTTP: the client, the calls, and the ready URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hyperlink import URL

from provider_gateway.model.client import model_client
from provider_gateway.model.interface import ConnectedModel
from provider_gateway.model.model import Model
from provider_gateway.model.readiness import Readiness

if TYPE_CHECKING:
    from provider_gateway.config.masked_url import MaskedURL
    from provider_gateway.model.interface import ModelTarget


def over_http(reactor: Any, target: ModelTarget) -> ConnectedModel:
    """Connect to a model.

    Args:
        target: what the model is.
    """
    client = model_client(reactor, target.tls, connections=target.connections)
    model = Model(
        reactor,
        client,
        url=target.url.reveal(),
        max_body_bytes=target.max_body_bytes,
        wall_clock=target.wall_clock,
        on_unsafe_header=target.on_unsafe_header,
        errors=target.errors,
        headers=target.headers,
    )
    readiness: Readiness | None = None
    if target.ready_url is not None:
        # The headers may hold a secret of this host.
        headers = target.headers if _origin(target.ready_url) == _origin(target.url) else {}
        readiness = Readiness(reactor, client, target.ready_url, headers)
    return ConnectedModel(model, readiness)


def _origin(url: MaskedURL) -> tuple[str, str, int | None]:
    parsed = URL.from_text(url.reveal())
    return parsed.scheme, parsed.host, parsed.port
