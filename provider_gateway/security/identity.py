"""The identity of a client: the names in its certificate, and the patterns that match them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

#: Certificates that are remembered, with about 1 KB each.
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity that a client's certificate gives it.

    Attributes:
        names: common name of the subject, then DNS names (in lower case) and URIs of the subject alternative name
            (RFC 5280, 4.2.1.6).
        expires: Unix time at which the certificate expires.
    """

    names: tuple[str, ...]
    expires: float

    @classmethod
    def of(cls, certificate: Certificate) -> Identity:
        """The identity in a certificate."""
        names: list[str] = []
        # Skip what the library cannot read: some CAs sign names that it does not support.
        with contextlib.suppress(ValueError):
            names += [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        with contextlib.suppress(
            x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError
        ):
            extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            names += [name.lower() for name in extension.get_values_for_type(x509.DNSName)]
            names += extension.get_values_for_type(x509.UniformResourceIdentifier)
        return cls(tuple(names), certificate.not_valid_after_utc.timestamp())

    def __str__(self) -> str:
        """The first name, for logs and for counting requests."""
        return self.names[0] if self.names else "(a certificate without a name)"


@lru_cache(maxsize=_MOST)
def identity_in(der: bytes) -> Identity:
    """The identity in a certificate in DER. Clients that connect often have the same ones: reading one costs 20 µs."""
    return Identity.of(x509.load_der_x509_certificate(der))


def text_of_identity(identity: Identity | None) -> str | None:
    """An identity as log lines show it; None for a caller without a certificate."""
    return None if identity is None else str(identity)


def identity_matches(pattern: str, name: str) -> bool:
    """True if a pattern of the access file matches a name.

    Args:
        pattern: a name; ``*.example.org`` for all names below ``example.org``; or ``*`` for all names.
    """
    if pattern == "*":
        return True
    # The dot keeps "*.example.org" from matching "evilexample.org".
    return name.endswith(pattern[1:]) and name != pattern[1:] if pattern.startswith("*.") else name == pattern
