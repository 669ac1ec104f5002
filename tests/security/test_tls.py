"""TLS 1.2 and 1.3 with strong ciphers, no renegotiation, resumption with TLS 1.3 only, HTTP/1.1 over it."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from tests.security.base import SecurityTestCase
from tests.security.certificates import caller, server, trusted_authority, trusted_file
from tests.security.client import get, post
from tests.security.processes import PATIENCE
from tests.support.certificates import SERVER, local_names

if TYPE_CHECKING:
    from tests.security.base import Deployment

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class VersionAndCipherTests(SecurityTestCase):
    """Versions and ciphers; the server's RSA key would allow every cipher."""

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """An RSA certificate: with an elliptic-curve key, many ciphers would be ruled out anyway."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        holder = trusted_authority().issue("gateway", purpose=SERVER, names=local_names(), key=key)
        cert, private = deployment.folder / "rsa.pem", deployment.folder / "rsa_key.pem"
        holder.write(cert, private)
        return {"HTTP_CERT": str(cert), "HTTP_KEY": str(private)}

    def refusal(self, **how: object) -> str:
        """The alert that refuses a client with this TLS configuration."""
        return str(self.assertRaises(ssl.SSLError, self.connect, self.tls_of(caller(), **how)))

    def test_old_versions(self) -> None:
        """TLS 1.0 and 1.1 are refused by the server, with the alert for it."""
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            self.assertIn("ALERT_PROTOCOL_VERSION", self.refusal(oldest=version, newest=version))

    def test_weak_ciphers(self) -> None:
        """Ciphers without forward secrecy, authentication or authenticated encryption are refused, all of them."""
        weak = (
            "ALL:COMPLEMENTOFALL:!ECDHE+AESGCM:!ECDHE+CHACHA20",
            "AES128-SHA",
            "AES256-GCM-SHA384",
            "ECDHE-RSA-AES128-SHA",
            "ECDHE-RSA-AES256-SHA384",
            "DHE-RSA-AES128-GCM-SHA256",
            "NULL-SHA256",
            "ADH-AES128-GCM-SHA256",
        )
        for ciphers in weak:
            self.assertIn("ALERT_HANDSHAKE_FAILURE", self.refusal(newest=TLS_1_2, ciphers=ciphers), ciphers)

    def test_what_is_negotiated(self) -> None:
        """TLS 1.3 if the client has it; in TLS 1.2 a strong cipher, even if the client prefers a weak one."""
        with self.connect(self.tls_of(caller())) as connection:
            self.assertEqual(connection.socket.version(), "TLSv1.3")
        preferred = "AES128-SHA:ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256"
        for ciphers, chosen in (
            (preferred, "ECDHE-RSA-AES128-GCM-SHA256"),
            ("ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
            ("ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"),
        ):
            with self.connect(self.tls_of(caller(), newest=TLS_1_2, ciphers=ciphers)) as connection:
                self.assertEqual((connection.socket.cipher()[0], connection.ask(post(b"1")).status), (chosen, 200))
                self.assertIsNone(connection.socket.compression())


class RenegotiationTests(SecurityTestCase):
    """A second handshake on a connection."""

    def test_by_the_client(self) -> None:
        """A client's renegotiation is refused, so that its identity cannot change."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.load_verify_locations(str(trusted_file()))
        pair = str(caller().write(self.deployment.folder / "renegotiating.pem"))
        context.use_certificate_file(pair)
        context.use_privatekey_file(pair)
        with socket.create_connection(("127.0.0.1", self.gateway.port("https")), PATIENCE) as raw:
            raw.settimeout(None)  # pyOpenSSL does not work with a timeout
            client = SSL.Connection(context, raw)
            client.set_connect_state()
            client.do_handshake()
            client.sendall(get(b"/health"))
            self.assertIn(b" 200 ", client.recv(65536))
            self.assertTrue(client.renegotiate())
            with self.assertRaises(SSL.Error) as caught:
                client.do_handshake()
                while client.recv(65536):
                    pass
            self.assertIn("no renegotiation", str(caught.exception))
        self.assert_serves()


