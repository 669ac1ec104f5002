"""TLS towards one host: the certificates that name it, and every other one, which is refused with a reason."""

from __future__ import annotations

from typing import Any

from twisted.internet import ssl
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test.iosim import connectedServerAndClient

from provider_gateway.demo.certificates import Authority
from provider_gateway.net.failure_reasons import reason_of
from provider_gateway.security.pem import PEMFile, read_key_pair
from tests.support.tls_files import TLSTestCase

ANOTHER_HOST = "the server's certificate is for another host, not for "


class Seen(Protocol):
    """Greets, and keeps what it receives and why the connection ended."""

    received = b""
    lost: Any = None

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any) -> None:
        self.lost = reason.value


class HostTLSTests(TLSTestCase):
    """A client that expects a host, and a server with some certificate of the trusted CA."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority(self.certs)
        self.server_name: bytes | None = None

    def connected(self, host: str, names: tuple[str, ...], *, folder: Any = None) -> tuple[Seen, Seen]:
        """Server and client after the handshake.

        Args:
            host: that the client expects.
            names: that the server's certificate has.
        """
        authority = self.authority if folder is None else Authority(folder)
        authority.issue("cert.pem", "key.pem", "any", server=True, names=names)
        cert, key = (PEMFile(name, authority.folder / f"{name}.pem") for name in ("cert", "key"))
        options = ssl.CertificateOptions(**read_key_pair(cert, key))
        options.getContext().set_tlsext_servername_callback(self._note_name)
        server_protocol, client_protocol = Seen(), Seen()
        clock = Clock()
        server = TLSMemoryBIOFactory(options, False, _one(server_protocol), clock)
        client = TLSMemoryBIOFactory(self.client(host), True, _one(client_protocol), clock)
        *_, pump = connectedServerAndClient(
            lambda: server.buildProtocol(None), lambda: client.buildProtocol(None), clock=clock
        )
        for _ in range(20):
            clock.advance(0)
            pump.flush()
        return server_protocol, client_protocol

    def _note_name(self, connection: Any) -> None:
        self.server_name = connection.get_servername()

    def assert_accepted(self, host: str, *names: str) -> None:
        server, client = self.connected(host, names)
        self.assertEqual((b"hello", b"hello"), (server.received, client.received), (host, names, client.lost))

    def assert_refused(self, reason: str, host: str, *names: str, **arguments: Any) -> None:
        server, client = self.connected(host, names, **arguments)
        self.assertEqual((b"", b""), (server.received, client.received), (host, names))
        self.assertEqual(reason, reason_of(client.lost))
        self.assertEqual([], self.flushLoggedErrors())

    def test_accepted(self) -> None:
        """A certificate that has the name or the address is accepted; so is a wildcard for one label."""
        for host, *names in (
            ("rabbit_mq", "rabbit_mq"),
            ("ml_model.team_a.svc", "*.team_a.svc"),
            ("-a--b-", "other.example", "-a--b-"),
            ("rabbit.example.", "rabbit.example"),
            ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
            ("::1", "::1"),
            ("fd00::a", "fd00:0::a", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.1"),
        ):
            self.assert_accepted(host, *names)

    def test_server_name(self) -> None:
        """The server is told the name, without the dot at its end, and no address (RFC 6066, 3)."""
        for host, expected in (("rabbit_mq", b"rabbit_mq"), ("rabbit.example.", b"rabbit.example"), ("::1", None)):
            self.server_name = None
            self.connected(host, (host.rstrip("."),))
            self.assertEqual(expected, self.server_name)

    def test_another_host(self) -> None:
        """A certificate for others is refused, in words."""
        for host, *names in (
            ("rabbit_mq", "rabbit-mq", "rabbit_mq.example"),
            ("a.b.team_a.svc", "*.team_a.svc"),
            ("::1", "127.0.0.1", "localhost"),
            ("127.0.0.1", "::1", "localhost"),
        ):
            self.assert_refused(ANOTHER_HOST + host, host, *names)

    def test_no_names(self) -> None:
        """A certificate of a trusted CA that names no host is refused for every host: its subject is no name."""
        for host in ("rabbit_mq", "rabbit.example", "any", "::1", "10.0.0.1"):
            self.assert_refused(
                "the server's certificate names no host (its common name does not count), or its names are malformed",
                host,
            )

    def test_malformed_names(self) -> None:
        """Names that cannot be compared are no reason to accept a certificate."""
        for names in (("*.*.example",), ("*.example", "rabbit.example"), ("1",)):
            self.assert_refused(
                "the server's certificate names no host (its common name does not count), or its names are malformed",
                "rabbit.example",
                *names,
            )

    def test_host_that_cannot_be_compared(self) -> None:
        """A host for which no certificate can be valid is refused, not accepted."""
        server, client = self.connected("1_0", ("1_0",))
        self.assertEqual((b"", b""), (server.received, client.received))

    def test_another_authority(self) -> None:
        """A certificate of another CA is refused for that reason, whatever host it names."""
        for names in (("rabbit_mq",), ("other",)):
            self.assert_refused("TLS: certificate verify failed", "rabbit_mq", *names, folder=self.others)


def _one(protocol: Protocol) -> Any:
    """A factory of one protocol."""
    factory = Factory()
    factory.protocol = lambda: protocol
    return factory
