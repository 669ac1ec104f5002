"""Certificates as attackers and careless operators have them: any dates, purpose and issuer, and revocation lists."""

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
    """TLS of a server that wants to see a client certificate, if there is one."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(trusted_file()))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_cert_chain(holder.write(folder() / f"{holder.certificate.serial_number}.pem"))
    return context


@cache
def trusted_authority() -> Holder:
    """The CA whose certificates the gateways of these tests let in, if nothing else is said."""
    return authority("security tests CA")


@cache
def trusted_file() -> Path:
    """Its certificate."""
    path = folder() / "security-ca.pem"
    path.write_bytes(pem(trusted_authority().certificate))
    return path


@cache
def server() -> Holder:
    """What the gateways show to their clients, if nothing else is said."""
    return trusted_authority().issue("gateway", purpose=SERVER, names=local_names())


@cache
def caller() -> Holder:
    """A client that is let in."""
    return trusted_authority().issue("caller")
