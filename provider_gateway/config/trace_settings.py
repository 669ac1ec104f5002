"""The settings of traces: the variables of OpenTelemetry, with its names, units and defaults.

Durations are milliseconds, as OpenTelemetry has them. What is for traces alone (``OTEL_EXPORTER_OTLP_TRACES_…``) wins
over what is for all signals (OpenTelemetry specification, "OTLP Exporter Configuration").
"""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - pydantic evaluates the annotations
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import AliasChoices, BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings, NoDecode

from provider_gateway.config.masked_url import MaskedURL
from provider_gateway.config.model_url import parse_url

SamplerName = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_TRACES_PATH = "/v1/traces"
#: Variables whose values errors never quote.
TRACE_SECRETS = tuple(
    f"OTEL_EXPORTER_OTLP_{name}" for name in ("ENDPOINT", "TRACES_ENDPOINT", "HEADERS", "TRACES_HEADERS")
)


def _url(value: object) -> object:
    return parse_url(value, "http://… or https://…") if isinstance(value, str) else value


def _pairs(text: str) -> dict[str, str]:
    """The pairs ``name=value`` of a list with commas; values are percent-encoded (W3C Baggage).

    Raises:
        ValueError: there is an item without a name or "=". The error does not quote it.
    """
    pairs = {}
    for number, item in enumerate(filter(None, map(str.strip, text.split(","))), 1):
        name, mark, value = item.partition("=")
        if not mark or not name.strip():
            msg = f"name=value,name=value…; item {number} is none"
            raise ValueError(msg)
        pairs[name.strip()] = unquote(value.strip())
    return pairs


def _attributes(value: object) -> object:
    return _pairs(value) if isinstance(value, str) else value


def _headers(value: object) -> object:
    if not isinstance(value, str):
        return value
    headers = _pairs(value)
    for number, (name, text) in enumerate(headers.items(), 1):
        if not _HEADER.fullmatch(name) or not _HEADER_VALUE.fullmatch(text):
            msg = f"names and values of HTTP headers; item {number} is none"
            raise ValueError(msg)
    return headers


def _either(name: str) -> Any:
    """A variable for traces alone, or else the one for all signals."""
    return AliasChoices(f"OTEL_EXPORTER_OTLP_TRACES_{name}", f"OTEL_EXPORTER_OTLP_{name}")


class TraceSettings(BaseSettings):
    """A part of :class:`.Settings`, see there. Without an endpoint there are no traces."""

    otel_sdk_disabled: bool = False
    otel_traces_exporter: Literal["otlp", "none"] = "otlp"
    otel_exporter_otlp_endpoint: Annotated[MaskedURL | None, NoDecode, BeforeValidator(_url)] = None
    otel_exporter_otlp_traces_endpoint: Annotated[MaskedURL | None, NoDecode, BeforeValidator(_url)] = None
    otel_exporter_otlp_protocol: Literal["http/protobuf"] = Field("http/protobuf", validation_alias=_either("PROTOCOL"))
    otel_exporter_otlp_headers: Annotated[dict[str, str], NoDecode, BeforeValidator(_headers)] = Field(
        default={}, validation_alias=_either("HEADERS"), repr=False
    )
    otel_exporter_otlp_timeout: Annotated[int, Field(ge=1, le=600_000)] = Field(
        10_000, validation_alias=_either("TIMEOUT")
    )
    otel_exporter_otlp_compression: Literal["gzip", "none"] = Field("none", validation_alias=_either("COMPRESSION"))
    otel_exporter_otlp_certificate: Path | None = Field(None, validation_alias=_either("CERTIFICATE"))
    otel_exporter_otlp_client_certificate: Path | None = Field(None, validation_alias=_either("CLIENT_CERTIFICATE"))
    otel_exporter_otlp_client_key: Path | None = Field(None, validation_alias=_either("CLIENT_KEY"))
    otel_bsp_schedule_delay: Annotated[int, Field(ge=1, le=600_000)] = 5_000
    otel_bsp_max_queue_size: Annotated[int, Field(ge=1, le=1_000_000)] = 2_048
    otel_bsp_max_export_batch_size: Annotated[int, Field(ge=1, le=10_000)] = 512
    otel_traces_sampler: SamplerName = "parentbased_always_on"
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 1.0
    otel_service_name: str | None = None
    otel_resource_attributes: Annotated[dict[str, str], NoDecode, BeforeValidator(_attributes)] = {}

    @model_validator(mode="after")
    def _otel_pairs(self) -> TraceSettings:
        cert, key = self.otel_exporter_otlp_client_certificate, self.otel_exporter_otlp_client_key
        if (cert is None) != (key is None):
            msg = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY: expected both or neither"
            raise ValueError(msg)
        return self

    @property
    def traces_url(self) -> MaskedURL | None:
        """Where spans are posted to; None for no traces."""
        if self.otel_sdk_disabled or self.otel_traces_exporter == "none":
            return None
        if self.otel_exporter_otlp_traces_endpoint is not None:
            return self.otel_exporter_otlp_traces_endpoint
        if self.otel_exporter_otlp_endpoint is None:
            return None
        base, mark, query = self.otel_exporter_otlp_endpoint.reveal().partition("?")
        return MaskedURL(f"{base.rstrip('/')}{_TRACES_PATH}{mark}{query}")
