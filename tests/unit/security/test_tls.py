"""The three TLS sides: errors for wrong files, and accepted peers, with real handshakes in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test.iosim import connectedServerAndClient
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface.verify import verifyObject

from provider_gateway.config import seed_files
from provider_gateway.config.settings import Settings
from provider_gateway.demo.certificates import Authority
from provider_gateway.errors import SettingsError
from provider_gateway.security.tls import ClientTLS, broker_tls, model_tls
from tests.support.tls_files import TLSTestCase, server_tls

if TYPE_CHECKING:
    from pathlib import Path


def exchanged(server_tls: Any, client_tls: Any) -> tuple[bytes, bytes]:
    """What server and client receive from each other over TLS in memory; empty if the handshake fails."""
    received: dict[str, bytes] = {"server": b"", "client": b""}

    class Greeter(Protocol):
        """Greets, and keeps what it receives."""

        name = "server"

        def connectionMade(self) -> None:
            assert self.transport is not None
            self.transport.write(b"from " + self.name.encode())

        def dataReceived(self, data: bytes) -> None:
            received[self.name] += data

    class ClientGreeter(Greeter):
        name = "client"

    clock = Clock()  # Twisted's TLS collects small writes until its clock's next turn
    server = TLSMemoryBIOFactory(server_tls, False, Factory.forProtocol(Greeter), clock)
    client = TLSMemoryBIOFactory(client_tls, True, Factory.forProtocol(ClientGreeter), clock)
    *_, pump = connectedServerAndClient(
        lambda: server.buildProtocol(None), lambda: client.buildProtocol(None), clock=clock
    )
    for _ in range(20):
        clock.advance(0)
        pump.flush()
    return received["server"], received["client"]


BOTH = (b"from client", b"from server")


class ServerTests(TLSTestCase):
    """TLS of the HTTPS listener."""

    def test_wrong_files(self) -> None:
        """A missing or wrong file is an error that names its variable."""
        self.assert_wrong_files_are_refused(
            server_tls,
            {
                "http_cert": "one or more PEM certificates",
                "http_key": "a PEM private key",
                "http_cacert": "one or more PEM certificates",
                "http_crl": "one or more PEM certificate revocation lists",
            },
        )

    def test_client_authority_is_new(self) -> None:
        """Without HTTP_CACERT and its file, the error says that it is new, and what to do."""
        line = self.refusal(server_tls, http_cacert=self.certs / "missing.pem")
        self.assertNotIn("old services", line)
        self.patch(seed_files, "_FOLDERS", (self.certs / "none",))
        settings = self.settings()
        given = {name: getattr(settings, name) for name in settings.model_fields_set - {"http_cacert"}}
        line = str(self.assertRaises(SettingsError, server_tls, Settings(_env_file=None, **given), self.on_expiry))
        self.assertTrue(line.startswith(f"HTTP_CACERT: {self.certs}/none/trusted_crt.pem: expected"), line)
        for part in ("No such file", "old services", "client certificate", "Set HTTP_CACERT", "HTTP_TLS=false"):
            self.assertIn(part, line)
        self.assertNotIn("\n", line)

    def test_key_of_another_certificate(self) -> None:
        """A key that does not belong to the certificate is an error that names both variables."""
        line = self.refusal(server_tls, http_key=self.certs / "client_key.pem")
        self.assertTrue(line.startswith("HTTP_KEY: "), line)
        self.assertIn("expected the private key of the certificate in HTTP_CERT", line)

    def test_certificate_and_key_exchanged(self) -> None:
        """A key in place of the certificate is an error."""
        line = self.refusal(server_tls, http_cert=self.certs / "server_key.pem")
        self.assertTrue(line.startswith("HTTP_CERT: "), line)

    def test_client_certificate_is_demanded(self) -> None:
        """Only clients with a client certificate of our CA are accepted."""
        server = self.server()
        self.assertEqual(BOTH, exchanged(server, self.client(folder=self.certs)))
        for client, why in (
            (self.client(), "none"),
            (self.client(folder=self.others), "another CA's"),
            (self.client(folder=self.certs, stem="server"), "a server's"),
        ):
            self.assertEqual(b"", exchanged(server, client)[0], f"certificate: {why}")

    def test_revoked_client(self) -> None:
        """With HTTP_CRL, a client whose certificate is on the list is not accepted; others are."""
        authority = Authority(self.certs)
        authority.issue("server_cert.pem", "server_key.pem", "server", server=True, names=("localhost",))
        for stem in ("good", "revoked"):
            authority.issue(f"{stem}_cert.pem", f"{stem}_key.pem", stem, server=False)
        ca, revoked = (
            x509.load_pem_x509_certificate((self.certs / f).read_bytes()) for f in ("cacert.pem", "revoked_cert.pem")
        )
        now, later = authority.not_before, authority.not_after
        entry = x509.RevokedCertificateBuilder(revoked.serial_number, now).build()
        crl = x509.CertificateRevocationListBuilder(ca.subject, now, later, [], [entry])
        path = self.certs / "crl.pem"
        path.write_bytes(crl.sign(authority._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        server = self.server(http_crl=path)
        self.assertEqual(BOTH, exchanged(server, self.client(folder=self.certs, stem="good")))
        self.assertEqual(b"", exchanged(server, self.client(folder=self.certs, stem="revoked"))[0])

    def test_expiry_is_told(self) -> None:
        """``on_expiry`` is called with the side and the time at which our certificate expires."""
        self.server()
        self.assertEqual([("server", self.expiry("server_cert.pem"))], self.told)


class BrokerTests(TLSTestCase):
    """TLS towards the broker."""

    def test_wrong_files(self) -> None:
        """A missing or wrong file is an error that names its variable."""
        pair = {"mq_cert": self.certs / "client_cert_mq.pem", "mq_key": self.certs / "client_key_mq.pem"}
        kinds = {"mq_cacert": "PEM certificates", "mq_cert": "PEM certificates", "mq_key": "a PEM private key"}
        self.assert_wrong_files_are_refused(broker_tls, kinds, **pair)
        line = self.refusal(broker_tls, **{**pair, "mq_key": self.certs / "client_key.pem"})
        self.assertIn("MQ_KEY: ", line)
        self.assertIn("MQ_CERT", line)

    def test_host_name_is_checked(self) -> None:
        """The broker's certificate must name the host of its address, and be of our CA."""
        server = self.server()
        for host in ("localhost", "127.0.0.1", "provider-gateway"):
            self.assertEqual(BOTH, exchanged(server, self.client(host, self.certs)), host)
        wrong_ca = self.client("localhost", self.certs, mq_cacert=self.others / "cacert.pem")
        for client in (self.client("rabbitmq", self.certs), self.client("127.0.0.2", self.certs), wrong_ca):
            self.assertEqual((b"", b""), exchanged(server, client))

    def test_expiry_is_told(self) -> None:
        """``on_expiry`` is called if there is a client certificate, and not called without one."""
        broker_tls(self.settings(), self.on_expiry)
        self.assertEqual([], self.told)
        pair = {"mq_cert": self.certs / "client_cert_mq.pem", "mq_key": self.certs / "client_key_mq.pem"}
        broker_tls(self.settings(**pair), self.on_expiry)
        self.assertEqual([("broker", self.expiry("client_cert_mq.pem"))], self.told)


