"""Opens a connection to the broker for one look or one job: parked messages, however many, delay nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError

from provider_gateway.amqp.endpoint import BrokerEndpoint, why_failed
from provider_gateway.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

    from provider_gateway.amqp.session import Session
    from provider_gateway.config.settings import Settings


class Connecting:
    """Opens connections to the brokers of the settings.

    Args:
        reactor: provides TCP, host names and time.
        tls: makes TLS towards a host, for ``amqps`` addresses; None without TLS.
    """

    def __init__(
        self, reactor: Any, settings: Settings, tls: Callable[[str], IOpenSSLClientConnectionCreator] | None
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._tls = tls

    async def open(self) -> Session:
        """Open a connection to the first broker that takes one.

        Raises:
            BrokerUnavailable: none does; the text says why.
        """
        why = []
        for url in self._settings.rmq_url:
            endpoint = BrokerEndpoint(
                self._reactor,
                [url],
                tls=self._tls,
                has_client_certificate=self._settings.mq_cert is not None,
                name="parking",
                instance=self._settings.instance,
                prepare=_nothing,
            )
            try:
                return await endpoint.open_session()
            except CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever an attempt raises, it has failed
                why.append(f"{url}: {why_failed(error).rstrip('.')}")
        msg = f"The broker cannot be reached: {'; '.join(why)}."
        raise BrokerUnavailable(msg)


async def _nothing(_session: Session) -> None:
    """Nothing is to be prepared."""
