"""Who a client is: the names that its certificate gives it, and which of them a pattern means."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


@dataclass(frozen=True, slots=True)
class Identity:
    """A client by its certificate.

    Attributes:
        names: common name of the subject, then DNS names (in lower case) and URIs of the subject alternative name
            (RFC 5280, 4.2.1.6).
        expires: Unix time at which the certificate expires.
    """

    names: tuple[str, ...]
    expires: float

    @classmethod
    def of(cls, certificate: Certificate) -> Identity:
        """The identity that a certificate gives."""
        names: list[str] = []
        # What cannot be read does not count: CAs have been seen to sign stranger things than the library knows.
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
        """The first name, for logs and for counting."""
        return self.names[0] if self.names else "(a certificate without a name)"


def text_of_identity(identity: Identity | None) -> str | None:
    """An identity as log lines show it; None for a caller without a certificate."""
    return None if identity is None else str(identity)


def identity_matches(pattern: str, name: str) -> bool:
    """True if a pattern of the access file means a name.

    Args:
        pattern: a name; ``*.`` and the end of one; or ``*`` for every name.
    """
    if pattern == "*":
        return True
    # The dot keeps "*.example.org" from meaning "evilexample.org".
    return name.endswith(pattern[1:]) and name != pattern[1:] if pattern.startswith("*.") else name == pattern
