"""The embedded broker's listeners: their addresses, their clients, and what is logged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL.crypto import X509
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock, StringTransport
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.devbroker.login import common_name
from provider_gateway.devbroker.server import Broker, NotLoopback


class ListenTests(SynchronousTestCase):
    """Addresses to listen on."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.broker = Broker({}, self.reactor)

    def test_loopback(self) -> None:
        """The broker listens on loopback addresses."""
        for interface in ("127.0.0.1", "127.8.9.1", "::1", "localhost"):
            self.broker.listen_tcp(self.reactor, 5672, interface)
        self.assertEqual(len(self.reactor.tcpServers), 4)

    def test_tls(self) -> None:
        """The broker listens with TLS."""
        context = object()
        self.broker.listen_tcp(self.reactor, 5671, tls=context)
        [(port, factory, used, _, interface)] = self.reactor.sslServers
        self.assertEqual((port, factory, used, interface), (5671, self.broker, context, "127.0.0.1"))

    def test_others(self) -> None:
        """Another address raises NotLoopback with its name, and there is no listener."""
        for interface in ("", "0.0.0.0", "::", "192.0.2.1", "broker.example", "127.0.0.1.example", "127.example"):
            error = self.assertRaises(NotLoopback, self.broker.listen_tcp, self.reactor, 5672, interface)
            self.assertIn("Use 127.0.0.1, ::1 or localhost.", str(error))
        self.assertEqual(self.reactor.tcpServers, [])

    def test_clients(self) -> None:
        """A client on another machine is not let in, whatever the listener."""
        self.assertIsNone(self.broker.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)))
        self.assertIsNotNone(self.broker.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1)))
        self.assertIsNotNone(self.broker.buildProtocol(IPv6Address("TCP", "::1", 1)))

    def test_warning(self) -> None:
        """The log says that the broker is for development, and loses everything at exit."""
        observer = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
        self.broker.listen_tcp(self.reactor, 5672)
        texts = [event["log_format"] for event in observer if event.get("log_format")]
        self.assertTrue(any("for development only" in each and "lost at exit" in each for each in texts), texts)


class CertificateTests(SynchronousTestCase):
    """The user name for EXTERNAL."""

    def test_plain(self) -> None:
        """Without TLS there is no name."""
        self.assertIsNone(common_name(StringTransport()))

    def test_tls(self) -> None:
        """With TLS it is the common name of the client's certificate; None if it showed none, or one without a name."""
        for attributes, expected in ((["provider-gateway"], "provider-gateway"), ([], None)):
            transport = TLSTransport(certificate(attributes))
            self.assertEqual(common_name(transport), expected)
        self.assertIsNone(common_name(TLSTransport(None)))


class TLSTransport(StringTransport):
    """A transport with a client certificate, or without."""

    def __init__(self, shown: X509 | None) -> None:
        super().__init__()
        self._shown = shown

    def getPeerCertificate(self) -> X509 | None:  # noqa: N802 - Twisted's name
        return self._shown


def certificate(common_names: list[str]) -> X509:
    """A certificate with these common names."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each) for each in common_names])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return X509.from_cryptography(builder.sign(key, hashes.SHA256()))
