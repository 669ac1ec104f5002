"""A connection to the broker, made from the settings and credentials of the process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.amqp.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from provider_gateway.amqp.session import Session
    from provider_gateway.config.settings import Settings
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.security.credentials import Credentials


def connection_to_broker(
    reactor: Any,
    name: str,
    settings: Settings,
    credentials: Credentials,
    prepare: Callable[[Session], Awaitable[None]],
    metrics: Metrics,
) -> Connection:
    """Make a connection that is kept up; see :class:`.Connection`.

    Args:
        name: ``publish`` or ``consume``.
    """
    return Connection(
        name,
        reactor,
        settings.rmq_url,
        tls=credentials.broker.to if credentials.broker is not None else None,
        has_client_certificate=settings.mq_cert is not None,
        instance=settings.instance,
        prepare=prepare,
        metrics=metrics,
    )
