"""The certificates and kinds of TLS that the HTTPS listener accepts, with real handshakes in memory."""

from __future__ import annotations

from base64 import encodebytes
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, x448
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from zope.interface import implementer

from provider_gateway.config.limits import Limits
from provider_gateway.errors import SettingsError
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.security.pem import PEMFile, read_key_pair
from tests.support.certificates import HOUR, SERVER, Holder, local_names
from tests.support.tls_peers import Link, PKITestCase


class ChainTests(PKITestCase):
    """Intermediate CAs."""

    def test_intermediate(self) -> None:
        """A client must send the intermediate certificate: without it, its own cannot be verified."""
        server, caller = self.server(), self.intermediate.issue("caller")
        self.assertTrue(self.lets_in(server, caller))
        self.assertFalse(self.lets_in(server, Holder(caller.key, caller.chain[:1])))

    def test_intermediate_of_ours(self) -> None:
        """The server sends its chain, so that a client needs to know the root only."""
        below = self.server_ca.issue("below", is_ca=True)
        below.issue("server below", purpose=SERVER, names=local_names()).write(self.cert, self.key)
        link = Link(self.server(), self.client(self.client_ca.issue("caller")))
        self.assertEqual((True, "server below"), (link.is_open, link.shown))

    def test_revocation_lists(self) -> None:
        """Each CA of a chain needs a list that has not expired; a certificate on its CA's list is not accepted."""
        alone, chained = self.client_ca.issue("alone"), self.intermediate.issue("chained")
        root, below = self.client_ca.revocation_list, self.intermediate.revocation_list
        for lists, lets_alone, lets_chained in (
            ((root(), below()), True, True),
            ((below(), root()), True, True),
            ((root(),), True, False),
            ((below(),), False, False),
            ((root(alone), below()), False, True),
            ((root(), below(chained)), True, False),
            ((root(self.intermediate), below()), True, False),
            ((root(), below(ends=-HOUR)), True, False),
            ((root(ends=-HOUR), below()), False, False),
            ((self.server_ca.revocation_list(),), False, False),
        ):
            server = self.server(*lists)
            self.assertEqual((lets_alone, lets_chained), (self.lets_in(server, alone), self.lets_in(server, chained)))


class KeyTests(PKITestCase):
    """Private keys that can be read but not used."""

    def test_unknown_kinds(self) -> None:
        """A key of an unsupported kind or curve is an error like any wrong key."""
        form = (PrivateFormat.PKCS8, NoEncryption())
        key = ec.generate_private_key(ec.SECP256R1())
        first, *_, last = key.private_bytes(Encoding.PEM, *form).splitlines()
        der = key.private_bytes(Encoding.DER, *form)
        other_curve = der.replace(b"\x2a\x86\x48\xce\x3d\x03\x01\x07", b"\x2a\x86\x48\xce\x3d\x03\x01\x02")
        wrapped = b"\n".join([first, encodebytes(other_curve).strip(), last, b""])
        for pem in (wrapped, x448.X448PrivateKey.generate().private_bytes(Encoding.PEM, *form)):
            self.key.write_bytes(pem)
            files = PEMFile("HTTP_CERT", self.cert), PEMFile("HTTP_KEY", self.key)
            line = str(self.assertRaises(SettingsError, read_key_pair, *files))
            self.assertEqual(f"HTTP_KEY: {self.key}: expected a PEM private key without a pass phrase", line)


class TLSKindsTests(PKITestCase):
    """Versions, ciphers and protocols."""

    def caller(self, *offered: bytes, version: TLSVersion = TLSVersion.TLSv1_3, ciphers: str = "ALL") -> Any:
        """A client that speaks one version of TLS, even an insecure one.

        Args:
            offered: protocols.
        """
        cert, key = self.folder / "its-cert", self.folder / "its-key"
        self.client_ca.issue("caller").write(cert, key)
        context = CertificateOptions(
            **read_key_pair(PEMFile("CERT", cert), PEMFile("KEY", key)),
            insecurelyLowerMinimumTo=version,
            lowerMaximumSecurityTo=version,
        ).getContext()
        context.set_cipher_list(f"{ciphers}:@SECLEVEL=0".encode())

        @implementer(IOpenSSLClientConnectionCreator)
        class Creator:
            """Makes connections of the context."""

            def clientConnectionForTLS(self, _protocol: object) -> SSL.Connection:
                connection = SSL.Connection(context, None)
                if offered:
                    connection.set_alpn_protos(list(offered))
                return connection

        return Creator()

    def test_versions(self) -> None:
        """TLS 1.2 and 1.3 are accepted, older versions are not."""
        server = self.server()
        for version, expected in (
            (TLSVersion.TLSv1_0, False),
            (TLSVersion.TLSv1_1, False),
            (TLSVersion.TLSv1_2, True),
            (TLSVersion.TLSv1_3, True),
        ):
            self.assertEqual(expected, Link(server, self.caller(version=version)).is_open, version)

    def test_ciphers(self) -> None:
        """With TLS 1.2, only ciphers with forward secrecy and authenticated encryption are accepted."""
        server = self.server()
        for ciphers, expected in (
            ("ECDHE-ECDSA-AES128-GCM-SHA256", True),
            ("ECDHE-ECDSA-AES256-GCM-SHA384", True),
            ("ECDHE-ECDSA-CHACHA20-POLY1305", True),
            ("ECDHE-ECDSA-AES128-SHA256", False),
            ("ECDHE-ECDSA-AES256-SHA", False),
            ("ECDHE-ECDSA-AES128-CCM", False),
            ("AES128-GCM-SHA256:AES256-SHA:aNULL:eNULL", False),
        ):
            caller = self.caller(version=TLSVersion.TLSv1_2, ciphers=ciphers)
            self.assertEqual(expected, Link(server, caller).is_open, ciphers)

    def test_no_renegotiation(self) -> None:
        """A client cannot renegotiate, and thus not demand one handshake after the other."""
        link = Link(self.server(), self.caller(version=TLSVersion.TLSv1_2))
        handle = link.client.transport.getHandle()
        self.assertTrue(handle.renegotiate())
        link.send(b"")
        link.client.transport._checkHandshakeStatus()
        link.turn()
        self.assertTrue(link.client.is_lost, "OpenSSL gives up when it is refused")

    def test_http_1_1_only(self) -> None:
        """A client that offers HTTP/2 and HTTP/1.1 gets HTTP/1.1; a client with HTTP/2 only is not accepted."""
        server, site = self.server(), GatewaySite(Resource(), Clock(), Limits())
        for offered, expected in (((b"h2", b"http/1.1"), b"http/1.1"), ((b"h2",), None), ((b"http/1.1",), b"http/1.1")):
            link = Link(server, self.caller(*offered), site, greeting=b"")
            self.assertEqual(expected, link.transport.negotiatedProtocol, offered)
            self.assertEqual(expected is None, link.client.is_lost)
