"""Certificates with any dates, purpose and issuer, revocation lists, and the folder of the demo certificates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from provider_gateway.demo.certificates import make_certificates
from tests.support.folders import folder

if TYPE_CHECKING:
    from pathlib import Path


Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
HOUR = timedelta(hours=1)
_CA_USAGE = x509.KeyUsage(False, False, False, False, False, True, True, False, False)


def pem(*certificates: x509.Certificate) -> bytes:
    """Certificates as PEM."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


@dataclass(frozen=True)
class Holder:
    """A certificate with its key.

    Attributes:
        chain: the certificate, and those of the intermediate CAs up to the root.
    """

    key: Key
    chain: tuple[x509.Certificate, ...]

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate."""
        return self.chain[0]

    def write(self, cert: Path, key: Path | None = None) -> Path:
        """Write chain and key to one file, or to two; returns the path of the chain."""
        private = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        cert.write_bytes(pem(*self.chain) + (private if key is None else b""))
        if key is not None:
            key.write_bytes(private)
        return cert

    def issue(
        self,
        common_name: str | None,
        *,
        purpose: x509.ObjectIdentifier = CLIENT,
        begins: timedelta = -HOUR,
        ends: timedelta = HOUR,
        names: tuple[x509.GeneralName, ...] = (),
        is_ca: bool = False,
        key: Key | None = None,
    ) -> Holder:
        """Issue a certificate signed with this one's key, even if this one is no CA.

        Args:
            common_name: None for a subject without any name.
            begins: first moment of validity, from now.
            ends: last moment of validity, from now.
            key: of the new certificate; None for a fresh one.
        """
        chain = () if self.is_root else self.chain
        return _issue(self, chain, common_name, purpose, (begins, ends), names, is_ca, key)

    @property
    def is_root(self) -> bool:
        """True if it is self-signed."""
        return self.certificate.issuer == self.certificate.subject

    def revocation_list(self, *revoked: Holder, ends: timedelta = HOUR) -> bytes:
        """A PEM list, signed by this CA, of certificates that it has revoked.

        Args:
            ends: when the next list is due, from now.
        """
        now = datetime.now(UTC)
        begins = min(now, now + ends) - HOUR
        builder = x509.CertificateRevocationListBuilder(self.certificate.subject, begins, now + ends)
        for each in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number).revocation_date(now)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def authority(common_name: str) -> Holder:
    """A new root CA."""
    return _issue(None, (), common_name, None, (-HOUR, HOUR), (), True, None)


def _issue(
    issuer: Holder | None,
    chain: tuple[x509.Certificate, ...],
    common_name: str | None,
    purpose: x509.ObjectIdentifier | None,
    validity: tuple[timedelta, timedelta],
    names: tuple[x509.GeneralName, ...],
    is_ca: bool,
    key: Key | None,
) -> Holder:
    key = key or ec.generate_private_key(ec.SECP256R1())
    signer = key if issuer is None else issuer.key
    subject = x509.Name([] if common_name is None else [x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + validity[0])
        .not_valid_after(now + validity[1])
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        # Python 3.13 checks strictly: both identifiers have to be there (RFC 5280, 4.2.1.1 and 4.2.1.2).
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if is_ca:
        builder = builder.add_extension(_CA_USAGE, critical=True)
    elif purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=common_name is None)
    signed = builder.sign(signer, hashes.SHA256())
    return Holder(key, (signed, *chain))


def local_names() -> tuple[x509.GeneralName, ...]:
    """The host names in the certificates of the tests' servers."""
    return (x509.DNSName("localhost"),)


@cache
def certificates() -> Path:
    """The folder with the demo's certificates: CA, broker, gateway, callers, initiators."""
    made = folder() / "certs"
    make_certificates(made)
    return made


def mq_variables(made: Path) -> dict[str, str]:
    """The variables of a gateway or provider for its connections to the broker.

    Args:
        made: the folder with the certificates.
    """
    files = {"MQ_CACERT": "cacert", "MQ_CERT": "client_cert_mq", "MQ_KEY": "client_key_mq"}
    return {variable: str(made / f"{file}.pem") for variable, file in files.items()}


def http_variables(made: Path) -> dict[str, str]:
    """The variables of a gateway for the connections of its callers.

    Args:
        made: the folder with the certificates.
    """
    files = {"HTTP_CACERT": "cacert", "HTTP_CERT": "server_cert", "HTTP_KEY": "server_key"}
    return {variable: str(made / f"{file}.pem") for variable, file in files.items()}
