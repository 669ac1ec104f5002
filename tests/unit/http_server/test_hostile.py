"""The HTTP listeners and clients that mean no good, or know no better: every answer is still a well-formed one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from klein import Klein
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.app.admin import Admin
from provider_gateway.config.limits import Limits
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.message.message import Message
from provider_gateway.observability.metrics import Metrics
from tests.unit.gateway.test_api import KEY, APITestCase
from tests.unit.http_server.test_site import MAX_BODY, Client, Response

if TYPE_CHECKING:
    from provider_gateway.http_server.site import BoundedRequest

MAX_HEADER_BYTES = Limits().max_header_bytes
FRESH_ID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
#: A request that is served, as bytes to follow others.
GOOD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n7"


class HostileTestCase(SynchronousTestCase):
    """A site over an application that keeps the bodies that it was given."""

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

        self.site = GatewaySite(app.resource(), self.clock, Limits(max_body_bytes=MAX_BODY), self.finished.append)
        self.client = Client(self.site)

    def assert_problem(self, status: int) -> Response:
        """The client was answered once, with a problem document that has the id of the answer's header."""
        response = self.client.response()
        self.assertEqual((response.status, response.problem["status"]), (status, status))
        self.assertEqual(response.headers["rquid"], response.problem["rquid"])
        return response


