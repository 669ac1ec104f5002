"""A site: bodies within limits, connections that are kept, hosts and targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from provider_gateway.config.limits import Limits
from provider_gateway.http_server.site import GatewaySite
from tests.support.http_client import Client
from tests.unit.http_server.base import MAX_BODY

if TYPE_CHECKING:
    from provider_gateway.http_server.request import BoundedRequest


class SiteTests(SynchronousTestCase):
    """A site over a small application that keeps the bodies it was sent."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.bodies: list[bytes] = []
        self.finished: list[BoundedRequest] = []
        self.waiting: list[Deferred[bytes]] = []
        self.site = GatewaySite(
            self.application().resource(),
            self.clock,
            Limits(max_body_bytes=MAX_BODY),
            self.finished.append,
            wall_clock=self.clock.seconds,
        )
        self.client = Client(self.site)

    def application(self) -> Klein:
        app = Klein()

        @app.route("/", methods=["POST"])
        def take(request: Any) -> bytes:
            self.bodies.append(request.content.read())
            request.setHeader("Content-Length", str(len(self.bodies[-1])))
            return self.bodies[-1]

        @app.route("/slow", methods=["POST"])
        def wait(request: Any) -> Deferred[bytes]:
            request.setHeader("Content-Length", "4")
            self.waiting.append(Deferred())
            return self.waiting[-1]

        return app

    def test_no_delay(self) -> None:
        """Nagle's algorithm is off: a response in two segments does not wait for an acknowledgement."""
        self.assertTrue(self.client.no_delay)

    def test_one_write(self) -> None:
        """A response is written in one piece, head and body."""
        written: list[bytes] = []
        self.patch(self.client, "write", written.append)
        self.client.post("/", b"1", "RqUID: r1")
        lines = [
            b"HTTP/1.1 200 OK",
            b"Content-Length: 1",
            b"Server: provider-gateway",
            b"Date: Thu, 01 Jan 1970 00:00:00 GMT",
            b"",
            b"1",
        ]
        self.assertEqual([b"\r\n".join(lines)], written)
        self.assertEqual([1], [each.sentLength for each in self.finished])

    def test_date(self) -> None:
        """The Date of a response is the time at which the response is written (RFC 9110, 6.6.1)."""
        dates = []
        for seconds in (0, 0.9, 0.1, 59):
            self.clock.advance(seconds)
            self.client.clear()
            self.client.post("/", b"1")
            dates.append(self.client.response().headers["date"][-12:])
        self.assertEqual(["00:00:00 GMT", "00:00:00 GMT", "00:00:01 GMT", "00:01:00 GMT"], dates)
        self.client.clear()
        self.client.post("/slow")
        self.clock.advance(60)
        self.waiting[0].callback(b"late")
        self.assertEqual("00:02:00 GMT", self.client.response().headers["date"][-12:])

    def test_cookies(self) -> None:
        """Cookies are ignored, even malformed ones."""
        self.client.post("/", b"1", "Cookie: a=b; =; c", "cookie: d=e")
        self.assertEqual(200, self.client.response().status)

    def test_addresses(self) -> None:
        """A request knows the addresses of both ends of its connection."""
        self.client.post("/slow")
        request = self.client.protocol.request
        assert request is not None
        self.assertEqual(
            (self.client.getHost(), self.client.getPeer()), (request.getHost(), request.getClientAddress())
        )

    def test_largest_body(self) -> None:
        """A body of exactly the largest size is served, declared or chunked."""
        body = b"x" * MAX_BODY
        self.client.post("/", body)
        self.client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n" + body + b"\r\n0\r\n\r\n"
        )
        self.assertEqual(self.bodies, [body, body])

    def test_declared_length_over_the_limit(self) -> None:
        """A declared length over the limit is rejected with 413 before the body arrives."""
        self.client.post("/", b"", f"Content-Length: {MAX_BODY + 1}")
        response = self.client.response()
        self.assertEqual((response.status, response.problem["status"]), (413, 413))
        self.assertEqual(response.headers["connection"], "close")
        self.assertIn(str(MAX_BODY), response.problem["detail"])
        self.client.send(b"x" * (MAX_BODY + 1))
        self.client.post("/", b"1")
        self.assertEqual(self.bodies, [])
        self.assertEqual(len(self.client.responses()), 1)

    def test_whole_request_over_the_limit(self) -> None:
        """A request over the limit that arrives in one segment is rejected once."""
        self.client.post("/", b"x" * (MAX_BODY + 1))
        self.assertEqual(self.client.response().status, 413)
        self.assertEqual(self.bodies, [])

    def test_chunks_over_the_limit(self) -> None:
        """A chunked body is rejected with 413 as soon as a chunk exceeds the limit."""
        self.client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.client.send(b"a\r\n0123456789\r\n")
        self.client.send(b"a\r\n0123456789\r\n")
        self.assertEqual(self.client.responses(), [])
        self.client.send(b"1\r\n0\r\n")
        self.assertEqual(self.client.response().problem["status"], 413)
        self.client.send(b"0\r\n\r\n")
        self.assertEqual(self.bodies, [])
        self.assertEqual(len(self.client.responses()), 1)

    def test_rejected_client_that_asks_first(self) -> None:
        """A client that sends "Expect: 100-continue" gets 413 and no 100, if its body is over the limit."""
        self.client.post("/", b"", f"Content-Length: {MAX_BODY + 1}", "Expect: 100-continue")
        self.assertEqual(self.client.response().status, 413)

    def test_client_that_asks_first(self) -> None:
        """A client that sends "Expect: 100-continue" gets 100, if its body is within the limit."""
        self.client.post("/", b"", "Content-Length: 2", "Expect: 100-continue")
        self.assertEqual(self.client.response().status, 100)

    def test_rejected_client_has_time_to_read(self) -> None:
        """A rejected client has two seconds to read the response; then the connection is aborted."""
        self.client.post("/", b"", f"Content-Length: {MAX_BODY + 1}")
        self.clock.advance(1.9)
        self.assertFalse(self.client.aborted)
        self.clock.advance(0.1)
        self.assertTrue(self.client.aborted)

    def test_rejected_client_that_leaves(self) -> None:
        """A rejected client that closes its connection leaves no timer behind."""
        self.client.post("/", b"", f"Content-Length: {MAX_BODY + 1}")
        self.client.leave()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_host(self) -> None:
        """A request whose Host is not a host and port is answered with 400."""
        for host in ("a b", "a/b", "exa<mple", "a:b", "a:123456", "\u00e9", "", "[::1"):
            client = Client(self.site)
            client.post("/", b"1", f"Host: {host}")
            self.assertEqual(client.response().problem["status"], 400, host)
        self.assertEqual(self.bodies, [])
        for host in ("a", "a.b-c.d_e:8443", "127.0.0.1", "[::1]:5050", "localhost:", "127.0.0.1:", "[::1]:"):
            client = Client(self.site)
            client.post("/", b"1", f"Host: {host}")
            self.assertEqual(client.response().status, 200, host)

    def test_empty_port(self) -> None:
        """An empty port (RFC 3986, 3.2.3) is no port: Klein never sees it. A colon too many is a mistake."""
        hosts: list[bytes] = []
        self.patch(self.site, "getResourceFor", lambda request: hosts.append(request.getHeader(b"Host")))
        for host in ("a:", "[::1]:", "a:80"):
            Client(self.site).post("/", b"1", f"Host: {host}")
        Client(self.site).post("http://b:/", b"1", "Host: gateway")
        self.assertEqual([b"a", b"[::1]", b"a:80", b"b"], hosts)
        self.flushLoggedErrors()
        for host in ("a::", ":", ":80", "[::1]::"):
            client = Client(self.site)
            client.post("/", b"1", f"Host: {host}")
            self.assertEqual(client.response().problem["status"], 400, host)

    def test_absolute_form(self) -> None:
        """An absolute-form target is served (RFC 9112, 3.2.2): its path is routed, its authority replaces Host."""
        hosts: list[tuple[bytes, bytes]] = []
        self.patch(
            self.site, "getResourceFor", lambda request: hosts.append((request.getHeader(b"Host"), request.path))
        )
        for target in ("http://b", "HTTPS://b:8443/?c", "https://[::1]/v1/predict?http://c"):
            Client(self.site).post(target, b"1", "Host: gateway")
        self.assertEqual([(b"b", b"/"), (b"b:8443", b"/"), (b"[::1]", b"/v1/predict")], hosts)
        self.flushLoggedErrors()

    def test_absolute_form_is_answered(self) -> None:
        """A request with an absolute-form target is answered like one with its path, and the connection is kept."""
        self.client.post("http://other.example:80/", b"7")
        self.client.post("/", b"8")
        self.assertEqual([(200, b"7"), (200, b"8")], [(each.status, each.body) for each in self.client.responses()])

    def test_absolute_form_with_wrong_hosts(self) -> None:
        """An absolute-form target is answered with 400 if its authority, or Host, is not a host and port."""
        for target, host in (("http://a:b/", "a"), ("http://a<b/", "a"), ("http://[::1/", "a"), ("http://a/", "a b")):
            client = Client(self.site)
            client.post(target, b"1", f"Host: {host}")
            self.assertEqual(client.response().problem["status"], 400, target)
        self.assertEqual(self.bodies, [])

    def test_request_line_that_is_not_text(self) -> None:
        """A request line with bytes that are not ASCII is rejected with 400."""
        for line in (b"POST /\xff HTTP/1.1", b"P\xffST / HTTP/1.1"):
            client = Client(self.site)
            client.send(line + b"\r\nHost: a\r\nContent-Length: 1\r\n\r\n1")
            self.assertEqual(client.response().status, 400)
        self.assertEqual(self.bodies, [])

    def test_keep_alive_of_http_1_0(self) -> None:
        """The connection of an HTTP/1.0 client is kept if the client asks for it, and the response says so."""
        for _ in range(2):
            self.client.send(b"POST / HTTP/1.0\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\n7")
        self.assertEqual([each.headers.get("connection") for each in self.client.responses()], ["keep-alive"] * 2)
        self.assertFalse(self.client.disconnecting)

    def test_http_1_0(self) -> None:
        """The connection of an HTTP/1.0 client that does not ask is closed after the response."""
        self.client.send(b"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\n7")
        self.assertEqual(self.client.response().body, b"7")
        self.assertTrue(self.client.disconnecting)

    def test_connection_close(self) -> None:
        """After a request with the option "close" the connection is closed, and the response says so."""
        for value in ("close", "Close", "X-Any, close", "close , te"):
            client = Client(self.site)
            client.post("/", b"7", f"Connection: {value}")
            self.assertEqual(client.response().headers["connection"], "close")
            self.assertTrue(client.disconnecting, value)

    def test_pipelining(self) -> None:
        """Two requests in one segment are answered in their order, even if the first one takes longer."""
        self.client.send(
            b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n7"
        )
        self.assertEqual(self.client.responses(), [])
        self.waiting[0].callback(b"slow")
        self.assertEqual([each.body for each in self.client.responses()], [b"slow", b"7"])

    def test_idle_timeout(self) -> None:
        """An idle connection is closed after a minute; one whose request is being served is not."""
        serving = Client(self.site)
        serving.post("/slow", b"")
        self.clock.advance(59)
        self.assertFalse(self.client.disconnecting)
        self.clock.advance(1)
        self.assertTrue(self.client.disconnecting)
        self.assertFalse(serving.disconnecting)

    def test_finished(self) -> None:
        """Each finished request is recorded, with the time at which it was complete."""
        self.clock.advance(5)
        self.client.post("/slow", b"")
        self.assertEqual(self.finished, [])
        self.clock.advance(2)
        self.waiting[0].callback(b"slow")
        (request,) = self.finished
        self.assertEqual((request.path, request.code, request.received_at), (b"/slow", 200, 5))

    def test_broken_resource(self) -> None:
        """A request whose resource raises an exception is answered with 500; the cause is logged, and not sent."""
        client = Client(GatewaySite(Broken(), self.clock, Limits(max_body_bytes=MAX_BODY)))
        client.post("/", b"1")
        self.assertEqual(client.response().problem["status"], 500)
        self.assertNotIn(b"secret", client.value())
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)


class Broken(Resource):
    """Raises an exception at every request."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        msg = "secret"
        raise KeyError(msg)
