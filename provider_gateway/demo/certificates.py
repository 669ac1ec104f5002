"""A CA with certificates for all servers and clients, for trying out and for tests; never for production."""

from __future__ import annotations

import contextlib
import os
import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
#: The CA's own key. Not ``.pem``: what is copied or mounted as ``*.pem`` does not include it.
CA_KEY = "ca.key"
_CALLER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: Days for which the demo's certificates are valid.
_DAYS = 30


class Holder(NamedTuple):
    """A server or client that gets a certificate.

    Attributes:
        cert: file name of the certificate.
        key: file name of its key.
    """

    common_name: str
    cert: str
    key: str


SERVERS = (
    Holder("provider-gateway", "server_cert.pem", "server_key.pem"),
    Holder("rabbitmq", "broker_cert.pem", "broker_key.pem"),
    Holder("model", "model_cert.pem", "model_key.pem"),
)
CLIENTS = (
    Holder("initiator", "client_cert.pem", "client_key.pem"),
    Holder("provider-gateway", "client_cert_mq.pem", "client_key_mq.pem"),
)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _subject_alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, data: bytes, mode: int) -> None:
    path.unlink(missing_ok=True)  # an existing file would keep its mode
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


class Authority:
    """A certificate authority in a folder.

    Args:
        folder: created if needed; gets ``cacert.pem``.
        days: validity of the certificates.
        keep_key: write the CA's key, too, as ``ca.key``; else it stays in memory.
    """

    def __init__(
        self,
        folder: Path,
        days: int = 30,
        common_name: str = "provider-gateway example CA",
        *,
        keep_key: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        # A minute ago, because the clocks of two machines differ.
        self.not_before = datetime.now(UTC) - timedelta(minutes=1)
        self.not_after = self.not_before + timedelta(days=days)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _name(common_name)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        certificate = (
            self._builder(self._subject, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        _write(folder / "cacert.pem", certificate.public_bytes(Encoding.PEM), 0o644)
        (folder / CA_KEY).unlink(missing_ok=True)  # the key of an older CA would sign what nobody trusts
        if keep_key:
            _write(folder / CA_KEY, _private_bytes(self._key), 0o600)

    @classmethod
    def kept(cls, folder: Path, days: int = 30) -> Authority:
        """The authority that was made in this folder with ``keep_key``.

        Args:
            days: validity of further certificates; they end with the CA's own at the latest.

        Raises:
            OSError: there is none, or it cannot be read.
            ValueError: the files are no certificate and key.
        """
        certificate = x509.load_pem_x509_certificate((folder / "cacert.pem").read_bytes())
        key = load_pem_private_key((folder / CA_KEY).read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            msg = f"{folder / CA_KEY} is not the key of cacert.pem"
            raise ValueError(msg)
        authority = cls.__new__(cls)
        authority.folder = folder
        authority.not_before = datetime.now(UTC) - timedelta(minutes=1)
        authority.not_after = min(authority.not_before + timedelta(days=days), certificate.not_valid_after_utc)
        authority._key, authority._subject = key, certificate.subject
        return authority

    def _builder(self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.not_before)
            .not_valid_after(self.not_after)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def issue(self, cert: str, key: str, common_name: str, *, server: bool, names: tuple[str, ...] = ()) -> None:
        """Write a certificate and its key.

        Args:
            cert: file name of the certificate.
            key: file name of the key.
            server: True for a server's certificate, False for a client's.
            names: host names and addresses of the server.
        """
        private = ec.generate_private_key(ec.SECP256R1())
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            self._builder(_name(common_name), private.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        if names:
            alternatives = [_subject_alternative(name) for name in names]
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        _write(self.folder / cert, certificate.public_bytes(Encoding.PEM), 0o644)
        _write(self.folder / key, _private_bytes(private), 0o600)


def make_certificates(folder: Path, days: int = 30, names: tuple[str, ...] = (), *, keep_key: bool = False) -> None:
    """Make the CA and all certificates.

    Args:
        folder: created if needed.
        days: validity of the certificates.
        names: further host names of the servers, beside those of this machine.
        keep_key: keep the CA's key for further certificates.
    """
    authority = Authority(folder, days, keep_key=keep_key)
    for common_name, cert, key in SERVERS:
        authority.issue(cert, key, common_name, server=True, names=(*LOCAL_NAMES, common_name, *names))
    for common_name, cert, key in CLIENTS:
        authority.issue(cert, key, common_name, server=False)


def add_caller(folder: Path, name: str, days: int = 30) -> None:
    """Make a certificate for one more caller, ``NAME_cert.pem`` and ``NAME_key.pem``, with the CA of this folder.

    Args:
        folder: one that :func:`make_certificates` has made with ``keep_key``.
        name: the common name: letters, digits, hyphens, dots and underscores.
        days: validity, which ends with the CA's at the latest.

    Raises:
        OSError: there is no CA with its key, or the folder cannot be written.
        ValueError: the name cannot be used, or belongs to another certificate of the folder; or the files are broken.
    """
    taken = {file for holder in (*SERVERS, *CLIENTS) for file in (holder.cert, holder.key)}
    cert, key = f"{name}_cert.pem", f"{name}_key.pem"
    if not _CALLER.fullmatch(name) or cert in taken:
        msg = f"expected another name for a caller, of letters, digits, '-', '.' and '_', found {name!r:.80}"
        raise ValueError(msg)
    Authority.kept(folder, days).issue(cert, key, name, server=False)


def certificates(folder: Path) -> Path:
    """Make the certificates in a folder, unless all of them are there, fit each other and are valid for another day.

    Returns:
        The folder.

    Raises:
        OSError: the folder cannot be read or written.
    """
    if _is_usable(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-") as made:
        make_certificates(Path(made) / "new", _DAYS)
        with contextlib.suppress(OSError):
            (Path(made) / "new").rename(folder)  # all files at once, unless the folder exists
            return folder
        if not _is_usable(folder):  # else another process has made them meanwhile
            for path in (Path(made) / "new").iterdir():
                path.replace(folder / path.name)
    return folder


def _is_usable(folder: Path) -> bool:
    """True if all files exist, belong together, and are valid for another day."""
    soon = datetime.now(UTC) + timedelta(days=1)
    try:
        authority = x509.load_pem_x509_certificate((folder / "cacert.pem").read_bytes())
        for holder in (*SERVERS, *CLIENTS):
            cert = x509.load_pem_x509_certificate((folder / holder.cert).read_bytes())
            key = load_pem_private_key((folder / holder.key).read_bytes(), password=None)
            cert.verify_directly_issued_by(authority)
            if cert.not_valid_after_utc < soon or cert.public_key() != key.public_key():
                return False
    except (FileNotFoundError, ValueError, TypeError, InvalidSignature):
        return False
    return True
