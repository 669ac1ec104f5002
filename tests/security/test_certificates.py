"""Which client certificates are accepted; all others fail in the handshake, and nothing that they send is parsed."""

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
    """Clients whose handshake fails."""

    def assert_refused_with(self, alert: str, *holders: Holder | None) -> None:
        """Check that these certificates get this alert, in TLS 1.2 and 1.3, and that nothing they send is parsed.

        Args:
            alert: OpenSSL's name of the alert.
        """
        for holder in holders:
            for version in (TLS_1_2, TLS_1_3):
                dropped = self.metric(DROPPED)
                tls = self.tls_of(holder, oldest=version, newest=version)
                alerts = alert if alert != "CERTIFICATE_REQUIRED" or version is TLS_1_3 else "HANDSHAKE_FAILURE"
                # In TLS 1.3 the client's own handshake has ended by then: the alert comes with its first read.
                with self.assertRaisesRegex(ssl.SSLError, alerts), self.connect(tls) as connection:
                    connection.response()
                self.assert_nothing_parsed(tls)
                self.assertEqual(self.metric(DROPPED), dropped + 2)

    def shake_hands(
        self, client: ssl.SSLObject, connection: Connection, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> None:
        """Complete a client's handshake, but do not send its last message."""
        while True:
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                connection.send(outgoing.read())
                incoming.write(connection.receive())
            else:
                return

    def assert_nothing_parsed(self, tls: ssl.SSLContext) -> None:
        """Check that a request sent together with the end of the handshake gets no response."""
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
    """Certificates that the CA does not vouch for, or not now."""

    def test_none(self) -> None:
        """A client without a certificate is refused."""
        self.assert_refused_with("CERTIFICATE_REQUIRED", None)

    def test_unknown_authority(self) -> None:
        """A certificate of another CA is refused, even if that CA has our CA's name; so is a self-signed one."""
        unknown = authority("security tests CA").issue("caller")
        self.assert_refused_with(
            "UNKNOWN_CA|DECRYPT_ERROR|BAD_CERTIFICATE", unknown, authority("elsewhere").issue("caller")
        )
        self.assert_refused_with("UNKNOWN_CA", authority("caller"))

    def test_expired(self) -> None:
        """An expired certificate is refused."""
        self.assert_refused_with("CERTIFICATE_EXPIRED", trusted_authority().issue("caller", ends=-HOUR / 60))

    def test_not_yet_valid(self) -> None:
        """A certificate that is not yet valid is refused."""
        self.assert_refused_with("BAD_CERTIFICATE", trusted_authority().issue("caller", begins=HOUR / 60))

    def test_for_servers_only(self) -> None:
        """A server certificate of our CA is refused: running a server gives no right to call."""
        holder = trusted_authority().issue("caller", purpose=SERVER)
        self.assert_refused_with("UNSUPPORTED_CERTIFICATE", holder)

    def test_leaf_as_authority(self) -> None:
        """A certificate signed with another client's key is refused."""
        self.assert_refused_with("UNKNOWN_CA", caller().issue("caller"))

    def test_expired_authority(self) -> None:
        """A certificate of an expired intermediate CA is refused."""
        intermediate = trusted_authority().issue("intermediate", is_ca=True, ends=-HOUR / 60)
        self.assert_refused_with("CERTIFICATE_EXPIRED", intermediate.issue("caller"))

    def test_good_ones(self) -> None:
        """Certificates of the CA, and of an intermediate CA whose certificate the client sends, are accepted."""
        intermediate = trusted_authority().issue("intermediate", is_ca=True)
        for holder in (caller(), intermediate.issue("by intermediate")):
            for version in (TLS_1_2, TLS_1_3):
                tls = self.tls_of(holder, oldest=version, newest=version)
                with self.connect(tls) as connection:
                    self.assertEqual(connection.ask(post(b"1")).status, 200)


class RevocationTests(HandshakeTestCase):
    """HTTP_CRL with lists of a root CA and of an intermediate CA; another one has no list, and one is revoked."""

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """Root CA and one intermediate CA have a list each; another intermediate CA has none, a third is revoked."""
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
        """A certificate on its CA's list is refused, of the root CA as of an intermediate one."""
        self.assert_refused_with("CERTIFICATE_REVOKED", self.revoked_by_root, self.revoked_by_listed)

    def test_revoked_authority(self) -> None:
        """A certificate of an intermediate CA that the root CA has revoked is refused."""
        self.assert_refused_with("CERTIFICATE_REVOKED", self.of_revoked)

    def test_authority_without_a_list(self) -> None:
        """A certificate of a CA without a list is refused: it might be revoked."""
        self.assert_refused_with("UNKNOWN_CA|CERTIFICATE_UNKNOWN|BAD_CERTIFICATE", self.of_unlisted)

    def test_not_revoked(self) -> None:
        """Certificates of both CAs that are on no list are accepted."""
        for holder in (self.of_root, self.of_listed):
            self.assertEqual(self.ask(post(b"1"), holder).status, 200)

    def test_end_of_the_list(self) -> None:
        """A metric has the seconds until the first of the lists expires."""
        left = self.metric('provider_gateway_certificate_expiry_seconds{side="crl"}')
        self.assertTrue(3000 < left < 3600, left)
