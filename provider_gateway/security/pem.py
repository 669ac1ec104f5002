"""Reads and checks PEM files: certificates, keys, revocation lists. Errors name the file and its variable."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.utils import CryptographyDeprecationWarning
from OpenSSL import SSL, crypto
from twisted.internet import ssl

from provider_gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sized
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_CERTIFICATE = re.compile(_BEGIN + rb".+?-----END CERTIFICATE-----", re.DOTALL)
_CRL = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PEMFile:
    """A PEM file, with the variable that names it.

    Attributes:
        variable: name of the variable, for errors.
        hint: what to do if the file cannot be read.
    """

    variable: str
    path: Path
    hint: str = ""

    @classmethod
    def if_set(cls, variable: str, path: Path | None) -> PEMFile | None:
        """The file of a variable that may be unset; None if it is unset."""
        return None if path is None else cls(variable, path)

    def __str__(self) -> str:
        """The variable and the path: the beginning of every error."""
        return f"{self.variable}: {self.path}"

    def read(self) -> bytes:
        """The content.

        Raises:
            SettingsError: the file is missing or unreadable.
        """
        try:
            return self.path.read_bytes()
        except OSError as error:
            msg = f"{self}: expected a readable PEM file, got: {error.strerror}{self.hint and '. '}{self.hint}"
            raise SettingsError(msg) from None


def paths(*files: PEMFile | None) -> list[Path]:
    """The paths of the files that are set."""
    return [file.path for file in files if file is not None]


def _certificates(file: PEMFile) -> list[x509.Certificate]:
    data = file.read()
    try:
        with warnings.catch_warnings():
            # Such as a serial number that is not positive, which TLS does not mind.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            found = x509.load_pem_x509_certificates(data)
    except ValueError:
        found = []
    _check_whole(file, data, found)
    return found


def _authorities(file: PEMFile) -> list[crypto.X509]:
    """CAs as OpenSSL reads them: a system's bundle has some of forms that cryptography disapproves of."""
    data = file.read()
    try:
        found = [crypto.load_certificate(crypto.FILETYPE_PEM, each) for each in _CERTIFICATE.findall(data)]
    except crypto.Error:
        found = []
    _check_whole(file, data, found)
    return found


def _check_whole(file: PEMFile, data: bytes, found: Sized) -> None:
    """Raise an error if not all certificates were found: one may be cut off, as in a file that is being written."""
    if not found or len(found) != data.count(_BEGIN):
        msg = f"{file}: expected one or more PEM certificates"
        raise SettingsError(msg)


def _private_key(file: PEMFile) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(file.read(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _not_a_key(file) from None


def _not_a_key(file: PEMFile) -> SettingsError:
    return SettingsError(f"{file}: expected a PEM private key without a pass phrase")


def read_trust_root(file: PEMFile) -> Any:  # Twisted has no public interface for it
    """The CA certificates of a file, as the trustRoot of Twisted's TLS options.

    Raises:
        SettingsError: the file is missing, unreadable or wrong.
    """
    return ssl.trustRootFromCertificates([ssl.Certificate(each) for each in _authorities(file)])


def read_revocation_lists(file: PEMFile) -> list[x509.CertificateRevocationList]:
    """The certificate revocation lists of a file; there is at least one.

    Raises:
        SettingsError: the file is missing, unreadable or wrong.
    """
    data = file.read()
    try:
        found = [x509.load_pem_x509_crl(each) for each in _CRL.findall(data)]
    except ValueError:
        found = []
    if not found or len(found) != data.count(b"-----BEGIN X509 CRL-----"):
        msg = f"{file}: expected one or more PEM certificate revocation lists"
        raise SettingsError(msg)
    return found


def read_key_pair(cert: PEMFile, key: PEMFile) -> dict[str, Any]:
    """Certificate, chain and key as keyword arguments of CertificateOptions.

    Raises:
        SettingsError: a file is missing, unreadable or wrong, or the key is not that of the certificate.
    """
    chain, private = _certificates(cert), _private_key(key)
    context = SSL.Context(SSL.TLS_METHOD)
    try:
        context.use_certificate(chain[0])
    except SSL.Error:
        msg = f"{cert}: expected a certificate that TLS accepts (is its key too short?)"
        raise SettingsError(msg) from None
    try:
        context.use_privatekey(private)  # type: ignore[arg-type]
    except TypeError:  # a key of a kind that TLS does not use
        raise _not_a_key(key) from None
    except SSL.Error:
        msg = f"{key}: expected the private key of the certificate in {cert.variable} ({cert.path})"
        raise SettingsError(msg) from None
    return {"privateKey": private, "certificate": chain[0], "extraCertChain": chain[1:]}


def expiry(key_pair: dict[str, Any]) -> float:
    """The Unix time at which the certificate of a key pair expires."""
    certificate: x509.Certificate = key_pair["certificate"]
    return certificate.not_valid_after_utc.timestamp()
