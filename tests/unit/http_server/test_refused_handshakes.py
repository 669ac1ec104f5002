"""The log of refused handshakes: why, from where, and not once for each."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from provider_gateway.config.limits import Limits
from provider_gateway.http_server.refused_handshakes import RefusedHandshakes
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.observability.repeats import PAUSE
from tests.support.certificates import HOUR, SERVER, Holder, authority
from tests.support.tls_peers import Link, PKITestCase


class Transport:
    """A connection that has ended."""

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.7", 4711)

    def getHandle(self) -> None:
        return None


def refusal(text: str) -> SSL.Error:
    """OpenSSL's error."""
    return SSL.Error([("SSL routines", "", text)])


class LinesTestCase(SynchronousTestCase):
    """Collects log lines about handshakes."""

    def setUp(self) -> None:
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: dict[str, Any]) -> None:
        if str(event.get("log_format")).startswith("TLS handshake"):
            self.events.append(event)

    def said(self, level: LogLevel = LogLevel.info) -> list[str]:
        """The reasons that were logged at a level."""
        return [event["reason"] for event in self.events if event["log_level"] is level]


class RefusedHandshakesTests(LinesTestCase):
    """What is logged of failures."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.handshakes = RefusedHandshakes(self.clock)

    def fail_with(self, error: BaseException, times: int = 1) -> None:
        for _ in range(times):
            self.handshakes.failed(Transport(), error)

    def test_words(self) -> None:
        """Reasons are told in the words of this side; an unknown one as OpenSSL says it."""
        for text, expected in (
            ("peer did not return a certificate", "the client shows no certificate"),
            ("http request", "the client speaks HTTP without TLS"),
            ("tlsv1 alert unknown ca", "the client refuses: unknown ca; does it know the CA of HTTP_CERT?"),
            ("sslv3 alert handshake failure", "the client refuses: handshake failure"),
            ("certificate verify failed", "the client's certificate is not accepted"),
            ("something new", "something new"),
        ):
            self.fail_with(refusal(text))
            self.assertEqual(self.said()[-1], expected)
        self.fail_with(SSL.Error())
        self.assertEqual(self.said()[-1], "the connection was closed")
        self.assertEqual({event["client"] for event in self.events}, {"192.0.2.7"})

    def test_rate(self) -> None:
        """A reason is logged once a minute, with the number of lines that were left out; others are not held up."""
        self.fail_with(refusal("http request"), 1000)
        self.fail_with(refusal("unsupported protocol"))
        self.fail_with(refusal("http request"))
        self.assertEqual(len(self.said()), 2)
        self.clock.advance(PAUSE)
        self.fail_with(refusal("http request"), 10)
        self.assertEqual(len(self.said()), 3)
        self.assertEqual(self.events[-10]["left_out"], 1000)

    def test_many_reasons(self) -> None:
        """However many reasons there are, the lines are bounded, and so is what is remembered."""
        for number in range(10_000):
            self.fail_with(refusal(f"reason {number}"))
        self.assertEqual(len(self.said()), 51)
        self.assertIn("other reasons", self.said())

    def test_connection_that_ends(self) -> None:
        """A connection that just ends is no refusal: health checks of load balancers do that every few seconds."""
        self.fail_with(ConnectionLost("it ended"))
        (reason,) = self.said(LogLevel.debug)
        self.assertIn("it ended", reason)
        self.assertEqual(self.said(), [])


class CertificateTests(LinesTestCase, PKITestCase):
    """Why a certificate is not accepted, with real handshakes in memory."""

    def setUp(self) -> None:
        PKITestCase.setUp(self)
        LinesTestCase.setUp(self)

    def reason(self, holder: Holder | None, *lists: Any) -> str:
        """The reason for which a client is refused."""
        server = self.server(*lists)
        site = GatewaySite(Resource(), Clock(), Limits())
        self.events.clear()
        Link(server, self.client(holder), site, greeting=b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        (said,) = self.said()
        return str(said)

    def test_reasons(self) -> None:
        """Expired, revoked, of an unknown CA, for servers only, without its chain: the log tells which."""
        root, below = self.client_ca.revocation_list, self.intermediate.revocation_list
        alone, chained = self.client_ca.issue("alone"), self.intermediate.issue("chained")
        accepted = "the client's certificate is not accepted: "
        for holder, lists, expected in (
            (self.client_ca.issue("a", ends=-HOUR), (), "it has expired"),
            (self.client_ca.issue("a", purpose=SERVER), (), "it is not for clients"),
            (authority("other").issue("a"), (), "its CA is not in HTTP_CACERT, and the client sends no chain to it"),
            (Holder(chained.key, chained.chain[:1]), (), "its CA is not in HTTP_CACERT"),
            (authority("other"), (), "it is self-signed, and HTTP_CACERT does not have it"),
            (alone, (root(alone), below()), "it is revoked"),
            (alone, (root(ends=-HOUR), below()), "the revocation list of its CA has expired"),
            (alone, (below(),), "HTTP_CRL has no revocation list of its CA"),
            (chained, (root(self.intermediate), below()), "it is revoked (certificate 1 of its chain)"),
        ):
            self.assertIn(accepted + expected, self.reason(holder, *lists))

    def test_none(self) -> None:
        """A client without a certificate."""
        self.assertEqual(self.reason(None), "the client shows no certificate")
