"""Who may log in: PLAIN by a table of users, EXTERNAL by the name in the client's certificate."""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING, Any

from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def common_name(transport: Any) -> str | None:
    """The common name in the certificate of a TLS client; None for one that showed none."""
    certificate = transport.getPeerCertificate() if hasattr(transport, "getPeerCertificate") else None
    if certificate is None:
        return None
    names = certificate.to_cryptography().subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else None


class Login:
    """The users.

    Args:
        users: pass word by name; None for those who log in by certificate only.
        external_name: the name of the certificate at the other end of a transport, None if there is none; without
            it, EXTERNAL is not offered.

    Attributes:
        mechanisms: what is offered, as Connection.Start says it.
    """

    def __init__(self, users: Mapping[str, str | None], external_name: Callable[[Any], str | None] | None) -> None:
        self._users = users
        self._external_name = external_name
        self.mechanisms = "PLAIN" if external_name is None else "PLAIN EXTERNAL"

    def user(self, mechanism: str, response: bytes, transport: Any) -> str | None:
        """The user who logs in by a mechanism that is offered; None if nobody does."""
        if mechanism == "EXTERNAL" and self._external_name is not None:
            name = self._external_name(transport)
            return name if name in self._users else None
        user, _, password = response.partition(b"\0")[2].partition(b"\0")
        name = user.decode("utf-8", "replace")
        expected = self._users.get(name)
        return name if expected is not None and compare_digest(expected.encode(), password) else None
