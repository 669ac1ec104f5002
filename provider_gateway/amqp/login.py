"""The login at a broker, by user and password or by client certificate, and what to do if the broker takes no such."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pika.credentials import ExternalCredentials, PlainCredentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.config.broker_url import BrokerURL

_ADD_USER = "put user and password into RMQ_URL"
_USE_CERTIFICATE = "leave user and password out of RMQ_URL, use amqps, and set MQ_CERT and MQ_KEY"


@dataclass(frozen=True, slots=True)
class Login:
    """How we log in to one broker.

    Attributes:
        credentials: pika's.
        reason: why it is this login.
    """

    credentials: ExternalCredentials | PlainCredentials
    reason: str

    @classmethod
    def of(cls, url: BrokerURL, *, has_client_certificate: bool) -> Login:
        """The login for an address.

        Args:
            has_client_certificate: TLS presents a client certificate.
        """
        if url.user is not None:
            return cls(PlainCredentials(url.user, url.password.get_secret_value()), "RMQ_URL has a user")
        if url.tls and has_client_certificate:
            return cls(ExternalCredentials(), "RMQ_URL has no user, and MQ_CERT is set")
        # RabbitMQ URI specification: without a user, it is guest's.
        why_not = "MQ_CERT is not set" if url.tls else "the address is not amqps"
        return cls(PlainCredentials("guest", "guest"), f"RMQ_URL has no user, which means guest, and {why_not}")

    def objection(self, offered: Sequence[str]) -> str | None:
        """What keeps the login from a broker, and what to do. None if nothing does.

        Args:
            offered: the SASL mechanisms of the broker; empty if they are not known.
        """
        ours = self.credentials.TYPE
        if not offered or ours in offered:
            return None
        ways = []
        if "PLAIN" in offered:
            ways.append(_ADD_USER)
        if "EXTERNAL" in offered:
            ways.append(_USE_CERTIFICATE)
        ways.append(f"have the broker offer {ours} (auth_mechanisms)")
        return f"the broker offers {' '.join(offered)}, we offer {ours} ({self.reason}): {', or '.join(ways)}"
