"""A site behind TLS, with real handshakes in memory: identities, and clients that are no longer trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography import x509
from twisted.internet.task import Clock
from twisted.web.resource import Resource

from provider_gateway.config.limits import Limits
from provider_gateway.http_server.site import GatewaySite
from tests.support.certificates import authority
from tests.support.tls_peers import Link, PKITestCase

if TYPE_CHECKING:
    from provider_gateway.security.server_tls import ServerTLS
    from tests.support.certificates import Holder

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Names(Resource):
    """Answers with the names in the client's certificate."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        return repr(request.identity.names).encode()


class TLSSiteTests(PKITestCase):
    """A site with a limit of two connections per identity."""

    def setUp(self) -> None:
        super().setUp()
        self.dropped: list[str] = []
        self.alone, self.chained = self.client_ca.issue("alone"), self.intermediate.issue("chained")

    def site(self, server: ServerTLS) -> GatewaySite:
        clock = Clock()
        clock.advance(self.alone.certificate.not_valid_before_utc.timestamp())
        self.clock = clock
        return GatewaySite(
            Names(),
            clock,
            Limits(max_connections_per_identity=2),
            on_dropped=self.dropped.append,
            still_trusts=server.still_trusts,
            wall_clock=clock.seconds,
        )

    def connect(self, server: ServerTLS, site: GatewaySite, holder: Holder, greeting: bytes = GET) -> Link:
        return Link(server, self.client(holder), site, greeting=greeting)

    def statuses(self, link: Link) -> list[bytes]:
        """The statuses of the responses that the client got."""
        return [each.split(b" ")[0] for each in link.client.received.split(b"HTTP/1.1 ")[1:]]

    def test_identity(self) -> None:
        """The identity of a request has the names of the client's certificate, and not those of its CAs."""
        names = (x509.DNSName("B.org"), x509.UniformResourceIdentifier("spiffe://c"))
        server = self.server()
        link = self.connect(server, self.site(server), self.intermediate.issue("a", names=names))
        self.assertTrue(link.client.received.endswith(b"('a', 'b.org', 'spiffe://c')"), link.client.received)

    def test_too_many_of_one_identity(self) -> None:
        """A request that arrives with the end of a handshake is not served if the identity has too many connections."""
        server = self.server()
        site = self.site(server)
        links = [self.connect(server, site, self.alone) for _ in range(3)]
        self.assertEqual([[b"200"], [b"200"], []], [self.statuses(each) for each in links])
        self.assertEqual((["identity-limit"], True), (self.dropped, links[2].client.is_lost))
        self.assertEqual([b"200"], self.statuses(self.connect(server, site, self.chained)))

    def test_failed_handshake(self) -> None:
        """A client whose certificate is refused is counted, and leaves nothing behind."""
        server = self.server()
        site = self.site(server)
        link = self.connect(server, site, authority("other CA").issue("stranger"))
        self.assertEqual((b"", True), (link.client.received, link.client.is_lost))
        self.assertEqual((["handshake"], set(), []), (self.dropped, site.channels, self.clock.getDelayedCalls()))

    def test_trusted_no_more(self) -> None:
        """After a reload that revokes its certificate or removes its CA, a client's next request is its last: 403."""
        root, below = self.client_ca.revocation_list, self.intermediate.revocation_list
        for holder in (self.alone, self.chained):
            for lists, trusted in (((root(self.alone), below(self.chained)), self.client_ca), ((), authority("other"))):
                self.trust(self.client_ca)
                server = self.server(root(), below())
                link = self.connect(server, self.site(server), holder)
                self.assertEqual([b"200"], self.statuses(link))
                self.trust(trusted)
                self.crl.write_bytes(b"".join(lists or (root(), below())))
                server.load()
                link.send(GET + GET)
                self.assertEqual(([b"200", b"403"], True), (self.statuses(link), link.client.is_lost))

    def test_still_trusted(self) -> None:
        """A reload that does not concern a client leaves its connection alone."""
        for holder in (self.alone, self.chained):
            server = self.server()
            link = self.connect(server, self.site(server), holder)
            self.show("new server")
            self.trust(authority("other CA"), self.client_ca)
            server.load()
            link.send(GET)
            self.assertEqual([b"200", b"200"], self.statuses(link))

    def test_expired(self) -> None:
        """The first request after a client's certificate has expired gets 403, and the connection is closed."""
        server = self.server()
        link = self.connect(server, self.site(server), self.alone)
        self.clock.rightNow = self.alone.certificate.not_valid_after_utc.timestamp() - 1
        link.send(GET)
        self.clock.rightNow += 1
        link.send(GET)
        self.assertEqual(([b"200", b"200", b"403"], True), (self.statuses(link), link.client.is_lost))