class ModelTests(TLSTestCase):
    """TLS towards the model."""

    def policy(self, **values: Any) -> ClientTLS:
        return model_tls(self.settings(**values), self.on_expiry)

    def pair(self) -> dict[str, Path]:
        return {"model_cert": self.certs / "client_cert.pem", "model_key": self.certs / "client_key.pem"}

    def test_wrong_files(self) -> None:
        """A missing or wrong file is an error that names its variable."""
        kinds = {"model_cacert": "PEM certificates", "model_cert": "PEM certificates", "model_key": "PEM private key"}
        self.assert_wrong_files_are_refused(model_tls, kinds, **self.pair())

    def test_policy_for_the_agent(self) -> None:
        """The side is Twisted's IPolicyForHTTPS, and works without any setting."""
        policy = self.policy()
        verifyObject(IPolicyForHTTPS, policy)
        verifyObject(IOpenSSLClientConnectionCreator, policy.creatorForNetloc(b"model.example", 443))

    def test_own_ca_and_certificate(self) -> None:
        """MODEL_CACERT is trusted, our certificate is presented, and the host name is checked."""
        policy = self.policy(model_cacert=self.certs / "cacert.pem", **self.pair())
        server = self.server()
        self.assertEqual(BOTH, exchanged(server, policy.creatorForNetloc(b"localhost", 8443)))
        self.assertEqual((b"", b""), exchanged(server, policy.creatorForNetloc(b"model.example", 8443)))
        without_ca = self.policy(**self.pair()).creatorForNetloc(b"localhost", 8443)
        self.assertEqual((b"", b""), exchanged(server, without_ca), "the system's CAs do not know ours")

    def test_expiry_is_told(self) -> None:
        """``on_expiry`` is called with the expiry of the client certificate."""
        self.policy(**self.pair())
        self.assertEqual([("model", self.expiry("client_cert.pem"))], self.told)
