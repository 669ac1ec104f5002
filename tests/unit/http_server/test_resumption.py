"""TLS sessions that are resumed: when a ticket is good, and how a client that resumes is checked."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.web.resource import Resource

from provider_gateway.config.limits import Limits
from provider_gateway.errors import SettingsError
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.security import ticket_state
from provider_gateway.security.ticket_state import TICKET_SECONDS
from tests.support.certificates import HOUR, SERVER, authority, local_names
from tests.support.resuming_client import ResumingClient
from tests.support.tls_peers import PKITestCase

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.security.server_tls import ServerTLS
    from tests.support.certificates import Holder


class Named(Resource):
    """Answers with the name in the client's certificate."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        return str(request.identity).encode()


class ResumptionTestCase(PKITestCase):
    """A site whose clients offer the sessions that they got."""

    def setUp(self) -> None:
        super().setUp()
        self.dropped: list[str] = []
        self.clock = Clock()
        self.shift = 0.0
        machine = self.wall_clock
        self.wall_clock = lambda: machine() + self.shift
        self.refusals: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: dict[str, Any]) -> None:
        if str(event.get("log_format")).startswith("TLS handshake refused"):
            self.refusals.append(event["reason"])

    def start(self, *lists: bytes) -> ServerTLS:
        """Make the server's TLS, and a site."""
        self.tls = self.server(*lists)
        self.site = GatewaySite(
            Named(),
            self.clock,
            Limits(),
            on_dropped=self.dropped.append,
            still_trusts=self.tls.still_trusts,
            wall_clock=self.wall_clock,
        )
        return self.tls

    def caller(self, holder: Holder, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ResumingClient:
        return ResumingClient(self.server_ca, holder, self.folder, version)

    def connects(self, client: ResumingClient, *, resumes: bool) -> None:
        """Check that a client is served on a new connection, and whether that one continues a session."""
        answer = client.connect(self.tls, self.site)
        client.close()
        self.assertIn(b" 200 ", answer)
        self.assertEqual(resumes, client.was_resumed)

    def is_refused(self, client: ResumingClient, why: str) -> None:
        """Check that a client's connection is ended in its handshake, and logged like any refused handshake."""
        self.dropped.clear()
        self.refusals.clear()
        self.assertEqual(b"", client.connect(self.tls, self.site))
        self.assertEqual((False, ["handshake"]), (client.is_open, self.dropped))
        self.assertEqual([f"the client's certificate is not accepted: {why}"], self.refusals)
        self.assertEqual(set(), self.site.channels)


class TicketTests(ResumptionTestCase):
    """Which tickets are good."""

    def test_resumed(self) -> None:
        """TLS 1.3: a client that offers its newest ticket resumes, again and again, and keeps its identity."""
        self.start()
        for issuer, name in ((self.client_ca, "alone"), (self.intermediate, "chained")):
            client = self.caller(issuer.issue(name))
            self.connects(client, resumes=False)
            for _ in range(3):
                answer = client.connect(self.tls, self.site)
                self.assertTrue(client.was_resumed)
                self.assertTrue(answer.endswith(name.encode()), answer)
                client.close()

    def test_tls_1_2(self) -> None:
        """TLS 1.2: there is no ticket and no session that could be resumed."""
        self.start()
        client = self.caller(self.client_ca.issue("a"), ssl.TLSVersion.TLSv1_2)
        for _ in range(2):
            self.connects(client, resumes=False)
            assert client.session is not None
            self.assertFalse(client.session.has_ticket)

    def test_sent_with_the_response(self) -> None:
        """Tickets are sent together with the response to a request that came with the end of the handshake."""
        self.start()
        client = self.caller(self.client_ca.issue("a"))
        for resumed in (False, True, True):
            self.assertIn(b" 200 ", client.connect(self.tls, self.site))
            self.assertEqual((resumed, 2), (client.was_resumed, client.writes))
            client.close()

    def test_sent_at_once(self) -> None:
        """Without a request, tickets are sent when the handshake is complete."""
        self.start()
        client = self.caller(self.client_ca.issue("a"))
        client.shake_hands(self.tls, self.site)
        self.assertEqual((b"", 2), (client.ask(b""), client.writes))
        self.assertIn(b" 200 ", client.ask())
        client.close()
        self.connects(client, resumes=True)

    def test_changed_files(self) -> None:
        """A ticket is good until the files are loaded again, whichever of them has changed."""
        root, below = self.client_ca.revocation_list, self.intermediate.revocation_list
        other = self.client_ca.issue("other")
        changes: tuple[Callable[[], object], ...] = (
            lambda: self.show("new"),
            lambda: self.trust(self.client_ca, authority("one more")),
            lambda: self.trust(self.client_ca),
            lambda: self.crl.write_bytes(root(other) + below()),
        )
        server = self.start(root(), below())
        for holder in (self.client_ca.issue("alone"), self.intermediate.issue("chained")):
            client = self.caller(holder)
            self.connects(client, resumes=False)
            for change in changes:
                change()
                self.connects(client, resumes=True)
                server.load()
                self.connects(client, resumes=False)

    def test_load_that_fails(self) -> None:
        """Files that are wrong change nothing: tickets stay good."""
        server = self.start()
        client = self.caller(self.client_ca.issue("a"))
        self.connects(client, resumes=False)
        self.ca.write_bytes(b"nonsense")
        self.assertRaises(SettingsError, server.load)
        self.connects(client, resumes=True)

    def test_hour(self) -> None:
        """A full handshake is due each hour, although each resumption brings a new ticket."""
        self.start()
        client = self.caller(self.client_ca.issue("a"))
        self.connects(client, resumes=False)
        for _ in range(3):
            self.tls_clock.advance(TICKET_SECONDS / 4)
            self.connects(client, resumes=True)
        self.tls_clock.advance(TICKET_SECONDS / 4 - 1)
        self.connects(client, resumes=True)
        self.tls_clock.advance(1)
        self.connects(client, resumes=False)
        self.connects(client, resumes=True)
        self.assertEqual(3600, TICKET_SECONDS)

    def assert_lasts_half_an_hour(self) -> None:
        client = self.caller(self.client_ca.issue("a"))
        self.connects(client, resumes=False)
        self.tls_clock.advance(1700)
        self.connects(client, resumes=True)
        self.tls_clock.advance(100)
        self.connects(client, resumes=False)

    def test_end_of_our_certificate(self) -> None:
        """No ticket outlives our certificate: its client would not see that it has expired."""
        self.server_ca.issue("short", purpose=SERVER, names=local_names(), ends=HOUR / 2).write(self.cert, self.key)
        self.start()
        self.assert_lasts_half_an_hour()

    def test_end_of_a_list(self) -> None:
        """No ticket outlives a revocation list: a full handshake fails then."""
        self.start(self.client_ca.revocation_list(ends=HOUR / 2), self.intermediate.revocation_list())
        self.assert_lasts_half_an_hour()

    def test_other_listener(self) -> None:
        """A ticket of another listener with the same files is of no use; its client makes a full handshake."""
        self.start()
        client = self.caller(self.client_ca.issue("a"))
        self.connects(client, resumes=False)
        self.start()
        self.connects(client, resumes=False)

    def test_other_client(self) -> None:
        """Whoever resumes is who made the full handshake, whatever certificate it would show now."""
        self.start()
        first, second = self.caller(self.client_ca.issue("first")), self.caller(self.client_ca.issue("second"))
        self.connects(first, resumes=False)
        second.session = None
        self.connects(second, resumes=False)
        self.assertTrue(first.connect(self.tls, self.site).endswith(b"first"))
        self.assertTrue(second.connect(self.tls, self.site).endswith(b"second"))

    def test_many_authorities(self) -> None:
        """Tickets end when their clients have sent more intermediate CAs than are remembered."""
        self.patch(ticket_state, "_MOST_AUTHORITIES", 2)
        self.start()
        clients = [self.caller(self.client_ca.issue(f"ca {n}", is_ca=True).issue(f"client {n}")) for n in range(3)]
        for each in clients[:2]:
            self.connects(each, resumes=False)
        for each in clients[:2]:
            self.connects(each, resumes=True)
        self.connects(clients[2], resumes=False)
        for each in clients[:2]:
            self.connects(each, resumes=False)


class CheckTests(ResumptionTestCase):
    """How a client that resumes is checked."""

    def test_expired(self) -> None:
        """A client whose certificate has expired is refused; its next handshake is a full one."""
        self.start()
        for issuer in (self.client_ca, self.intermediate):
            self.shift = 0.0
            client = self.caller(issuer.issue("short", ends=HOUR / 2))
            self.connects(client, resumes=False)
            self.shift = 1750.0
            self.connects(client, resumes=True)
            self.connects(client, resumes=True)
            self.shift = 1801.0
            self.is_refused(client, "it has expired")
            # OpenSSL has the machine's clock, and lets the client in. The site has ours.
            self.assertIn(b" 403 ", client.connect(self.tls, self.site))
            self.assertFalse(client.was_resumed)

    def test_expired_authority(self) -> None:
        """A client is refused once its CA has expired, be it the root or an intermediate one."""
        below = self.client_ca.issue("short", is_ca=True, ends=HOUR / 2)
        self.start()
        client = self.caller(below.issue("a"))
        self.connects(client, resumes=False)
        self.connects(client, resumes=True)
        self.shift = 1801.0
        self.is_refused(client, "it has expired")

    def test_reload_while_open(self) -> None:
        """A resumed connection is checked again after a reload, with the intermediate CAs of its full handshake."""
        root, below = self.client_ca.revocation_list, self.intermediate.revocation_list
        for holder in (self.client_ca.issue("alone"), self.intermediate.issue("chained")):
            server = self.start(root(), below())
            client = self.caller(holder)
            self.connects(client, resumes=False)
            self.assertIn(b" 200 ", client.connect(self.tls, self.site))
            self.assertTrue(client.was_resumed)
            server.load()
            self.assertIn(b" 200 ", client.ask())
            self.crl.write_bytes(root(holder) + below(holder))
            server.load()
            self.assertIn(b" 403 ", client.ask())
            self.assertFalse(client.is_open)

    def test_reload_in_the_handshake(self) -> None:
        """A client that is revoked between the beginning of its connection and its handshake is refused."""
        holder = self.client_ca.issue("a")
        server = self.start(self.client_ca.revocation_list())
        client = self.caller(holder)
        self.connects(client, resumes=False)
        make, begun = server.serverConnectionForTLS, []

        def revoke(protocol: Any) -> Any:
            begun.append(make(protocol))
            self.crl.write_bytes(self.client_ca.revocation_list(holder))
            server.load()
            return begun[-1]

        self.patch(server, "serverConnectionForTLS", revoke)
        self.is_refused(client, "it is revoked")
        self.assertTrue(client.was_resumed)
