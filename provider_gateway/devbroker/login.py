"""Login: PLAIN by a table of users, EXTERNAL by the name in the client's certificate."""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING, Any

from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def common_name(transport: Any) -> str | None:
    """The common name in the certificate of a TLS client; None without a certificate or a name in it."""
    certificate = transport.getPeerCertificate() if hasattr(transport, "getPeerCertificate") else None
    if certificate is None:
        return None
    names = certificate.to_cryptography().subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else None


class Login:
    """Checks logins.

    Args:
        users: passwords by user name; None for users who log in by certificate only.
        external_name: returns the name in the certificate of a transport's client, None if there is none. Without this
            function EXTERNAL is not offered.

    Attributes:
        mechanisms: those that are offered, separated by a space as in Connection.Start.
    """

    def __init__(self, users: Mapping[str, str | None], external_name: Callable[[Any], str | None] | None) -> None:
        self._users = users
        self._external_name = external_name
        self.mechanisms = "PLAIN" if external_name is None else "PLAIN EXTERNAL"

    def user(self, mechanism: str, response: bytes, transport: Any) -> str | None:
        """The name of the user who logs in by an offered mechanism; None if the login is refused."""
        if mechanism == "EXTERNAL" and self._external_name is not None:
            name = self._external_name(transport)
            return name if name in self._users else None
        user, _, password = response.partition(b"\0")[2].partition(b"\0")
        name = user.decode("utf-8", "replace")
        expected = self._users.get(name)
        return name if expected is not None and compare_digest(expected.encode(), password) else None
