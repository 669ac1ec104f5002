"""TLS of the three sides and the access rules, loaded together and kept up to date."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from provider_gateway.security.access_rules import AccessRules
from provider_gateway.security.folder_watch import FolderWatch
from provider_gateway.security.model_credentials import ModelCredentials, load_model_credentials
from provider_gateway.security.reloader import Reloader
from provider_gateway.security.server_tls import ServerTLS
from provider_gateway.security.tls import ClientTLS, broker_tls, model_tls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provider_gateway.clocks import WallClock
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Role, Settings
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.security.reloader import Reloadable


@dataclass(frozen=True)
class Credentials:
    """The TLS sides and access rules that a process needs for its settings and roles.

    Attributes:
        server: TLS of the HTTPS listener; None for plain HTTP, or without the gateway role.
        access_rules: None without an access file (every caller may use everything), or without the gateway role.
        model: TLS towards the model of ``MODEL_URL``; None without the provider role.
        broker: TLS towards the broker; None if no broker's address needs it.
        reloader: loads these again when their files change.
        models: what the models of the queue file's entries are shown, by queue; empty without the provider role.
    """

    server: ServerTLS | None
    access_rules: AccessRules | None
    model: ClientTLS | None
    broker: ClientTLS | None
    reloader: Reloader
    models: Mapping[str, ModelCredentials] = field(default_factory=dict)


def load_credentials(
    reactor: Any,
    settings: Settings,
    roles: Sequence[Role],
    metrics: Metrics,
    wall_clock: WallClock,
    *,
    entries: Sequence[QueueEntry] = (),
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Credentials:
    """Read the certificates, revocation lists and access file that the settings name and the roles need.

    Args:
        reactor: provides monotonic time, and reads the kernel's notices of changed files.
        metrics: show when certificates expire, and count reloads.
        wall_clock: certificates expire by it.
        entries: of the queue file.
        variables: of the environment, for the headers of the entries' models.

    Raises:
        SettingsError: a file is missing, unreadable or wrong, or a variable is not set.
    """

    def expires(side: str, when: float) -> None:
        metrics.certificate_expiry.labels(side).set_function(lambda: when - wall_clock())

    def count(what: str, outcome: str) -> None:
        metrics.reloads.labels(what, outcome).inc()

    is_gateway, is_provider = "gateway" in roles, "provider" in roles
    server: ServerTLS | None = None
    if is_gateway and settings.http_tls:
        server = ServerTLS(settings, expires, clock=reactor, wall_clock=wall_clock)
    access_rules: AccessRules | None = None
    if is_gateway and settings.http_access is not None:
        access_rules = AccessRules(settings.http_access, reactor)
    model = model_tls(settings, expires) if is_provider else None
    broker = broker_tls(settings, expires) if any(url.tls for url in settings.rmq_url) else None
    models = load_model_credentials(entries, model, variables, expires) if model is not None else {}
    of_entries = dict.fromkeys(each.tls for each in models.values() if each.tls is not model and each.tls.files)
    candidates: tuple[Reloadable | None, ...] = (server, access_rules, model, broker, *of_entries)
    loaded = [each for each in candidates if each is not None]
    for each in loaded:
        for outcome in ("loaded", "refused"):
            # Create the series at 0: Prometheus' increase() ignores a series that starts at 1.
            metrics.reloads.labels(each.name, outcome)
    reloader = Reloader(loaded, clock=reactor, watch=FolderWatch(reactor), on_outcome=count)
    return Credentials(server, access_rules, model, broker, reloader, models)
