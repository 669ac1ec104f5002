"""Sites over small applications, and clients with and without a certificate."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from klein import Klein
from OpenSSL import crypto
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from provider_gateway.config.limits import Limits
from provider_gateway.http_server.request import BoundedRequest
from provider_gateway.http_server.site import GatewaySite
from tests.support.certificates import authority
from tests.support.http_client import Client, Response

if TYPE_CHECKING:
    from provider_gateway.http_server.request import BoundedRequest


LIMITS = Limits(
    handshake_timeout=3,
    headers_timeout=5,
    body_timeout=7,
    write_timeout=11,
    idle_timeout=13,
    max_connections=3,
    max_connections_per_identity=2,
    max_body_bytes=20,
    max_buffered_bytes=30,
)


@cache
def certificate(common_name: str) -> crypto.X509:
    """A client certificate."""
    return crypto.X509.from_cryptography(authority(common_name).certificate)


@implementer(ISSLTransport)
class TLSClient(Client):
    """A client with TLS. Nothing is encrypted: the handshake is complete when the test says so."""

    def __init__(self, site: GatewaySite, common_name: str = "a") -> None:
        self._common_name = common_name
        super().__init__(site)

    def getPeerCertificate(self) -> crypto.X509:  # noqa: N802 - Twisted's name
        return certificate(self._common_name)

    def shake_hands(self) -> None:
        """Complete the handshake."""
        self.protocol.handshakeCompleted()


class LimitsTestCase(SynchronousTestCase):
    """A site that answers ``/`` at once, and ``/slow`` when the test says so."""

    limits = LIMITS

    def setUp(self) -> None:
        self.clock = Clock()
        self.bodies: list[bytes] = []
        self.waiting: list[Deferred[bytes]] = []
        self.dropped: list[str] = []
        self.finished: list[tuple[int, str | None]] = []
        self.is_trusted = True
        self.asked: list[Any] = []
        app = Klein()

        @app.route("/", methods=["POST"])
        def take(request: Any) -> bytes:
            self.bodies.append(request.content.read())
            request.setHeader("Content-Length", "2")
            return b"ok"

        @app.route("/slow", methods=["POST"])
        def wait(request: Any) -> Deferred[bytes]:
            request.setHeader("Content-Length", "4")
            self.waiting.append(Deferred())
            return self.waiting[-1]

        self.resource = app.resource()
        self.site = self.with_limits(self.limits)

    def with_limits(self, limits: Limits) -> GatewaySite:
        """A site with these limits."""
        return GatewaySite(
            self.resource,
            self.clock,
            limits,
            self.finish,
            on_dropped=self.dropped.append,
            still_trusts=self.still_trusts,
            wall_clock=self.clock.seconds,
        )

    def finish(self, request: BoundedRequest) -> None:
        self.finished.append((request.code, None if request.identity is None else str(request.identity)))

    def still_trusts(self, transport: object) -> bool:
        self.asked.append(transport)
        return self.is_trusted

    def clients(self, count: int) -> list[Client]:
        return [Client(self.site) for _ in range(count)]

    def handshaken(self, common_name: str = "a") -> TLSClient:
        client = TLSClient(self.site, common_name)
        client.shake_hands()
        return client

    def pass_seconds(self, seconds: int) -> None:
        """Let time pass second by second, as a reactor does."""
        self.clock.pump([1] * seconds)

    def statuses(self, client: Client) -> list[int]:
        return [each.status for each in client.responses()]

    def assert_ends(self, client: Client, seconds: int, status: int | None, reasons: list[str]) -> None:
        """After these seconds, and not before, the client gets this status or is disconnected; reasons are counted."""
        self.assertFalse(client.disconnecting)
        before = self.statuses(client)
        self.pass_seconds(seconds - 1)
        self.assertEqual(
            (before, False, False, []), (self.statuses(client), client.aborted, client.disconnecting, self.dropped)
        )
        self.pass_seconds(1)
        self.assertEqual(before + ([] if status is None else [status]), self.statuses(client))
        self.assertEqual((status is None, reasons), (client.aborted, self.dropped))
        self.assertEqual(client.aborted, client.disconnecting, "an answer that nobody has read yet")


#: A request that is served, to be sent behind others.
GOOD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n7"


class HostileTestCase(SynchronousTestCase):
    """A site over an application that keeps the bodies it was sent."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.bodies: list[bytes] = []
        self.finished: list[BoundedRequest] = []
        app = Klein()

        @app.route("/", methods=["GET", "POST"])
        def take(request: Any) -> bytes:
            self.bodies.append(request.content.read())
            request.setHeader("Content-Length", str(len(self.bodies[-1])))
            return self.bodies[-1]

        self.site = GatewaySite(
            app.resource(),
            self.clock,
            Limits(max_body_bytes=MAX_BODY),
            self.finished.append,
            wall_clock=self.clock.seconds,
        )
        self.client = Client(self.site)

    def assert_problem(self, status: int) -> Response:
        """The client got one response: a problem document with the request id of the header."""
        response = self.client.response()
        self.assertEqual((response.status, response.problem["status"]), (status, status))
        self.assertEqual(response.headers["rquid"], response.problem["rquid"])
        return response


MAX_BODY = 20
