"""The models of the queue file's entries: each is connected once, by the protocol that it speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.config.model_entry import GRPC
from provider_gateway.errors import SettingsError
from provider_gateway.model.interface import ModelTarget
from provider_gateway.model.model_errors import ModelErrors, secrets_in
from provider_gateway.model.over_http import over_http
from provider_gateway.security.model_credentials import ModelCredentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from provider_gateway.clocks import WallClock
    from provider_gateway.config.masked_url import MaskedURL
    from provider_gateway.config.model_entry import ModelEntry
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Settings
    from provider_gateway.model.interface import ConnectedModel
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.security.tls import ClientTLS

    #: Entries with the same one share a model.
    Key = tuple[ModelEntry | None, MaskedURL | None]


def connect(reactor: Any, target: ModelTarget) -> ConnectedModel:
    """Connect to a model by its protocol. Nothing is sent before the first call.

    Raises:
        SettingsError: the protocol is not available.
    """
    if target.protocol not in GRPC:
        return over_http(reactor, target)
    try:
        # Imported late: it needs an extra, and other processes do without the memory that it takes.
        from provider_gateway.grpc_model.over_grpc import over_grpc  # noqa: PLC0415 - see above
    except ImportError as error:
        msg = (
            f"model.protocol of queue {target.queues[0]!r}: {target.protocol} needs grpcio and protobuf ({error}): "
            "pip install 'provider-gateway[grpc]'"
        )
        raise SettingsError(msg) from None
    return over_grpc(reactor, target)


class Models:
    """The models of the entries. Entries whose ``model`` and ready URL are the same share one.

    Args:
        tls: TLS towards the model of ``MODEL_URL``.
        credentials: of entries with a ``model``, by queue.
        wall_clock: has the date.

    Raises:
        SettingsError: the protocol of an entry is not available.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        entries: Sequence[QueueEntry],
        *,
        tls: ClientTLS,
        credentials: Mapping[str, ModelCredentials],
        metrics: Metrics,
        wall_clock: WallClock,
    ) -> None:
        self._settings = settings
        self._groups: dict[Key, list[QueueEntry]] = {}
        for entry in entries:
            self._groups.setdefault(self._key(entry), []).append(entry)
        self._connected: dict[Key, ConnectedModel] = {}
        for key, group in self._groups.items():
            first = group[0]
            shown = credentials.get(first.queue_name) or ModelCredentials(tls)
            target = ModelTarget(
                queues=tuple(entry.queue_name for entry in group),
                url=settings.url_of(first),
                protocol=first.model.protocol if first.model is not None else "http",
                name=first.model.name if first.model is not None else None,
                ready_url=settings.effective_ready_url(first),
                tls=shown.tls,
                headers=shown.headers,
                connections=sum(entry.prefetch for entry in group),
                max_body_bytes=settings.max_body_bytes,
                wall_clock=wall_clock,
                on_unsafe_header=metrics.headers_dropped.inc,
                errors=ModelErrors(
                    in_log=settings.log_model_errors,
                    to_callers=settings.model_errors_to_callers,
                    secrets=[*secrets_in(settings.url_of(first).reveal()), *shown.secrets],
                ),
            )
            self._connected[key] = connect(reactor, target)

    def _key(self, entry: QueueEntry) -> Key:
        return entry.model, self._settings.effective_ready_url(entry)

    def of(self, entry: QueueEntry) -> ConnectedModel:
        """The model of an entry."""
        return self._connected[self._key(entry)]

    def each(self) -> Iterator[tuple[Sequence[QueueEntry], ConnectedModel]]:
        """Each model, with the entries that it serves."""
        for key, group in self._groups.items():
            yield group, self._connected[key]

    def close(self) -> None:
        """Close what stays open between calls."""
        for each in self._connected.values():
            each.close()
