"""TLS of the HTTPS listener: presents our certificate, and demands a client certificate from every caller.

TLS 1.2 and 1.3 only. With TLS 1.3 a client may resume a session: its ticket is good for the files with which it was
made (:mod:`provider_gateway.security.ticket_state`), and its certificate is checked again. There is no early data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from provider_gateway.security.pem import PEMFile, expiry, paths, read_key_pair, read_revocation_lists, read_trust_root
from provider_gateway.security.ticket_state import CheckedConnection, ServerFiles, TicketState

if TYPE_CHECKING:
    from collections.abc import Callable

    from OpenSSL import SSL
    from twisted.internet.interfaces import IReactorTime
    from twisted.protocols.tls import TLSMemoryBIOProtocol

    from provider_gateway.clocks import WallClock
    from provider_gateway.config.settings import Settings

#: For users of the seed's two services, which let every caller in.
_CACERT_IS_NEW = (
    "The old services had no such setting: callers now need a client certificate. Set HTTP_CACERT to the CA of these "
    "certificates, or HTTP_TLS=false behind a sidecar that does TLS"
)


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """TLS of the HTTPS listener.

    Args:
        on_expiry: called with "server" and the Unix time at which our certificate expires; with a revocation list, also
            with "crl" and the time at which the first list expires.
        clock: the reactor, for the age of tickets.
        wall_clock: certificates and lists expire by it.

    Raises:
        SettingsError: a file is missing, unreadable or wrong.

    Attributes:
        name: names this side in logs and metrics.
        files: the files that were read.
    """

    name = "TLS of the HTTPS listener"

    def __init__(
        self,
        settings: Settings,
        on_expiry: Callable[[str, float], object],
        *,
        clock: IReactorTime,
        wall_clock: WallClock,
    ) -> None:
        self._cert = PEMFile("HTTP_CERT", settings.http_cert)
        self._key = PEMFile("HTTP_KEY", settings.http_key)
        is_set = "http_cacert" in settings.model_fields_set
        self._cacert = PEMFile("HTTP_CACERT", settings.http_cacert, "" if is_set else _CACERT_IS_NEW)
        self._crl = PEMFile.if_set("HTTP_CRL", settings.http_crl)
        self._on_expiry = on_expiry
        self._clock, self._wall_clock = clock, wall_clock
        self.files = paths(self._cert, self._key, self._cacert, self._crl)
        self._generation = 0
        self.load()

    def load(self) -> None:
        """Read the files. Tickets that were made before are not good any more.

        Raises:
            SettingsError: one is missing, unreadable or wrong. What was read before stays in force.
        """
        key_pair = read_key_pair(self._cert, self._key)
        trust_root = read_trust_root(self._cacert)
        lists = None if self._crl is None else read_revocation_lists(self._crl)
        files = ServerFiles(key_pair, trust_root, lists)
        state = TicketState(files, self._generation + 1, self._wall_clock())
        if files.list_ends:
            self._on_expiry("crl", min(files.list_ends))
        self._on_expiry("server", expiry(key_pair))
        self._begin(state)

    def _begin(self, state: TicketState) -> None:
        self._state, self._generation = state, state.generation
        self._begun = self._clock.seconds()

    def _renew(self) -> None:
        """End all tickets. The next handshakes are full ones, with the same files."""
        self._begin(TicketState(self._state.files, self._generation, self._wall_clock()))

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: ARG002 - Twisted's
        """A new connection (twisted.internet.interfaces.IOpenSSLServerConnectionCreator)."""
        # OpenSSL's own limit begins anew at each resumption, which makes a new ticket.
        if self._clock.seconds() - self._begun >= self._state.lasts:
            self._renew()
        return CheckedConnection(self._state)

    def still_trusts(self, transport: TLSMemoryBIOProtocol) -> bool:
        """True if the certificate of a connection's client would be accepted now.

        It is verified at the first call after each load, and at the first call for a resumed session.

        Args:
            transport: an open connection, whose client was accepted before or after the last :meth:`load`.
        """
        connection: CheckedConnection = transport.getHandle()
        if connection.generation == self._generation:
            return connection.is_trusted
        leaf = connection.get_peer_certificate()
        assert leaf is not None, "the server demands a certificate"
        # On the server's side, the chain lacks the client's own certificate. A resumed session has no chain.
        chain = connection.get_peer_cert_chain() or connection.state.authorities
        is_resumed = not connection.generation
        if is_resumed:
            connection.problem = self._state.problem_of_resumed(leaf, chain, self._wall_clock())
        else:
            connection.problem = self._state.problem_of(leaf, chain)
        connection.is_trusted = not connection.problem
        connection.generation = self._generation
        if is_resumed and connection.problem:
            self._renew()  # so that the client's next handshake is a full one, maybe with another certificate
        return connection.is_trusted
