"""A model that is called over HTTP: the client, the calls, and the ready URL."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hyperlink import URL

from provider_gateway.model.client import model_client
from provider_gateway.model.interface import ConnectedModel
from provider_gateway.model.model import Model
from provider_gateway.model.open_inference import infer_url, model_ready_url
from provider_gateway.model.path_check import PathCheck
from provider_gateway.model.readiness import Readiness

if TYPE_CHECKING:
    from provider_gateway.config.masked_url import MaskedURL
    from provider_gateway.http_client.treq_post import TreqClient
    from provider_gateway.model.interface import ModelTarget


def over_http(reactor: Any, target: ModelTarget) -> ConnectedModel:
    """Connect to a model.

    Args:
        target: what the model is.
    """
    if target.protocol == "open-inference":
        target = _open_inference(target)
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
    check = PathCheck(reactor, client, target.url, target.headers)
    return ConnectedModel(model, http_readiness(reactor, target, client), check, target.url)


def http_readiness(reactor: Any, target: ModelTarget, client: TreqClient | None = None) -> Readiness | None:
    """What asks a model's ready URL; None if it has none.

    Args:
        client: of the model's calls; None if these are not made over HTTP.
    """
    if target.ready_url is None:
        return None
    # The headers may hold a secret of this host.
    headers = target.headers if _origin(target.ready_url) == _origin(target.url) else {}
    return Readiness(reactor, client or model_client(reactor, target.tls, connections=1), target.ready_url, headers)


def _open_inference(target: ModelTarget) -> ModelTarget:
    """The same model with the URLs that the Open Inference Protocol has below that of a server."""
    assert target.name is not None, "the queue file is checked"
    return replace(
        target,
        url=infer_url(target.url, target.name),
        ready_url=target.ready_url or model_ready_url(target.url, target.name),
    )


def _origin(url: MaskedURL) -> tuple[str, str, int | None]:
    parsed = URL.from_text(url.reveal())
    return parsed.scheme, parsed.host, parsed.port
