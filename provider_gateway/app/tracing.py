"""The traces of a process, put together by its settings."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import TimeoutError as DeferredTimeoutError

from provider_gateway import __version__
from provider_gateway.http_client.treq_post import TreqPost
from provider_gateway.model.client import model_client
from provider_gateway.security.pem import PEMFile
from provider_gateway.security.tls import ClientTLS
from provider_gateway.tracing.exporter import Exporter
from provider_gateway.tracing.otlp import RequestEncoder, encode_span
from provider_gateway.tracing.sampling import Sampling
from provider_gateway.tracing.tracer import Tracer

if TYPE_CHECKING:
    from provider_gateway.clocks import WallClock
    from provider_gateway.config.settings import Settings
    from provider_gateway.observability.metrics import Metrics


#: Seconds at the end of the process, in which spans are sent; a collector that is away must not hold it for longer.
_LAST_WAIT = 3.0


@dataclass(frozen=True)
class Tracing:
    """The traces of a process.

    Attributes:
        tracer: makes its spans.
        exporter: sends them.
        clock: limits the time at the end.
    """

    tracer: Tracer
    exporter: Exporter
    clock: Any

    async def close(self, seconds: float) -> None:
        """Send what waits, in at most so many seconds, and drop the rest."""
        with suppress(DeferredTimeoutError):  # what could not be sent is counted
            await self.exporter.close().addTimeout(min(seconds, _LAST_WAIT), self.clock)
        self.exporter.stop()


def load_tracing(reactor: Any, settings: Settings, metrics: Metrics, wall_clock: WallClock) -> Tracing | None:
    """Make what the settings ask for; None if they ask for no traces.

    Raises:
        SettingsError: a file is missing or wrong.
    """
    url = settings.traces_url
    if url is None:
        return None
    names = "OTEL_EXPORTER_OTLP"
    tls = ClientTLS(
        "collector",
        cacert=PEMFile.if_set(f"{names}_CERTIFICATE", settings.otel_exporter_otlp_certificate),
        cert=PEMFile.if_set(f"{names}_CLIENT_CERTIFICATE", settings.otel_exporter_otlp_client_certificate),
        key=PEMFile.if_set(f"{names}_CLIENT_KEY", settings.otel_exporter_otlp_client_key),
    )
    resource = {
        "service.name": "provider-gateway",
        "service.version": __version__,
        "service.instance.id": settings.instance,
        **settings.otel_resource_attributes,
        **({"service.name": settings.otel_service_name} if settings.otel_service_name else {}),
    }
    exporter = Exporter(
        TreqPost(model_client(reactor, tls, connections=1), url.reveal()),
        url,
        settings.otel_exporter_otlp_headers,
        encode_span,
        RequestEncoder(resource),
        timeout=settings.otel_exporter_otlp_timeout / 1000,
        delay=settings.otel_bsp_schedule_delay / 1000,
        most=settings.otel_bsp_max_queue_size,
        batch=min(settings.otel_bsp_max_export_batch_size, settings.otel_bsp_max_queue_size),
        compresses=settings.otel_exporter_otlp_compression == "gzip",
        clock=reactor,
        metrics=metrics,
    )
    sampling = Sampling(settings.otel_traces_sampler, settings.otel_traces_sampler_arg)
    return Tracing(Tracer(sampling, exporter, reactor, wall_clock), exporter, reactor)
