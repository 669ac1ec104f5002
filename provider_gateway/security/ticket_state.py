"""The state of certificates, CAs and revocation lists in which session tickets of the HTTPS listener are good.

OpenSSL encrypts a ticket with keys of the context that its connection was made with. A ticket of another context is
not understood, and its client makes a full handshake. So each state has a context of its own: tickets end with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from OpenSSL import SSL, crypto
from twisted.internet import ssl

from provider_gateway.net.tls_transport import write_whole
from provider_gateway.security.pem import expiry
from provider_gateway.security.verify_errors import EXPIRED, verify_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.x509 import CertificateRevocationList

#: Seconds for which the tickets of a state are good.
TICKET_SECONDS = 3600
#: Certificates of intermediate CAs that a state remembers. A new state begins beyond that.
_MOST_AUTHORITIES = 100
#: Clients' certificates of which a state remembers that they are good.
_MOST_CLIENTS = 1000
#: Ciphers of TLS 1.2 with forward secrecy and authenticated encryption. Those of TLS 1.3 always have both.
_CIPHERS = ssl.AcceptableCiphers.fromOpenSSLCipherString("ECDHE+AESGCM:ECDHE+CHACHA20")


class ServerFiles(NamedTuple):
    """What was read from the files of the HTTPS listener.

    Attributes:
        key_pair: certificate, chain and key, as arguments of CertificateOptions.
        trust_root: the CAs of clients, as an argument of CertificateOptions.
        lists: revocation lists; None without ``HTTP_CRL``.
    """

    key_pair: dict[str, Any]
    trust_root: Any
    lists: Sequence[CertificateRevocationList] | None

    @property
    def list_ends(self) -> list[float]:
        """The Unix times at which the lists expire."""
        updates = [each.next_update_utc for each in self.lists or ()]
        return [each.timestamp() for each in updates if each is not None]


class TicketState:
    """What connections are made with, until the files change or its time is over.

    Args:
        files: what was read.
        generation: the number of times that files were read before.
        now: the Unix time.

    Attributes:
        files: what was read.
        generation: as given.
        lasts: seconds from now for which tickets are good.
        context: makes the connections.
        store: the CAs and lists that clients' certificates are checked against.
    """

    def __init__(self, files: ServerFiles, generation: int, now: float) -> None:
        self.files, self.generation = files, generation
        # A client with a ticket does not see our certificate, and OpenSSL does not look at the lists.
        ends = [each - now for each in (expiry(files.key_pair), *files.list_ends) if each > now]
        self.lasts = min([TICKET_SECONDS, *ends])
        self.context = ssl.CertificateOptions(
            **files.key_pair, trustRoot=files.trust_root, acceptableCiphers=_CIPHERS, enableSessionTickets=True
        ).getContext()
        write_whole(self.context)
        self.context.set_timeout(TICKET_SECONDS)
        self.context.set_options(SSL.OP_NO_RENEGOTIATION)
        self.context.set_verify(self.context.get_verify_mode(), _verified)
        self.context.set_tlsext_servername_callback(_leave_out_tickets)
        store = self.context.get_cert_store()
        assert store is not None
        self.store = store
        if files.lists is not None:
            for each in files.lists:
                store.add_crl(each)
            # Each CA of a chain needs a list: without its list, a revoked certificate could not be noticed.
            store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)
        #: Certificates of intermediate CAs that clients have sent, by their DER bytes. A ticket does not have them.
        self._authorities: dict[bytes, crypto.X509] = {}
        #: By the DER bytes of clients' certificates: between which Unix times they are known to be good.
        self._good: dict[bytes, tuple[float, float]] = {}

    @property
    def authorities(self) -> list[crypto.X509]:
        """The intermediate CAs of the clients that have made a full handshake."""
        return list(self._authorities.values())

    def remember(self, authorities: Sequence[crypto.X509]) -> None:
        """Remember intermediate CAs, whose certificates have been verified."""
        for each in authorities:
            self._authorities[crypto.dump_certificate(crypto.FILETYPE_ASN1, each)] = each
        if len(self._authorities) > _MOST_AUTHORITIES:
            self.lasts = 0

    def problem_of(self, leaf: crypto.X509, chain: Sequence[crypto.X509]) -> str:
        """Why a client's certificate is not accepted; empty if it is."""
        try:
            crypto.X509StoreContext(self.store, leaf, chain).verify_certificate()
        except crypto.X509StoreContextError as error:
            return _problem_of(error)
        return ""

    def problem_of_resumed(self, leaf: crypto.X509, chain: Sequence[crypto.X509], now: float) -> str:
        """Why a client may not resume its session; empty if it may.

        What was verified in this state holds until one of the certificates or lists expires.

        Args:
            now: the Unix time.
        """
        der = crypto.dump_certificate(crypto.FILETYPE_ASN1, leaf)
        since, until = self._good.get(der, (0.0, 0.0))
        if since <= now < until:
            return ""
        try:
            verified = crypto.X509StoreContext(self.store, leaf, chain).get_verified_chain()
        except crypto.X509StoreContextError as error:
            return _problem_of(error)
        ends = [each.to_cryptography().not_valid_after_utc.timestamp() for each in verified]
        until = min([*ends, *(each for each in self.files.list_ends if each > now)])
        if until <= now:  # as our clock sees it
            return EXPIRED
        if len(self._good) >= _MOST_CLIENTS:
            self._good.clear()
        self._good[der] = now, until
        return ""


class CheckedConnection(SSL.Connection):
    """A connection that knows when its client was checked last. Twisted uses ``app_data`` itself.

    Attributes:
        state: the one in which it was made.
        generation: of the files that the client's certificate was checked against. 0 before it was checked: after a
            handshake, that means that a session was resumed.
        is_trusted: the result.
        problem: why the client's certificate is not accepted; empty while it is.
    """

    def __init__(self, state: TicketState) -> None:
        super().__init__(state.context, None)
        self.state = state
        self.generation = 0
        self.is_trusted = True
        self.problem = ""
        #: The CAs of the client's chain, from the root, while it is being verified.
        self._authorities: tuple[crypto.X509, ...] = ()

    def verified(self, certificate: crypto.X509, depth: int) -> None:
        """Note that a handshake accepts a certificate of the client's chain. The client's own comes last."""
        if depth:
            self._authorities += (certificate,)
            return
        self.generation = self.state.generation
        if len(self._authorities) > 1:
            self.state.remember(self._authorities[1:])
        self._authorities = ()


def _problem_of(error: crypto.X509StoreContextError) -> str:
    number, depth, _ = error.errors
    return verify_error(number, depth)


def _verified(connection: SSL.Connection, certificate: crypto.X509, number: int, depth: int, is_accepted: int) -> bool:
    """Note whether a certificate is accepted, and why not. What OpenSSL has decided stays as it is."""
    if isinstance(connection, CheckedConnection):
        if is_accepted:
            connection.verified(certificate, depth)
        else:
            connection.problem = connection.problem or verify_error(number, depth)
    return bool(is_accepted)


def _leave_out_tickets(connection: SSL.Connection) -> None:
    """Send no tickets with TLS 1.2: whoever has the ticket's key can read a session that was resumed."""
    if connection.get_protocol_version() < SSL.TLS1_3_VERSION:
        connection.set_options(SSL.OP_NO_TICKET)
