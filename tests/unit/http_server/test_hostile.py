"""The HTTP listeners and clients that mean no good, or know no better: every answer is still a well-formed one."""

from __future__ import annotations

from provider_gateway.config.limits import Limits
from tests.support.http_client import Client
from tests.unit.http_server.base import GOOD, HostileTestCase

MAX_HEADER_BYTES = Limits().max_header_bytes
FRESH_ID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"


class OversizedChunksTests(HostileTestCase):
    """A chunked body over the limit that is there at once: every chunk and the end, in one segment."""

    def post_chunks(self, *headers: bytes, then: bytes = b"") -> None:
        head = b"\r\n".join([b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: chunked", *headers, b"", b""])
        self.client.send(head + 5 * b"a\r\n0123456789\r\n" + b"0\r\n\r\n" + then)

    def test_rejected_once(self) -> None:
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

    def test_line_without_end(self) -> None:
        """A header line that does not end is rejected as soon as it is too long, and once."""
        self.client.send(b"POST / HTTP/1.1\r\nHost: a\r\nX: ")
        for _ in range(40):
            self.client.send(b"x" * 1000)
        self.assert_rejected()

    def test_many(self) -> None:
        """Many headers, each short, are rejected with 431 if they are over 16,384 bytes together."""
        self.post_headers(*[b"X-%02d: %s" % (number, b"x" * 1000) for number in range(17)])
        self.assert_rejected()

    def test_largest(self) -> None:
        """Headers of just 16,384 bytes together are taken; one byte more is not."""
        rest = MAX_HEADER_BYTES - len(b"Host: a" + b"Content-Length: 1" + b"X: ")
        self.post_headers(b"X: " + b"x" * rest)
        self.assertEqual(self.client.response().status, 200)
        self.assertEqual(self.bodies.pop(), b"7")
        self.finished.clear()
        self.client = Client(self.site)
        self.post_headers(b"X: " + b"x" * (rest + 1))
        self.assert_rejected()

    def test_pipelined_behind_a_rejected_one(self) -> None:
        """What follows a rejected request is never parsed, be it in the same segment or a later one."""
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
        """A connection rejected for its headers is ended two seconds later."""
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