class OversizedChunksTests(HostileTestCase):
    """A chunked body over the limit that is there at once: every chunk and the end, in one segment."""

    def post_chunks(self, *headers: bytes, then: bytes = b"") -> None:
        head = b"\r\n".join([b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: chunked", *headers, b"", b""])
        self.client.send(head + 5 * b"a\r\n0123456789\r\n" + b"0\r\n\r\n" + then)

    def test_refused_once(self) -> None:
        """There is exactly one answer, 413, and neither the body nor what follows it is served."""
        self.post_chunks(then=GOOD)
        self.client.send(GOOD)
        self.assertEqual(self.assert_problem(413).headers["connection"], "close")
        self.assertEqual(self.bodies, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_malformed_chunk_behind(self) -> None:
        """A malformed chunk behind the limit, in the same segment, gets no second answer and no early close."""
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.client.send(head + 5 * b"a\r\n0123456789\r\n" + b"zz\r\n")
        self.assert_problem(413)
        self.assertFalse(self.client.disconnecting)

    def test_later_segment(self) -> None:
        """What comes in a later segment is thrown away unread: it may be no chunk at all."""
        self.client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + 3 * b"a\r\n0123456789\r\n"
        )
        self.client.send(b"nonsense\r\n")
        self.assert_problem(413)
        self.assertFalse(self.client.disconnecting)

    def test_aborted_later(self) -> None:
        """One timer ends the connection two seconds later, and not before."""
        self.post_chunks()
        self.assertEqual([each.getTime() for each in self.clock.getDelayedCalls() if each.getTime() <= 5], [2.0])
        self.clock.advance(1.9)
        self.assertFalse(self.client.aborted)
        self.clock.advance(0.1)
        self.assertTrue(self.client.aborted)

    def test_told_once(self) -> None:
        """The record of finished requests gets it once, with its status and the answer's request id."""
        self.clock.advance(3)
        self.post_chunks()
        self.client.leave()
        (request,) = self.finished
        self.assertEqual((request.code, request.received_at), (413, 3))
        rquid = self.assert_problem(413).headers["rquid"]
        self.assertEqual(request.rquid, rquid)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_rquid(self) -> None:
        """A valid request id is echoed, in the header and in the body."""
        self.post_chunks(b"rquid: r-1")
        self.assertEqual(self.assert_problem(413).headers["rquid"], "r-1")

    def test_fresh_rquid(self) -> None:
        """Without a request id, or with one that is malformed, the answer has a fresh one."""
        seen = set()
        for headers in ((), (b"RqUID: a b",), (b"RqUID: " + b"x" * 129,), (b"RqUID: \xff",)):
            self.client = Client(self.site)
            self.post_chunks(*headers)
            seen.add(self.assert_problem(413).headers["rquid"])
            self.assertRegex(self.client.response().headers["rquid"], FRESH_ID)
        self.assertEqual(len(seen), 4)


class LargeHeadersTests(HostileTestCase):
    """Headers that are too large, one alone or all together."""

    def post_headers(self, *headers: bytes, then: bytes = b"") -> None:
        lines = [b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 1", *headers, b"", b""]
        self.client.send(b"\r\n".join(lines) + b"7" + then)

    def assert_refused(self) -> None:
        response = self.assert_problem(431)
        self.assertEqual(response.problem["type"], "urn:provider-gateway:problem:headers-too-large")
        self.assertIn(str(MAX_HEADER_BYTES), response.problem["detail"])
        self.assertEqual(response.headers["connection"], "close")
        self.assertEqual(self.bodies, [])
        self.assertEqual([each.code for each in self.finished], [431])

    def test_long_line(self) -> None:
        """A header line over 16,384 bytes is refused with 431, as a problem document."""
        self.post_headers(b"X: " + b"x" * MAX_HEADER_BYTES)
        self.assert_refused()

    def test_line_without_end(self) -> None:
        """A header line that does not end is refused as soon as it is too long, and once."""
        self.client.send(b"POST / HTTP/1.1\r\nHost: a\r\nX: ")
        for _ in range(40):
            self.client.send(b"x" * 1000)
        self.assert_refused()

    def test_many(self) -> None:
        """Many headers, each short, are refused with 431 if they are over 16,384 bytes together."""
        self.post_headers(*[b"X-%02d: %s" % (number, b"x" * 1000) for number in range(17)])
        self.assert_refused()

    def test_largest(self) -> None:
        """Headers of just 16,384 bytes together are taken; one byte more is not."""
        rest = MAX_HEADER_BYTES - len(b"Host: a" + b"Content-Length: 1" + b"X: ")
        self.post_headers(b"X: " + b"x" * rest)
        self.assertEqual(self.client.response().status, 200)
        self.assertEqual(self.bodies.pop(), b"7")
        self.finished.clear()
        self.client = Client(self.site)
        self.post_headers(b"X: " + b"x" * (rest + 1))
        self.assert_refused()

    def test_pipelined_behind_a_refused_one(self) -> None:
        """What follows a refused request is never parsed, be it in the same segment or a later one."""
        for headers in ([b"X: " + b"x" * MAX_HEADER_BYTES], [b"X: " + b"x" * 1000] * 17):
            self.client = Client(self.site)
            self.finished.clear()
            self.post_headers(*headers, then=GOOD + b"nonsense\r\n\r\n")
            self.client.send(GOOD)
            self.client.send(b"nonsense\r\n\r\n")
            self.assert_refused()
            self.assertFalse(self.client.disconnecting)

    def test_fresh_budget(self) -> None:
        """Each request of a connection may have headers up to the limit."""
        for _ in range(3):
            self.post_headers(b"X: " + b"x" * 10_000)
        self.assertEqual([each.status for each in self.client.responses()], [200] * 3)

    def test_aborted_later(self) -> None:
        """A connection refused for its headers is ended two seconds later."""
        self.post_headers(b"X: " + b"x" * MAX_HEADER_BYTES)
        self.clock.advance(1.9)
        self.assertFalse(self.client.aborted)
        self.clock.advance(0.1)
        self.assertTrue(self.client.aborted)


class TargetTests(HostileTestCase):
    """Targets that cannot be routed."""

    def assert_bad_request(self, path: str, host: str = "a") -> None:
        for header, expected in (("X-Other: 1", FRESH_ID), ("RqUID: r-1", "^r-1$")):
            self.client = Client(self.site)
            self.client.request("GET", path, b"", f"Host: {host}", header)
            response = self.assert_problem(400)
            self.assertEqual(response.problem["type"], "urn:provider-gateway:problem:bad-request")
            self.assertRegex(response.headers["rquid"], expected)
        self.assertEqual((self.bodies, self.flushLoggedErrors()), ([], []))

    def test_path_that_is_not_utf_8(self) -> None:
        """A path that decodes to bytes which are no UTF-8 is 400 with a request id, and no error of ours."""
        for path in ("/%ff", "/a/%C3", "/%c0%af?x=1"):
            self.assert_bad_request(path)

    def test_query_that_is_not_utf_8(self) -> None:
        """A query is not ours to judge: its bytes may be any."""
        self.client.request("GET", "/?%ff=%ff")
        self.assertEqual(self.client.response().status, 200)

    def test_host_with_empty_labels(self) -> None:
        """A Host that looks like a name and is none is 400 with a request id, and no error of ours."""
        for host in ("a..b", "..", "x" * 300):
            self.assert_bad_request("/", host)


class UndecodableHeadersTests(APITestCase):
    """Header values with bytes that are no UTF-8, where the value decides something."""

    def test_content_type(self) -> None:
        """Such a Content-Type is 415, and no error of ours."""
        for value in ("\xff", "text/\xff", "application/json; charset=\xff"):
            self.assert_problem(self.post(KEY, f"Content-Type: {value}"), 415, "unsupported-media-type")
        self.assertEqual((self.rpc.calls, self.flushLoggedErrors()), ([], []))

    def test_content_encoding(self) -> None:
        """Such a Content-Encoding is 415, and no error of ours."""
        self.assert_problem(self.post(KEY, "Content-Encoding: \xff"), 415, "unsupported-media-type")
        self.assertEqual((self.rpc.calls, self.flushLoggedErrors()), ([], []))

    def test_accept_of_metrics(self) -> None:
        """With such an Accept a scraper gets the metrics in the usual format."""
        client = Client(
            GatewaySite(Admin(Metrics().registry.collect, list).app.resource(), self.clock, Limits(max_body_bytes=1000))
        )
        client.request("GET", "/metrics", b"", "Accept: \xff", "Accept: text/\xfe;q=0.5")
        response = client.response()
        self.assertEqual(response.status, 200)
        self.assertTrue(response.headers["content-type"].startswith("text/plain"))
        self.assertIn(b"provider_gateway_http_in_flight", response.body)
        self.assertEqual(self.flushLoggedErrors(), [])


class ReplyTests(APITestCase):
    """Replies that say more than they may."""

    cors_origins = ("https://a.example",)
    cors_headers = Message(b"1", {"Access-Control-Allow-Origin": "*", "access-control-max-age": "9", "VARY": "X-Any"})

    def test_cors_of_the_reply(self) -> None:
        """Who may read an answer is not the worker's to say: its Access-Control headers and Vary are not passed on."""
        response = self.answered(self.cors_headers)
        self.assertEqual(response.status, 200)
        self.assertEqual({name for name in response.headers if name.startswith("access-control-")}, set())
        self.assertEqual(response.headers["vary"], "Origin")

    def test_cors_of_ours(self) -> None:
        """An allowed origin stays the one that is named, whatever the reply says."""
        response = self.answered(self.cors_headers, KEY, "Origin: https://a.example")
        self.assertEqual(response.headers["access-control-allow-origin"], "https://a.example")
        self.assertEqual(response.headers["vary"], "Origin")
        self.assertNotIn("access-control-max-age", response.headers)

    def test_options(self) -> None:
        """OPTIONS is answered with 204 and the methods, to anybody."""
        for path in ("/v1/predict", "/v1/publish"):
            for headers in ((), ("Origin: https://a.example",), ("Origin: https://other.example",)):
                client = Client(self.site)
                client.request("OPTIONS", path, b"", *headers)
                response = client.response()
                self.assertEqual((response.status, response.headers["allow"]), (204, "OPTIONS, POST"))
        self.assertEqual(self.rpc.calls, [])

    def test_no_content(self) -> None:
        """A reply with a status that has no content loses its body, and the connection serves the next request."""
        for status in (204, 304):
            client = self.post(KEY, "RqUID: r-1")
            self.rpc.replies[-1].callback(Message(b"surplus", {"pg-status": status, "X-Model": "m"}))
            head, end, body = client.value().partition(b"\r\n\r\n")
            self.assertEqual((end, body), (b"\r\n\r\n", b""))
            response = client.response()
            self.assertEqual((response.status, response.headers["x-model"]), (status, "m"))
            self.assertEqual({"content-length", "transfer-encoding"} & set(response.headers), set(), head)
            client.clear()
            client.post("/v1/predict", b"{}", KEY)
            self.rpc.replies[-1].callback(Message(b"next"))
            self.assertEqual(client.response().body, b"next")
            self.assertFalse(client.disconnecting)
