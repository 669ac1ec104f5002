"""TLS towards servers: the broker, the models, and the endpoints of webhooks.

Each side reads and checks its files when it is made and whenever ``load`` is called. New connections use what was read
last. A wrong file raises a SettingsError that names its variable, and what was read before stays in force. TLS 1.2 and
1.3 only, no session tickets (Twisted's defaults).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet import ssl
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from provider_gateway.net.tls_transport import write_whole
from provider_gateway.security.pem import PEMFile, expiry, paths, read_key_pair, read_trust_root
from provider_gateway.security.server_identity import HostTLS

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

    from provider_gateway.config.settings import Settings


class PEM(NamedTuple):
    """The contents of the files of a :class:`ClientTLS`, for a library with a TLS of its own; None for no file."""

    cacert: bytes | None
    cert: bytes | None
    key: bytes | None


@implementer(IPolicyForHTTPS)
class ClientTLS:
    """TLS towards a server: checks its host name, and presents our certificate if there is one.

    Args:
        side: "broker", "model" or "webhook".
        cacert: CAs to trust; None for those of the system.
        cert: our certificate and its chain; None for no certificate.
        key: the key of that certificate; None without one.
        on_expiry: called with the side and the Unix time at which our certificate expires; not without one.

    Raises:
        SettingsError: a file is missing, unreadable or wrong.

    Attributes:
        name: names this side in logs and metrics.
        files: the files that were read.
        pem: their contents, another object after each :meth:`load`.
    """

    def __init__(
        self,
        side: str,
        *,
        cacert: PEMFile | None,
        cert: PEMFile | None,
        key: PEMFile | None,
        on_expiry: Callable[[str, float], object] = lambda _side, _when: None,
    ) -> None:
        self._side = side
        self._cacert, self._cert, self._key = cacert, cert, key
        self._on_expiry = on_expiry
        self.name = f"TLS towards the {side}"
        self.files = paths(cacert, cert, key)
        self.load()

    def load(self) -> None:
        """Read the files.

        Raises:
            SettingsError: one is missing, unreadable or wrong. What was read before stays in force.
        """
        trust_root: Any = ssl.platformTrust()
        if self._cacert is not None:
            trust_root = read_trust_root(self._cacert)
        key_pair: dict[str, Any] = {}
        if self._cert is not None and self._key is not None:
            key_pair = read_key_pair(self._cert, self._key)
            self._on_expiry(self._side, expiry(key_pair))
        contents = [None if file is None else file.read() for file in (self._cacert, self._cert, self._key)]
        self._trust_root, self._key_pair = trust_root, key_pair
        self.pem = PEM(*contents)

    def to(self, host: str) -> IOpenSSLClientConnectionCreator:
        """TLS for one host."""
        options = ssl.CertificateOptions(trustRoot=self._trust_root, **self._key_pair)
        write_whole(options.getContext())
        return HostTLS(options, host)

    def creatorForNetloc(self, hostname: bytes, _port: int) -> IOpenSSLClientConnectionCreator:
        """TLS for the host of a URL (twisted.web.iweb.IPolicyForHTTPS)."""
        return self.to(hostname.decode("ascii"))


def broker_tls(settings: Settings, on_expiry: Callable[[str, float], object]) -> ClientTLS:
    """TLS towards the broker.

    Raises:
        SettingsError: a file is missing, unreadable or wrong.
    """
    return ClientTLS(
        "broker",
        cacert=PEMFile("MQ_CACERT", settings.mq_cacert),
        cert=PEMFile.if_set("MQ_CERT", settings.mq_cert),
        key=PEMFile.if_set("MQ_KEY", settings.mq_key),
        on_expiry=on_expiry,
    )


def model_tls(settings: Settings, on_expiry: Callable[[str, float], object]) -> ClientTLS:
    """TLS towards the model. Its files are read even if the model's URL is plain HTTP, which uses none of it.

    Raises:
        SettingsError: a file is missing, unreadable or wrong.
    """
    return ClientTLS(
        "model",
        cacert=PEMFile.if_set("MODEL_CACERT", settings.model_cacert),
        cert=PEMFile.if_set("MODEL_CERT", settings.model_cert),
        key=PEMFile.if_set("MODEL_KEY", settings.model_key),
        on_expiry=on_expiry,
    )
