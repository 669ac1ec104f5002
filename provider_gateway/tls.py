"""The three TLS sides: our HTTPS server, the client of the broker, the client of the model.

Files are read and checked here, at start; a wrong one is a :class:`SettingsError` that names its variable.
TLS 1.2 and 1.3 only, no session tickets (Twisted's defaults); the server demands a client certificate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from twisted.internet import ssl
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from provider_gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

    from provider_gateway.settings import Settings

#: HTTP/2 is off on purpose: Twisted switches it on by itself if h2 happens to be importable.
_ALPN = [b"http/1.1"]


def _read(variable: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"{variable}: {path}: expected a readable PEM file, got: {error.strerror}"
        raise SettingsError(msg) from None


def _certificates(variable: str, path: Path) -> list[crypto.X509]:
    try:
        found = x509.load_pem_x509_certificates(_read(variable, path))
    except ValueError:
        msg = f"{variable}: {path}: expected one or more PEM certificates"
        raise SettingsError(msg) from None
    return [crypto.X509.from_cryptography(each) for each in found]


def _private_key(variable: str, path: Path) -> crypto.PKey:
    try:
        key = load_pem_private_key(_read(variable, path), password=None)
        # Key types that TLS does not use make pyOpenSSL raise TypeError.
        return crypto.PKey.from_cryptography_key(key)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        msg = f"{variable}: {path}: expected a PEM private key without a pass phrase"
        raise SettingsError(msg) from None


def _trust_root(variable: str, path: Path) -> Any:  # its interface is private to Twisted
    return ssl.trustRootFromCertificates([ssl.Certificate(each) for each in _certificates(variable, path)])


def _key_pair(cert_name: str, cert: Path, key_name: str, key: Path) -> dict[str, Any]:
    """Certificate, chain and key as keyword arguments of CertificateOptions, known to belong together."""
    chain, private = _certificates(cert_name, cert), _private_key(key_name, key)
    context = SSL.Context(SSL.TLS_METHOD)
    try:
        context.use_certificate(chain[0])
    except SSL.Error:
        msg = f"{cert_name}: {cert}: expected a certificate that TLS accepts (is its key too short?)"
        raise SettingsError(msg) from None
    try:
        context.use_privatekey(private)
    except SSL.Error:
        msg = f"{key_name}: {key}: expected the private key of the certificate in {cert_name} ({cert})"
        raise SettingsError(msg) from None
    return {"privateKey": private, "certificate": chain[0], "extraCertChain": chain[1:]}


def _expiry(key_pair: dict[str, Any]) -> float:
    certificate: crypto.X509 = key_pair["certificate"]
    return certificate.to_cryptography().not_valid_after_utc.timestamp()


def server_options(settings: Settings, on_expiry: Callable[[str, float], object]) -> ssl.CertificateOptions:
    """TLS of the HTTPS listener: our certificate, and a client certificate demanded from everybody.

    Args:
        on_expiry: is told the side ("server") and the Unix time at which our certificate expires.

    Raises:
        SettingsError: a file is missing, unreadable or wrong.
    """
    key_pair = _key_pair("HTTP_CERT", settings.http_cert, "HTTP_KEY", settings.http_key)
    on_expiry("server", _expiry(key_pair))
    options = ssl.CertificateOptions(
        **key_pair,
        trustRoot=_trust_root("HTTP_CACERT", settings.http_cacert),
        acceptableProtocols=_ALPN,
    )
    if settings.http_crl is not None:
        try:
            crl = x509.load_pem_x509_crl(_read("HTTP_CRL", settings.http_crl))
        except ValueError:
            msg = f"HTTP_CRL: {settings.http_crl}: expected a PEM certificate revocation list"
            raise SettingsError(msg) from None
        store = options.getContext().get_cert_store()
        assert store is not None
        store.add_crl(crl)
        store.set_flags(crypto.X509StoreFlags.CRL_CHECK)
    return options


def broker_options(
    settings: Settings, on_expiry: Callable[[str, float], object]
) -> Callable[[str], IOpenSSLClientConnectionCreator]:
    """TLS towards the broker, by host name, which is checked.

    Raises:
        SettingsError: a file is missing, unreadable or wrong.
    """
    trust_root = _trust_root("MQ_CACERT", settings.mq_cacert)
    key_pair: dict[str, Any] = {}
    if settings.mq_cert is not None and settings.mq_key is not None:
        key_pair = _key_pair("MQ_CERT", settings.mq_cert, "MQ_KEY", settings.mq_key)
        on_expiry("broker", _expiry(key_pair))
    return lambda host: ssl.optionsForClientTLS(host, trustRoot=trust_root, extraCertificateOptions=dict(key_pair))


@implementer(IPolicyForHTTPS)
class ModelTLSPolicy:
    """TLS towards the model: the system's CAs or ``MODEL_CACERT``, host name checked, client certificate if set.

    Raises:
        SettingsError: a file is missing, unreadable or wrong.
    """

    def __init__(self, settings: Settings, on_expiry: Callable[[str, float], object]) -> None:
        self._trust_root: Any = ssl.platformTrust()
        if settings.model_cacert is not None:
            self._trust_root = _trust_root("MODEL_CACERT", settings.model_cacert)
        self._key_pair: dict[str, Any] = {}
        if settings.model_cert is not None and settings.model_key is not None:
            self._key_pair = _key_pair("MODEL_CERT", settings.model_cert, "MODEL_KEY", settings.model_key)
            on_expiry("model", _expiry(self._key_pair))

    def creatorForNetloc(self, hostname: bytes, _port: int) -> IOpenSSLClientConnectionCreator:
        """TLS for one host (twisted.web.iweb.IPolicyForHTTPS)."""
        return ssl.optionsForClientTLS(
            hostname.decode("ascii"), trustRoot=self._trust_root, extraCertificateOptions=dict(self._key_pair)
        )
