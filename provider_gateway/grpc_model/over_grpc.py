"""A model that is called by gRPC: the connection, the calls, and what asks whether it is ready."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from provider_gateway.config.host import bracketed
from provider_gateway.grpc_model.answer_check import AnswerCheck
from provider_gateway.grpc_model.caller import Caller
from provider_gateway.grpc_model.channel import Channel
from provider_gateway.grpc_model.mlserving import MLServingModel, MLServingReadiness
from provider_gateway.grpc_model.open_inference import OpenInferenceModel, OpenInferenceReadiness
from provider_gateway.model.interface import ConnectedModel
from provider_gateway.model.over_http import http_readiness

if TYPE_CHECKING:
    from provider_gateway.model.interface import CallsModel, ModelTarget
    from provider_gateway.model.readiness import AskedReadiness

_PORTS = {"http": 80, "https": 443}


def over_grpc(reactor: Any, target: ModelTarget) -> ConnectedModel:
    """Connect to a model. Nothing is sent before the first call.

    Args:
        target: what the model is. Of its URL, scheme, host and port count; ``https`` stands for TLS.
    """
    parts = urlsplit(target.url.reveal())
    assert parts.hostname is not None, "a checked URL has a host"
    channel = Channel(
        reactor,
        f"{bracketed(parts.hostname)}:{parts.port or _PORTS[parts.scheme]}",
        tls=target.tls if parts.scheme == "https" else None,
        max_body_bytes=target.max_body_bytes,
    )
    caller = Caller(
        channel,
        clock=reactor,
        max_body_bytes=target.max_body_bytes,
        wall_clock=target.wall_clock,
        errors=target.errors,
    )
    model: CallsModel
    by_grpc: AskedReadiness
    if target.protocol == "mlserving-grpc":
        model = MLServingModel(caller, headers=target.headers, on_unsafe_header=target.on_unsafe_header)
        by_grpc = MLServingReadiness(reactor, target.url, caller)
    else:
        name = target.name or ""
        model = OpenInferenceModel(caller, name=name, headers=target.headers, on_unsafe_header=target.on_unsafe_header)
        by_grpc = OpenInferenceReadiness(reactor, target.url, caller, name, target.headers)
    readiness = http_readiness(reactor, target) or by_grpc
    return ConnectedModel(model, readiness, AnswerCheck(by_grpc), target.url, channel.close)
