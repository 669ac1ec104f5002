"""The three TLS sides: our HTTPS server, our client of the broker, our client of the model.

Each side reads and checks its files when it is made and whenever ``load`` is called. New connections use what was read
last. A wrong file raises a SettingsError that names its variable, and what was read before stays in force. TLS 1.2 and
1.3 only, no session tickets (Twisted's defaults). The server demands a client certificate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from OpenSSL import SSL, crypto
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from provider_gateway.security.pem import PEMFile, expiry, read_key_pair, read_revocation_lists, read_trust_root
from provider_gateway.security.server_identity import HostTLS
from provider_gateway.security.verify_errors import verify_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
    from twisted.protocols.tls import TLSMemoryBIOProtocol

    from provider_gateway.config.settings import Settings

#: Ciphers of TLS 1.2 with forward secrecy and authenticated encryption. Those of TLS 1.3 always have both.
_SERVER_CIPHERS = ssl.AcceptableCiphers.fromOpenSSLCipherString("ECDHE+AESGCM:ECDHE+CHACHA20")

#: For users of the seed's two services, which let every caller in.
_CACERT_IS_NEW = (
    "The old services had no such setting: callers now need a client certificate. Set HTTP_CACERT to the CA of these "
    "certificates, or HTTP_TLS=false behind a sidecar that does TLS"
)


def _paths(*files: PEMFile | None) -> list[Path]:
    return [file.path for file in files if file is not None]


class _CheckedConnection(SSL.Connection):
    """A connection that knows when its client was checked last. Twisted uses ``app_data`` itself.

    Attributes:
        generation: of the files that the client was checked against.
        is_trusted: the result.
        problem: why the handshake does not accept the client's certificate; empty while it does.
    """

    generation = 0
    is_trusted = True
    problem = ""


def _note_problem(
    connection: SSL.Connection, _certificate: crypto.X509, number: int, depth: int, is_accepted: int
) -> bool:
    """Remember why a certificate is not accepted. What OpenSSL has decided stays as it is."""
    if not is_accepted and isinstance(connection, _CheckedConnection):
        connection.problem = connection.problem or verify_error(number, depth)
    return bool(is_accepted)


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """TLS of the HTTPS listener: presents our certificate, and demands a client certificate from every caller.

    Args:
        on_expiry: called with "server" and the Unix time at which our certificate expires; with a revocation list, also
            with "crl" and the time at which the first list expires.

    Raises:
        SettingsError: a file is missing, unreadable or wrong.

    Attributes:
        name: names this side in logs and metrics.
        files: the files that were read.
    """

    name = "TLS of the HTTPS listener"

    def __init__(self, settings: Settings, on_expiry: Callable[[str, float], object]) -> None:
        self._cert = PEMFile("HTTP_CERT", settings.http_cert)
        self._key = PEMFile("HTTP_KEY", settings.http_key)
        is_set = "http_cacert" in settings.model_fields_set
        self._cacert = PEMFile("HTTP_CACERT", settings.http_cacert, "" if is_set else _CACERT_IS_NEW)
        self._crl = PEMFile.if_set("HTTP_CRL", settings.http_crl)
        self._on_expiry = on_expiry
        self.files = _paths(self._cert, self._key, self._cacert, self._crl)
        #: Incremented at each load. Each connection carries the generation in which its client was checked last.
        self._generation = 0
        self.load()

    def load(self) -> None:
        """Read the files.

        Raises:
            SettingsError: one is missing, unreadable or wrong. What was read before stays in force.
        """
        key_pair = read_key_pair(self._cert, self._key)
        trust_root = read_trust_root(self._cacert)
        options = ssl.CertificateOptions(**key_pair, trustRoot=trust_root, acceptableCiphers=_SERVER_CIPHERS)
        context = options.getContext()
        context.set_options(SSL.OP_NO_RENEGOTIATION)
        context.set_verify(context.get_verify_mode(), _note_problem)
        store = context.get_cert_store()
        assert store is not None
        if self._crl is not None:
            lists = read_revocation_lists(self._crl)
            for each in lists:
                store.add_crl(each)
            # Each CA of a chain needs a list: without its list, a revoked certificate could not be noticed.
            store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)
            ends = [each.next_update_utc.timestamp() for each in lists if each.next_update_utc is not None]
            if ends:
                self._on_expiry("crl", min(ends))
        self._on_expiry("server", expiry(key_pair))
        self._context, self._store = context, store
        self._generation += 1

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: ARG002 - Twisted's
        """A new connection (twisted.internet.interfaces.IOpenSSLServerConnectionCreator)."""
        connection = _CheckedConnection(self._context, None)
        connection.generation = self._generation  # the handshake checks the client, or there is no connection
        return connection

    def still_trusts(self, transport: TLSMemoryBIOProtocol) -> bool:
        """True if the certificate of a connection's client would be accepted now. It is verified once for each load.

        Args:
            transport: an open connection, whose client was accepted before or after the last :meth:`load`.
        """
        connection: _CheckedConnection = transport.getHandle()
        if connection.generation == self._generation:
            return connection.is_trusted
        leaf = connection.get_peer_certificate()
        assert leaf is not None, "the server demands a certificate"
        chain = connection.get_peer_cert_chain() or []  # on the server's side it lacks the client's own certificate
        try:
            crypto.X509StoreContext(self._store, leaf, chain).verify_certificate()
        except crypto.X509StoreContextError:
            connection.is_trusted = False
        else:
            connection.is_trusted = True
        connection.generation = self._generation
        return connection.is_trusted


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
        self.files = _paths(cacert, cert, key)
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
        return HostTLS(ssl.CertificateOptions(trustRoot=self._trust_root, **self._key_pair), host)

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
