"""Makes the model of a URL that is called by gRPC, and what asks whether it is ready."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from provider_gateway.config.host import bracketed
from provider_gateway.grpc_model.caller import Caller
from provider_gateway.grpc_model.channel import Channel
from provider_gateway.grpc_model.mlserving import MLServingModel
from provider_gateway.grpc_model.open_inference import OpenInferenceModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provider_gateway.clocks import WallClock
    from provider_gateway.config.masked_url import MaskedURL
    from provider_gateway.model.model_errors import ModelErrors
    from provider_gateway.model.readiness import AskedReadiness
    from provider_gateway.security.tls import ClientTLS

_PORTS = {"http": 80, "https": 443}


class GRPCModel(NamedTuple):
    """A model and what belongs to it.

    Attributes:
        model: calls it as :class:`provider_gateway.model.model.Model` does.
        readiness: asks whether it is ready.
        close: ends its connection when the calls on it have ended.
    """

    model: OpenInferenceModel | MLServingModel
    readiness: AskedReadiness
    close: Callable[[], None]


def grpc_model(
    reactor: Any,
    url: MaskedURL,
    *,
    name: str | None,
    tls: ClientTLS,
    headers: Mapping[str, str],
    max_body_bytes: int,
    wall_clock: WallClock,
    on_unsafe_header: Callable[[], object] = lambda: None,
    errors: ModelErrors | None = None,
) -> GRPCModel:
    """The model at a URL.

    Args:
        url: scheme, host and port; ``https`` stands for TLS.
        name: of the model, which then speaks the Open Inference Protocol; None for ``mlserving``.
        tls: is used for ``https``.
        headers: sent with each call.
        max_body_bytes, wall_clock, on_unsafe_header, errors: as for :class:`provider_gateway.model.model.Model`.
    """
    parts = urlsplit(url.reveal())
    assert parts.hostname is not None, "a checked URL has a host"
    target = f"{bracketed(parts.hostname)}:{parts.port or _PORTS[parts.scheme]}"
    is_secure = parts.scheme == "https"
    channel = Channel(reactor, target, tls=tls if is_secure else None, max_body_bytes=max_body_bytes)
    caller = Caller(channel, clock=reactor, max_body_bytes=max_body_bytes, wall_clock=wall_clock, errors=errors)
    model: OpenInferenceModel | MLServingModel
    if name is None:
        model = MLServingModel(caller, headers=headers, on_unsafe_header=on_unsafe_header)
    else:
        model = OpenInferenceModel(caller, name=name, headers=headers, on_unsafe_header=on_unsafe_header)
    return GRPCModel(model, model.readiness(reactor, url), channel.close)
