"""A named AMQP connection that is kept up. When it is lost, it is opened and prepared again, with back-off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.application.internet import ClientService, backoffPolicy
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger

from provider_gateway.amqp.endpoint import BrokerEndpoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IProtocol

    from provider_gateway.amqp.session import ConnectionLost, Session
    from provider_gateway.config.broker_url import BrokerURL
    from provider_gateway.observability.metrics import Metrics

#: Seconds before the first attempt to reconnect; doubled up to the last. Twisted adds up to 1 s of jitter.
_FIRST_DELAY, _LAST_DELAY = 0.25, 15.0


class Connection:
    """Keeps one AMQP connection open.

    Args:
        name: ``publish`` or ``consume``; shown in logs, metrics and the broker's tools.
        urls: the brokers, tried in turn.
        tls: makes TLS towards a host, for ``amqps`` addresses; None without TLS.
        has_client_certificate: TLS presents a client certificate.
        instance: name of the process; shown in the broker's tools.
        prepare: called with each new session; declares, and opens channels and consumers. If it fails, the attempt to
            connect has failed.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        reactor: Any,
        urls: Sequence[BrokerURL],
        *,
        tls: Callable[[str], IOpenSSLClientConnectionCreator] | None,
        has_client_certificate: bool,
        instance: str,
        prepare: Callable[[Session], Awaitable[None]],
        metrics: Metrics,
    ) -> None:
        self.name = name
        self._prepare = prepare
        self._connected = metrics.amqp_connected.labels(name)
        self._reconnects = metrics.amqp_reconnects
        self._opened_before = False
        self._stopping = False
        self._session: Session | None = None
        endpoint = BrokerEndpoint(
            reactor,
            urls,
            tls=tls,
            has_client_certificate=has_client_certificate,
            name=name,
            instance=instance,
            prepare=self._open,
        )
        self._client = ClientService(
            endpoint,
            Factory.forProtocol(Protocol),
            retryPolicy=backoffPolicy(_FIRST_DELAY, _LAST_DELAY, 2.0),
            clock=reactor,
        )

    @property
    def is_open(self) -> bool:
        """True while there is a prepared session."""
        return self._session is not None

    @property
    def is_blocked(self) -> bool:
        """True while the broker blocks publishing on this connection."""
        return self._session is not None and self._session.blocked

    def start(self) -> Deferred[IProtocol]:
        """Start connecting.

        Returns:
            A Deferred that fires when the connection is open for the first time. It fails with CancelledError if
            :meth:`stop` is called before.
        """
        self._client.startService()
        return self._client.whenConnected()

    def stop(self) -> Deferred[None]:
        """Close the connection in order, or stop connecting. The Deferred fires when nothing is left open."""
        self._stopping = True
        return self._client.stopService()

    async def _open(self, session: Session) -> None:
        await self._prepare(session)
        self._session = session
        self._connected.set(1)
        if self._opened_before:
            self._reconnects.inc()
        self._opened_before = True
        self._log.info("AMQP connection {connection} is open", connection=self.name)
        session.when_lost().addCallback(self._lost)

    def _lost(self, error: ConnectionLost) -> None:
        self._session = None
        self._connected.set(0)
        if self._stopping:
            self._log.info("AMQP connection {connection} is closed", connection=self.name)
        else:
            self._log.warn("AMQP connection {connection} is lost: {reason}", connection=self.name, reason=str(error))
