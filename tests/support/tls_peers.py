"""TLS in memory between a server and a client, with certificates of two CAs and an intermediate one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.x509.oid import NameOID
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test.iosim import connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.clocks import WALL_CLOCK
from provider_gateway.config.settings import Settings
from provider_gateway.net.tls_transport import ServerFactory
from provider_gateway.security.pem import PEMFile
from provider_gateway.security.server_tls import ServerTLS
from provider_gateway.security.tls import ClientTLS
from tests.support.certificates import HOUR, SERVER, authority, local_names, pem

if TYPE_CHECKING:
    from OpenSSL import crypto

    from tests.support.certificates import Holder


class Peer(Protocol):
    """One end of the connection: sends a greeting and keeps what it receives."""

    greeting = b"hello"

    def __init__(self) -> None:
        self.received = b""
        self.is_lost = False

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.greeting)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: object = None) -> None:
        self.is_lost = True


class Link:
    """A TLS connection in memory, after its handshake succeeded or failed.

    Args:
        factory: makes the server's protocol; by default a :class:`Peer`.
        greeting: what the client sends together with the end of its handshake.

    Attributes:
        transport: the server's TLS transport.
        server: the server's protocol.
        client: the client's protocol.
    """

    def __init__(self, server_tls: Any, client_tls: Any, factory: Any = None, *, greeting: bytes = b"hello") -> None:
        self._clock = Clock()
        peer, greeter = Factory.forProtocol(Peer), type("Greeter", (Peer,), {"greeting": greeting})
        server = ServerFactory(server_tls, factory or peer, self._clock)
        client = TLSMemoryBIOFactory(client_tls, True, Factory.forProtocol(greeter), self._clock)
        self.transport: Any = server.buildProtocol(None)
        outside: Any = client.buildProtocol(None)
        self.server, self.client = self.transport.wrappedProtocol, outside.wrappedProtocol
        *_, self._pump = connectedServerAndClient(lambda: self.transport, lambda: outside, clock=self._clock)
        self.turn()

    def turn(self) -> None:
        """Carry all bytes until both sides are quiet."""
        for _ in range(20):
            self._clock.advance(0)  # Twisted's TLS collects small writes until its clock's next turn
            self._pump.flush()

    def send(self, data: bytes) -> None:
        """Send data as the client."""
        self.client.transport.write(data)
        self.turn()

    @property
    def is_open(self) -> bool:
        """True if the handshake succeeded on both sides."""
        return bool(self.server.received and self.client.received)

    @property
    def shown(self) -> str:
        """The common name of the certificate that the server showed."""
        return common_name(self.client.transport.getPeerCertificate())


def common_name(certificate: crypto.X509) -> str:
    """The common name in a certificate of a peer."""
    [attribute] = certificate.to_cryptography().subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(attribute.value)


class PKITestCase(SynchronousTestCase):
    """A CA for servers; another one for clients, with an intermediate one."""

    def setUp(self) -> None:
        self.patch(os, "environ", {})
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.server_ca, self.client_ca = authority("server CA"), authority("client CA")
        self.intermediate = self.client_ca.issue("intermediate", is_ca=True)
        self.told: list[tuple[str, float]] = []
        #: Of the server's TLS.
        self.tls_clock, self.wall_clock = Clock(), WALL_CLOCK
        self.cert, self.key, self.ca, self.crl = (self.folder / name for name in ("cert", "key", "ca", "crl"))
        self.show("server")
        self.trust(self.client_ca)

    def show(self, common_name: str) -> Holder:
        """Issue another certificate for the server and write it to its files."""
        # Longer than an hour, for which tickets are good: they end with the certificate.
        holder = self.server_ca.issue(common_name, purpose=SERVER, names=local_names(), ends=2 * HOUR)
        holder.write(self.cert, self.key)
        return holder

    def trust(self, *authorities: Holder) -> None:
        """Write the CAs that clients' certificates may come from."""
        self.ca.write_bytes(pem(*(each.certificate for each in authorities)))

    def settings(self, **values: Any) -> Settings:
        files = {"http_cert": self.cert, "http_key": self.key, "http_cacert": self.ca}
        return Settings(_env_file=None, **{"rmq_url": "amqp://rabbitmq/", **files, **values})

    def server(self, *lists: bytes) -> ServerTLS:
        """The server's TLS, with these revocation lists."""
        self.crl.write_bytes(b"".join(lists))
        settings = self.settings(http_crl=self.crl if lists else None)
        return ServerTLS(
            settings, lambda *told: self.told.append(told), clock=self.tls_clock, wall_clock=self.wall_clock
        )

    def client(self, holder: Holder | None = None) -> Any:
        """The TLS of a client with a certificate and its chain, or without one."""
        trusted, cert, key = (self.folder / name for name in ("its-ca", "its-cert", "its-key"))
        trusted.write_bytes(pem(self.server_ca.certificate))
        if holder is not None:
            holder.write(cert, key)
        return ClientTLS(
            "broker",
            cacert=PEMFile("MQ_CACERT", trusted),
            cert=None if holder is None else PEMFile("MQ_CERT", cert),
            key=None if holder is None else PEMFile("MQ_KEY", key),
            on_expiry=lambda *_: None,
        ).to("localhost")

    def lets_in(self, server: ServerTLS, holder: Holder) -> bool:
        """True if a handshake with this client's certificate succeeds now."""
        return Link(server, self.client(holder)).is_open


class ConnectedTestCase(PKITestCase):
    """A connection to a client, after the handshake."""

    def setUp(self) -> None:
        super().setUp()
        self.link = Link(self.server(), self.client(self.client_ca.issue("client")))
        self.peer: Any = self.link.server
        self.assertEqual((b"hello", b"hello"), (self.peer.received, self.link.client.received))

    def send_in(self, *contents: bytes, size: int | None = None) -> None:
        """Let the client's records arrive, in one segment or in segments of some bytes."""
        connection = self.link.client.transport.getHandle()
        data = b""
        for content in contents:
            connection.send(content)
            data += connection.bio_read(2**16)
        for at in range(0, len(data), size or len(data)):
            self.link.transport.dataReceived(data[at : at + (size or len(data))])
