"""Everything that says who is who: TLS of the three sides and the access file, kept up to date together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.security.access_rules import AccessRules
from provider_gateway.security.folder_watch import FolderWatch
from provider_gateway.security.reloader import Reloader
from provider_gateway.security.tls import ClientTLS, ServerTLS, broker_tls, model_tls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.config.settings import Role, Settings
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.security.reloader import Reloadable


class Credentials:
    """What the settings and the roles need of it.

    Args:
        reactor: provides time, and notices changes of files.

    Raises:
        SettingsError: a file is missing, unreadable or wrong.

    Attributes:
        server: TLS of the HTTPS listener; None for plain HTTP, or without the role.
        access_rules: None lets everybody use everything.
        model: TLS towards the model; None without the role.
        broker: TLS towards the broker; None if no address needs it.
        reloader: reads again what has changed.
    """

    def __init__(self, reactor: Any, settings: Settings, roles: Sequence[Role], metrics: Metrics) -> None:
        def expires(side: str, when: float) -> None:
            metrics.certificate_expiry.labels(side).set_function(lambda: when - reactor.seconds())

        def count(what: str, outcome: str) -> None:
            metrics.reloads.labels(what, outcome).inc()

        is_gateway = "gateway" in roles
        self.server: ServerTLS | None = None
        if is_gateway and settings.http_tls:
            self.server = ServerTLS(settings, expires)
        self.access_rules: AccessRules | None = None
        if is_gateway and settings.http_access is not None:
            self.access_rules = AccessRules(settings.http_access, reactor)
        self.model: ClientTLS | None = model_tls(settings, expires) if "provider" in roles else None
        uses_tls = any(url.tls for url in settings.rmq_url)
        self.broker: ClientTLS | None = broker_tls(settings, expires) if uses_tls else None
        candidates: tuple[Reloadable | None, ...] = (self.server, self.access_rules, self.model, self.broker)
        loaded = [each for each in candidates if each is not None]
        for each in loaded:
            for outcome in ("loaded", "refused"):
                metrics.reloads.labels(each.name, outcome)  # a series that begins with its first event is no increase
        self.reloader = Reloader(loaded, reactor, FolderWatch(reactor), count)
