"""Oversized and unroutable requests: each gets exactly one response, which is well-formed."""

from __future__ import annotations

from provider_gateway.config.limits import Limits
from provider_gateway.http_server.received_headers import canonical_name
from tests.support.http_client import Client
from tests.unit.http_server.base import GOOD, HostileTestCase

MAX_HEADER_BYTES = Limits().max_header_bytes
FRESH_ID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"


class OversizedChunksTests(HostileTestCase):
    """A chunked body over the limit that arrives in one segment, with its last chunk."""

    def post_chunks(self, *headers: bytes, then: bytes = b"") -> None:
        head = b"\r\n".join([b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: chunked", *headers, b"", b""])
        self.client.send(head + 5 * b"a\r\n0123456789\r\n" + b"0\r\n\r\n" + then)

    def test_rejected_once(self) -> None:
        """The request is rejected once, with 413; neither it nor the request behind it is served."""
        self.post_chunks(then=GOOD)
        self.client.send(GOOD)
        self.assertEqual(self.assert_problem(413).headers["connection"], "close")
        self.assertEqual(self.bodies, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_malformed_chunk_behind(self) -> None:
        """A malformed chunk behind the limit, in the same segment, causes no second response and no early close."""
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.client.send(head + 5 * b"a\r\n0123456789\r\n" + b"zz\r\n")
        self.assert_problem(413)
        self.assertFalse(self.client.disconnecting)

    def test_later_segment(self) -> None:
        """What arrives in a later segment is ignored, even if it is no chunk."""
        self.client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + 3 * b"a\r\n0123456789\r\n"
        )
        self.client.send(b"nonsense\r\n")
        self.assert_problem(413)
        self.assertFalse(self.client.disconnecting)

    def test_aborted_later(self) -> None:
        """The connection is aborted two seconds later, by one timer."""
        self.post_chunks()
        self.assertEqual([each.getTime() for each in self.clock.getDelayedCalls() if each.getTime() <= 5], [2.0])
        self.clock.advance(1.9)
        self.assertFalse(self.client.aborted)
        self.clock.advance(0.1)
        self.assertTrue(self.client.aborted)

    def test_recorded_once(self) -> None:
        """The request is recorded once, with its status and the request id of the response."""
        self.clock.advance(3)
        self.post_chunks()
        self.client.leave()
        (request,) = self.finished
        self.assertEqual((request.code, request.received_at), (413, 3))
        rquid = self.assert_problem(413).headers["rquid"]
        self.assertEqual(request.rquid, rquid)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_rquid(self) -> None:
        """The response has the request's id, in the header and in the body."""
        self.post_chunks(b"rquid: r-1")
        self.assertEqual(self.assert_problem(413).headers["rquid"], "r-1")

    def test_fresh_rquid(self) -> None:
        """The response to a request without an id, or with an invalid one, has a fresh id."""
        seen = set()
        for headers in ((), (b"RqUID: a b",), (b"RqUID: " + b"x" * 129,), (b"RqUID: \xff",)):
            self.client = Client(self.site)
            self.post_chunks(*headers)
            seen.add(self.assert_problem(413).headers["rquid"])
            self.assertRegex(self.client.response().headers["rquid"], FRESH_ID)
        self.assertEqual(len(seen), 4)


class LargeHeadersTests(HostileTestCase):
    """Headers over the limits of one line and of all lines."""

    def post_headers(self, *headers: bytes, then: bytes = b"") -> None:
        lines = [b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 1", *headers, b"", b""]
        self.client.send(b"\r\n".join(lines) + b"7" + then)

    def assert_rejected(self) -> None:
        response = self.assert_problem(431)
        self.assertEqual(response.problem["type"], "urn:provider-gateway:problem:headers-too-large")
        self.assertIn(str(MAX_HEADER_BYTES), response.problem["detail"])
        self.assertEqual(response.headers["connection"], "close")
        self.assertEqual(self.bodies, [])
        self.assertEqual([each.code for each in self.finished], [431])

    def test_long_line(self) -> None:
        """A header line over 16,384 bytes is rejected with 431, as a problem document."""
        self.post_headers(b"X: " + b"x" * MAX_HEADER_BYTES)
        self.assert_rejected()

    def test_long_name(self) -> None:
        """A header whose name has more than 255 bytes is rejected with 431, and the name is not remembered."""
        self.client.send(GOOD.replace(b"Host", 255 * b"x" + b": 1\r\nHost"))
        self.assertEqual(200, self.client.response().status)
        known = canonical_name.cache_info().currsize
        for colon, status in ((b":", 431), (b"", 400)):
            self.client = Client(self.site)
            self.client.send(GOOD.replace(b"Host", 256 * b"x" + colon + b"1\r\nHost"))
            self.assert_problem(status)
        self.assertEqual(known, canonical_name.cache_info().currsize)

    def test_line_without_end(self) -> None:
        """A header line without an end is rejected once, as soon as it is too long."""
        self.client.send(b"POST / HTTP/1.1\r\nHost: a\r\nX: ")
        for _ in range(40):
            self.client.send(b"x" * 1000)
        self.assert_rejected()

    def test_many(self) -> None:
        """Short header lines are rejected with 431 if they have more than 16,384 bytes together."""
        self.post_headers(*[b"X-%02d: %s" % (number, b"x" * 1000) for number in range(17)])
        self.assert_rejected()

    def test_largest(self) -> None:
        """Headers of exactly 16,384 bytes together are served; with one byte more they are rejected."""
        rest = MAX_HEADER_BYTES - len(b"Host: a" + b"Content-Length: 1" + b"X: ")
        self.post_headers(b"X: " + b"x" * rest)
        self.assertEqual(self.client.response().status, 200)
        self.assertEqual(self.bodies.pop(), b"7")
        self.finished.clear()
        self.client = Client(self.site)
        self.post_headers(b"X: " + b"x" * (rest + 1))
        self.assert_rejected()

    def test_pipelined_behind_a_rejected_one(self) -> None:
        """What follows a rejected request is not parsed, whether in the same segment or in a later one."""
        for headers in ([b"X: " + b"x" * MAX_HEADER_BYTES], [b"X: " + b"x" * 1000] * 17):
            self.client = Client(self.site)
            self.finished.clear()
            self.post_headers(*headers, then=GOOD + b"nonsense\r\n\r\n")
            self.client.send(GOOD)
            self.client.send(b"nonsense\r\n\r\n")
            self.assert_rejected()
            self.assertFalse(self.client.disconnecting)

    def test_fresh_budget(self) -> None:
        """Each request of a connection may have headers up to the limit."""
        for _ in range(3):
            self.post_headers(b"X: " + b"x" * 10_000)
        self.assertEqual([each.status for each in self.client.responses()], [200] * 3)

    def test_aborted_later(self) -> None:
        """The connection is aborted two seconds after its request was rejected for its headers."""
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
        """A path whose decoded bytes are not UTF-8 is answered with 400, with a request id, and nothing is logged."""
        for path in ("/%ff", "/a/%C3", "/%c0%af?x=1"):
            self.assert_bad_request(path)

    def test_query_that_is_not_utf_8(self) -> None:
        """The bytes of a query may be any."""
        self.client.request("GET", "/?%ff=%ff")
        self.assertEqual(self.client.response().status, 200)

    def test_host_with_empty_labels(self) -> None:
        """A Host with empty or overlong labels is answered with 400, with a request id, and nothing is logged."""
        for host in ("a..b", "..", "x" * 300):
            self.assert_bad_request("/", host)


class ManyRequestsTests(HostileTestCase):
    """Many small requests in one segment."""

    def test_others_have_their_turn(self) -> None:
        """They are served over several turns of the reactor, in order, and nothing more is read meanwhile."""
        counts: list[int] = []

        def have_a_turn() -> None:
            counts.append(len(self.bodies))
            if counts[-1] < 200:
                self.assertEqual("paused", self.client.producerState)
                self.client.send(GOOD)  # had been read before
                self.assertEqual(counts[-1], len(self.bodies))
                self.clock.callLater(0, have_a_turn)

        self.client.send(198 * GOOD)
        have_a_turn()
        self.clock.advance(0)
        self.assertEqual([64, 128, 192, 201], counts)
        self.assertEqual(([200] * 201, "producing"), (self.statuses(), self.client.producerState))
        self.client.send(GOOD)
        self.assertEqual(202, len(self.bodies))

    def statuses(self) -> list[int]:
        return [each.status for each in self.client.responses()]

    def test_half_close(self) -> None:
        """A client that sends no more gets all its responses, and then the end."""
        self.client.send(100 * GOOD + GOOD[:5])
        self.client.protocol.readConnectionLost()
        self.assertEqual((64, False), (len(self.bodies), self.client.disconnecting))
        self.clock.advance(0)
        self.assertEqual(([200] * 100, True), (self.statuses(), self.client.disconnecting))

    def test_end(self) -> None:
        """The rest is not served if the client leaves, or if the site closes its connections."""
        self.client.send(100 * GOOD)
        self.client.leave()
        self.assertEqual((64, []), (len(self.bodies), self.clock.getDelayedCalls()))
        self.client = Client(self.site)
        self.client.send(100 * GOOD)
        self.site.close_connections()
        self.clock.advance(0)
        self.assertEqual((128, True), (len(self.bodies), self.client.disconnecting))
