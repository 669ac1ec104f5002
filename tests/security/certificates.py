"""The certificates that gateways and clients of the security tests have by default."""

from __future__ import annotations

import ssl
from functools import cache
from typing import TYPE_CHECKING

from tests.support.certificates import SERVER, Holder, authority, local_names, pem
from tests.support.folders import folder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.certificates import Holder


def tls_of(holder: Holder) -> ssl.SSLContext:
    """TLS of a server that asks for a client certificate but does not require one."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(trusted_file()))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_cert_chain(holder.write(folder() / f"{holder.certificate.serial_number}.pem"))
    return context


@cache
def trusted_authority() -> Holder:
    """The CA that the gateways trust by default."""
    return authority("security tests CA")


@cache
def trusted_file() -> Path:
    """The file with the certificate of the trusted CA."""
    path = folder() / "security-ca.pem"
    path.write_bytes(pem(trusted_authority().certificate))
    return path


@cache
def server() -> Holder:
    """The gateways' certificate by default."""
    return trusted_authority().issue("gateway", purpose=SERVER, names=local_names())


@cache
def caller() -> Holder:
    """A trusted client certificate."""
    return trusted_authority().issue("caller")
