"""Who gets in by which certificate: all others are refused in the handshake, and nothing that they send is parsed."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

from tests.security.base import SecurityTestCase
from tests.security.certificates import caller, trusted_authority
from tests.security.client import post
from tests.support.certificates import HOUR, SERVER, authority, pem

if TYPE_CHECKING:
    from tests.security.base import Deployment
    from tests.security.client import Connection
    from tests.support.certificates import Holder

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
DROPPED = 'provider_gateway_http_dropped_connections_total{reason="handshake"}'


class HandshakeTestCase(SecurityTestCase):
    """Clients that are refused in their handshake."""

    def assert_refused_with(self, alert: str, *holders: Holder | None) -> None:
        """Check that these are refused with this alert, in TLS 1.2 and 1.3, and that nothing which they send is read.

        Args:
            alert: as OpenSSL calls it.
        """
        for holder in holders:
            for version in (TLS_1_2, TLS_1_3):
                dropped = self.metric(DROPPED)
                tls = self.tls_of(holder, oldest=version, newest=version)
                alerts = alert if alert != "CERTIFICATE_REQUIRED" or version is TLS_1_3 else "HANDSHAKE_FAILURE"
                # TLS 1.3 tells the client in its first read: its own handshake has ended by then.
                with self.assertRaisesRegex(ssl.SSLError, alerts), self.connect(tls) as connection:
                    connection.response()
                self.assert_nothing_parsed(tls)
                self.assertEqual(self.metric(DROPPED), dropped + 2)

    def shake_hands(
        self, client: ssl.SSLObject, connection: Connection, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> None:
        """Come to the end of a client's handshake; its last message is left to be sent."""
        while True:
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                connection.send(outgoing.read())
                incoming.write(connection.receive())
            else:
                return

    def assert_nothing_parsed(self, tls: ssl.SSLContext) -> None:
        """Check that a request which comes together with the end of the handshake is not answered."""
        recorded = self.deployment.access_log.read_text(encoding="utf-8")
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = tls.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with self.connect_plainly() as connection:
            with contextlib.suppress(ssl.SSLError):  # TLS 1.2: refused before the client's handshake has ended
                self.shake_hands(client, connection, incoming, outgoing)
                client.write(post(b'{"refused": true}'))
            connection.send(outgoing.read())
            incoming.write(connection.read_to_end())
        with contextlib.suppress(ssl.SSLError):
            self.assertEqual(client.read(), b"")
        self.assertEqual(self.deployment.access_log.read_text(encoding="utf-8"), recorded)
        self.assertEqual(self.model.asked, [])


class ClientCertificateTests(HandshakeTestCase):
    """Certificates that one CA's trust does not cover."""

    def test_none(self) -> None:
        """A client without a certificate is refused."""
        self.assert_refused_with("CERTIFICATE_REQUIRED", None)

    def test_unknown_authority(self) -> None:
        """A certificate of another CA is refused, even if that one has the name of ours; so is a self-signed one."""
        unknown = authority("security tests CA").issue("caller")
        self.assert_refused_with(
            "UNKNOWN_CA|DECRYPT_ERROR|BAD_CERTIFICATE", unknown, authority("elsewhere").issue("caller")
        )
        self.assert_refused_with("UNKNOWN_CA", authority("caller"))

    def test_expired(self) -> None:
        """A certificate whose time is over is refused."""
        self.assert_refused_with("CERTIFICATE_EXPIRED", trusted_authority().issue("caller", ends=-HOUR / 60))

    def test_not_yet_valid(self) -> None:
        """A certificate whose time has not come is refused."""
        self.assert_refused_with("BAD_CERTIFICATE", trusted_authority().issue("caller", begins=HOUR / 60))

    def test_for_servers_only(self) -> None:
        """A certificate of our CA that is for servers only is refused: who runs a server is no client by that."""
        holder = trusted_authority().issue("caller", purpose=SERVER)
        self.assert_refused_with("UNSUPPORTED_CERTIFICATE", holder)

    def test_leaf_as_authority(self) -> None:
        """A certificate that another client has signed with the key of its own is refused."""
        self.assert_refused_with("UNKNOWN_CA", caller().issue("caller"))

    def test_expired_authority(self) -> None:
        """A certificate of an intermediate CA whose time is over is refused."""
        intermediate = trusted_authority().issue("intermediate", is_ca=True, ends=-HOUR / 60)
        self.assert_refused_with("CERTIFICATE_EXPIRED", intermediate.issue("caller"))

    def test_good_ones(self) -> None:
        """Certificates of the CA itself and of an intermediate one that the client sends along are let in."""
        intermediate = trusted_authority().issue("intermediate", is_ca=True)
        for holder in (caller(), intermediate.issue("by intermediate")):
            for version in (TLS_1_2, TLS_1_3):
                tls = self.tls_of(holder, oldest=version, newest=version)
                with self.connect(tls) as connection:
                    self.assertEqual(connection.ask(post(b"1")).status, 200)


class RevocationTests(HandshakeTestCase):
    """Certificates on the lists of HTTP_CRL: those of a root CA, of an intermediate one, and of a third one no list."""

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """Two CAs of a chain have a list each; another intermediate CA has none, and a third one is revoked."""
        root = authority("root with lists")
        listed, unlisted, revoked = (root.issue(name, is_ca=True) for name in ("listed", "unlisted", "revoked"))
        cls.root, cls.listed = root, listed
        cls.of_root, cls.revoked_by_root = root.issue("of root"), root.issue("revoked by root")
        cls.of_listed, cls.revoked_by_listed = listed.issue("of listed"), listed.issue("revoked by listed")
        cls.of_unlisted, cls.of_revoked = unlisted.issue("of unlisted"), revoked.issue("of revoked")
        trusted, lists = deployment.folder / "root.pem", deployment.folder / "lists.pem"
        trusted.write_bytes(pem(root.certificate))
        lists.write_bytes(
            root.revocation_list(cls.revoked_by_root, revoked)
            + listed.revocation_list(cls.revoked_by_listed)
            + revoked.revocation_list()
        )
        return {"HTTP_CACERT": str(trusted), "HTTP_CRL": str(lists)}

    def test_revoked(self) -> None:
        """A certificate on its CA's list is refused, be it of the root CA or of an intermediate one."""
        self.assert_refused_with("CERTIFICATE_REVOKED", self.revoked_by_root, self.revoked_by_listed)

    def test_revoked_authority(self) -> None:
        """A certificate of an intermediate CA that the root CA has revoked is refused."""
        self.assert_refused_with("CERTIFICATE_REVOKED", self.of_revoked)

    def test_authority_without_a_list(self) -> None:
        """A certificate of a CA that has no list is refused: nobody could say that it is not revoked."""
        self.assert_refused_with("UNKNOWN_CA|CERTIFICATE_UNKNOWN|BAD_CERTIFICATE", self.of_unlisted)

    def test_not_revoked(self) -> None:
        """The others of both CAs are let in."""
        for holder in (self.of_root, self.of_listed):
            self.assertEqual(self.ask(post(b"1"), holder).status, 200)

    def test_end_of_the_list(self) -> None:
        """The time until the first of the lists is out of date is a metric."""
        left = self.metric('provider_gateway_certificate_expiry_seconds{side="crl"}')
        self.assertTrue(3000 < left < 3600, left)
