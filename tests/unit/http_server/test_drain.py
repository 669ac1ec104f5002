"""The drain of an HTTP listener: each connection is closed after its response."""

from __future__ import annotations

from typing import TYPE_CHECKING

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.limits import Limits
from provider_gateway.http_server.problems import with_length
from provider_gateway.http_server.site import GatewaySite
from tests.support.http_client import Client

if TYPE_CHECKING:
    from twisted.web.iweb import IRequest


class CloseConnectionsTests(SynchronousTestCase):
    """GatewaySite.close_connections()."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.answers: list[Deferred[bytes]] = []
        app = Klein()

        @app.route("/", methods=["POST"])
        def answer(request: IRequest) -> Deferred[bytes]:
            self.answers.append(Deferred())
            return self.answers[-1].addCallback(lambda body: with_length(request, "text/plain", body))

        self.site = GatewaySite(app.resource(), self.clock, Limits(max_body_bytes=1000))

    def test_nothing_open(self) -> None:
        """Without connections the Deferred has fired."""
        self.successResultOf(self.site.close_connections())

    def test_idle(self) -> None:
        """An idle connection is closed, and aborted if its client does not close it."""
        client = Client(self.site)
        closed = self.site.close_connections()
        self.assertTrue(client.disconnecting)
        self.clock.advance(2)
        self.assertTrue(client.aborted)
        client.leave()
        self.successResultOf(closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_in_work(self) -> None:
        """A request that is being served gets its response with "Connection: close"; its client has time to read it."""
        client = Client(self.site)
        client.post()
        closed = self.site.close_connections()
        self.assertFalse(client.disconnecting)
        self.answers[0].callback(b"done")
        self.assertEqual(client.response().headers["connection"], "close")
        self.assertTrue(client.disconnecting)
        self.clock.advance(Limits().write_timeout - 1)
        self.assertFalse(client.aborted)
        self.clock.advance(1)
        self.assertTrue(client.aborted)
        self.assertNoResult(closed)
        client.leave()
        self.successResultOf(closed)

    def test_longer_than_the_idle_limit(self) -> None:
        """The idle time limit does not apply while a request is served."""
        client = Client(self.site)
        client.post()
        for _ in range(2 * int(Limits().idle_timeout)):
            self.clock.advance(1)
        self.assertFalse(client.disconnecting or client.aborted)
        self.answers[0].callback(b"done")
        self.assertEqual(client.response().body, b"done")

    def test_headers_half_read(self) -> None:
        """A request whose end arrives during the drain is served, and is the last one of its connection."""
        client = Client(self.site)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-")
        self.site.close_connections()
        client.send(b"Length: 2\r\n\r\n{}")
        self.answers[0].callback(b"done")
        self.assertEqual(client.response().headers["connection"], "close")
        self.assertTrue(client.disconnecting)


class ClientThatLeavesTests(SynchronousTestCase):
    """Requests whose clients leave before the response."""

    def test_recorded(self) -> None:
        """A request whose client leaves is recorded once, with status 499; an idle client is not recorded."""
        codes: list[int] = []
        app = Klein()
        app.route("/", methods=["POST"])(lambda _request: Deferred())
        site = GatewaySite(
            app.resource(), Clock(), Limits(max_body_bytes=1000), lambda request: codes.append(request.code)
        )
        Client(site).leave()
        client = Client(site)
        client.post()
        client.leave()
        self.assertEqual(codes, [499])
        self.assertEqual(self.flushLoggedErrors(), [])
