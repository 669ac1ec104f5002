"""Who may log in: PLAIN by a table of users, EXTERNAL by the name in the client's certificate."""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING, Any

from cryptography.x509.oid import NameOID

from provider_gateway.devbroker.refusals import Refused

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
    """

    def __init__(
        self, users: Mapping[str, str | None], external_name: Callable[[Any], str | None] | None = None
    ) -> None:
        self._users = users
        self._external_name = external_name

    @property
    def mechanisms(self) -> str:
        """What is offered, as Connection.Start says it."""
        return "PLAIN" if self._external_name is None else "PLAIN EXTERNAL"

    def user(self, mechanism: str, response: bytes, transport: Any) -> str:
        """The user who logs in.

        Raises:
            Refused: nobody does (403), or the mechanism is not offered (503).
        """
        if mechanism not in self.mechanisms.split():
            raise Refused(503, f"unknown authentication mechanism '{mechanism}'")
        name = self._plain(response) if mechanism == "PLAIN" else self._external(transport)
        if name is None:
            msg = f"Login was refused using authentication mechanism {mechanism}. For details see the broker logfile."
            raise Refused(403, msg)
        return name

    def _plain(self, response: bytes) -> str | None:
        _, _, rest = response.partition(b"\0")
        name, _, password = rest.partition(b"\0")
        user = name.decode("utf-8", "replace")
        expected = self._users.get(user)
        if expected is None:
            return None
        return user if compare_digest(expected.encode(), password) else None

    def _external(self, transport: Any) -> str | None:
        name = self._external_name(transport) if self._external_name is not None else None
        return name if name in self._users else None
