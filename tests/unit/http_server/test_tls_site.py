"""The HTTP server behind TLS, with real handshakes in memory: who is served, and who is no more."""

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
    from provider_gateway.security.tls import ServerTLS
    from tests.support.certificates import Holder

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Names(Resource):
    """Answers with the names of the client."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        return repr(request.identity.names).encode()


class TLSSiteTests(PKITestCase):
    """A site that takes two connections of each identity."""

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
        )

    def connect(self, server: ServerTLS, site: GatewaySite, holder: Holder, greeting: bytes = GET) -> Link:
        return Link(server, self.client(holder), site, greeting=greeting)

    def statuses(self, link: Link) -> list[bytes]:
        """Of all answers that the client got."""
        return [each.split(b" ")[0] for each in link.client.received.split(b"HTTP/1.1 ")[1:]]

    def test_identity(self) -> None:
        """A request knows the names of its client's certificate, not those of its CAs."""
        names = (x509.DNSName("B.org"), x509.UniformResourceIdentifier("spiffe://c"))
        server = self.server()
        link = self.connect(server, self.site(server), self.intermediate.issue("a", names=names))
        self.assertTrue(link.client.received.endswith(b"('a', 'b.org', 'spiffe://c')"), link.client.received)

    def test_too_many_of_one_identity(self) -> None:
        """The request that came with the handshake of a connection too many is not served: nothing is answered."""
        server = self.server()
        site = self.site(server)
        links = [self.connect(server, site, self.alone) for _ in range(3)]
        self.assertEqual([[b"200"], [b"200"], []], [self.statuses(each) for each in links])
        self.assertEqual((["identity-limit"], True), (self.dropped, links[2].client.is_lost))
        self.assertEqual([b"200"], self.statuses(self.connect(server, site, self.chained)))

    def test_failed_handshake(self) -> None:
        """A client that is not let in is counted, and leaves nothing behind."""
        server = self.server()
        site = self.site(server)
        link = self.connect(server, site, authority("other CA").issue("stranger"))
        self.assertEqual((b"", True), (link.client.received, link.client.is_lost))
        self.assertEqual((["handshake"], set(), []), (self.dropped, site.channels, self.clock.getDelayedCalls()))

    def test_trusted_no_more(self) -> None:
        """Once its certificate is revoked or its CA trusted no more, a client's next request is 403 and the last."""
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
        """A load that does not concern a client does not disturb its connection."""
        for holder in (self.alone, self.chained):
            server = self.server()
            link = self.connect(server, self.site(server), holder)
            self.show("new server")
            self.trust(authority("other CA"), self.client_ca)
            server.load()
            link.send(GET)
            self.assertEqual([b"200", b"200"], self.statuses(link))

    def test_expired(self) -> None:
        """At the first request after the end of its certificate a client gets 403, and is disconnected."""
        server = self.server()
        link = self.connect(server, self.site(server), self.alone)
        self.clock.rightNow = self.alone.certificate.not_valid_after_utc.timestamp() - 1
        link.send(GET)
        self.clock.rightNow += 1
        link.send(GET)
        self.assertEqual(([b"200", b"200", b"403"], True), (self.statuses(link), link.client.is_lost))