class ResumptionTests(SecurityTestCase):
    """With which versions a session can be resumed; :mod:`tests.security.test_resumption` says when."""

    def resumed(self, version: ssl.TLSVersion) -> list[bool]:
        """Connect three times with the session of the time before; returns which connections resumed it."""
        tls = self.tls_of(caller(), oldest=version, newest=version)
        session, found = None, []
        for _ in range(3):
            with self.connect(tls, session=session) as connection:
                self.assertEqual(connection.ask(post(b"1")).status, 200)  # in TLS 1.3, tickets have come by now
                session = connection.socket.session
                found.append(connection.socket.session_reused)
        return found

    def test_tls_1_2(self) -> None:
        """TLS 1.2: no session is resumed, by id or by ticket, and there are no tickets: no forward secrecy."""
        self.assertEqual([False, False, False], self.resumed(TLS_1_2))
        with self.connect(self.tls_of(caller(), newest=TLS_1_2)) as connection:
            self.assertFalse(connection.socket.session.has_ticket)

    def test_tls_1_3(self) -> None:
        """TLS 1.3: a session is resumed by its ticket."""
        self.assertEqual([False, True, True], self.resumed(TLS_1_3))

    def test_from_one_version_to_the_other(self) -> None:
        """A ticket of TLS 1.3 does not resume a session of TLS 1.2."""
        tls = self.tls_of(caller())
        with self.connect(tls) as connection:
            self.assertEqual(connection.ask(post(b"1")).status, 200)
            session = connection.socket.session
        tls.maximum_version = TLS_1_2
        with self.connect(tls, session=session) as connection:
            self.assertEqual(("TLSv1.2", False), (connection.socket.version(), connection.socket.session_reused))
            self.assertEqual(connection.ask(post(b"2")).status, 200)


class ProtocolTests(SecurityTestCase):
    """The protocol over TLS, and bytes that are not TLS."""

    def test_alpn(self) -> None:
        """ALPN selects HTTP/1.1, never HTTP/2, in whatever order the client offers them."""
        for offered, agreed in (
            (["h2", "http/1.1"], "http/1.1"),
            (["http/1.1", "h2"], "http/1.1"),
            (["http/1.1"], "http/1.1"),
        ):
            tls = self.tls_of(caller())
            tls.set_alpn_protocols(offered)
            with self.connect(tls) as connection:
                self.assertEqual(connection.socket.selected_alpn_protocol(), agreed)
                self.assertEqual(connection.ask(post(b"1")).status, 200)

    def test_http_2_alone(self) -> None:
        """A client that offers only HTTP/2 is refused, or answered in HTTP/1.1."""
        tls = self.tls_of(caller())
        tls.set_alpn_protocols(["h2"])
        try:
            connection = self.connect(tls)
        except ssl.SSLError as error:
            self.assertIn("ALERT", str(error))
            return
        self.assertIsNone(connection.socket.selected_alpn_protocol())
        self.assertEqual(connection.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").status, 400)

    def test_plain_http(self) -> None:
        """Plain HTTP on the TLS port: the connection is closed without an HTTP response."""
        for request in (get(b"/health"), post(b"1"), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
            connection = self.connect_plainly()
            connection.send(request)
            answered = connection.read_to_end()
            self.assertNotIn(b"HTTP", answered)
            self.assertNotIn(b"ocation", answered)
            self.assertLess(len(answered), 10)  # at most a TLS alert
        self.assert_serves()

    def test_garbage(self) -> None:
        """Bytes that are neither TLS nor HTTP: the connection is closed."""
        for data in (
            b"\x00" * 100,
            b"\x16\x03\x01\xff\xff" + b"\xff" * 100,
            b"SSH-2.0-Any\r\n",
            b"\x80\x2e\x01\x00\x02",
        ):
            connection = self.connect_plainly()
            connection.send(data)
            self.assertNotIn(b"HTTP", connection.finish())
        self.assert_serves()

    def test_certificate_of_the_server(self) -> None:
        """The server's certificate is that of HTTP_CERT."""
        with self.connect() as connection:
            shown = connection.socket.getpeercert(binary_form=True)
        self.assertEqual(shown, server().certificate.public_bytes(Encoding.DER))
