"""Malformed requests over a connection: each is rejected once, and nothing behind it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.config.limits import Limits
from tests.support.http_client import Client
from tests.unit.http_server.base import GOOD, HostileTestCase

if TYPE_CHECKING:
    from collections.abc import Iterable

LINE, HOST = b"POST / HTTP/1.1\r\n", b"Host: a\r\n"
HEAD = LINE + HOST
LENGTH, CHUNKED = b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n"


class RejectionTests(HostileTestCase):
    """Requests that are rejected, sent in one segment or byte by byte."""

    def setUp(self) -> None:
        super().setUp()
        self.client.leave()

    def assert_rejected(self, status: int, requests: Iterable[bytes], detail: str) -> None:
        for data in requests:
            for size in (len(data) + len(GOOD), 1):
                self.client = Client(self.site)
                sent = data + GOOD
                for start in range(0, len(sent), size):
                    self.client.send(sent[start : start + size])
                self.client.send(GOOD)
                self.client.send(b"nonsense\r\n\r\n")
                self.assertEqual([status], [each.status for each in self.client.responses()], data)
                response = self.assert_problem(status)
                self.assertEqual((response.problem["detail"], response.headers["connection"]), (detail, "close"))
                self.assertEqual(response.headers["date"], "Thu, 01 Jan 1970 00:00:00 GMT")  # RFC 9110, 6.6.1
                self.assertEqual((self.bodies, self.client.disconnecting), ([], False))
                self.client.leave()
        self.assertEqual(([], []), (self.clock.getDelayedCalls(), self.flushLoggedErrors()))

    def test_malformed(self) -> None:
        """A request that is not well-formed, or that two parsers could read in two ways, is rejected with 400."""
        end = b"\r\n"
        headers = (
            b" X: folded\r\n", b"X: 1\r\n folded\r\n", b"X: 1\r\n\tfolded\r\n", b"X: 1\r\n \r\n", b"no colon\r\n",
            b": 1\r\n", b"X : 1\r\n", b"X\0: 1\r\n", b"X: a\0b\r\n", b"X: a\rb\r\n", b"X: a\nY: b\r\n", b"X(: 1\r\n",
            HOST, b"Host: b\r\n", b"host: a\r\n",
            b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding: gzip\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
            b"Transfer-Encoding: chunked, chunked\r\n", b"Transfer-Encoding: chunked;a\r\n", b"Transfer-Encoding:\r\n",
            b"Transfer-Encoding: \x0bchunked\r\n", CHUNKED + CHUNKED, CHUNKED + b"Transfer-Encoding: identity\r\n",
            CHUNKED + LENGTH, LENGTH + CHUNKED, LENGTH + LENGTH, LENGTH + b"content-length: 2\r\n",
            b"Content-Length: 1, 1\r\n", b"Content-Length: +1\r\n", b"Content-Length: -1\r\n", b"Content-Length:\r\n",
            b"Content-Length: 0x1\r\n", b"Content-Length: 1 1\r\n", b"Content-Length: \xb2\r\n",
        )  # fmt: skip
        lines = (
            b" POST / HTTP/1.1\r\n", b"POST  / HTTP/1.1\r\n", b"POST / HTTP/1.1 \r\n", b"POST /\r\n", b"POST\r\n",
            b"POST / HTTP/2.0\r\n", b"POST / HTTP/0.9\r\n", b"POST / HTTP/1.2\r\n", b"POST / http/1.1\r\n",
            b"POST / HTTP/1.10\r\n", b"POST / /x HTTP/1.1\r\n", b"P(ST / HTTP/1.1\r\n", b"POST /\0 HTTP/1.1\r\n",
            b"POST /\nHTTP/1.1\r\n", b"POST\t/ HTTP/1.1\r\n", b"\r\n\r\nPOST / HTTP/1.1\r\n",
        )  # fmt: skip
        bodies = (
            b"g\r\n", b"\r\n", b"-1\r\n1\r\n", b"+1\r\n1\r\n", b"0x1\r\n1\r\n", b" 1\r\n1\r\n", b"1 \r\n1\r\n",
            b"1_0\r\n", b"1\r\n12\r\n", b"1\n1\r\n", b"1\r\n1\n",
        )  # fmt: skip
        self.assert_rejected(
            400,
            [
                *(HEAD + each + end for each in headers),
                *(each + HOST + LENGTH + end for each in lines),
                *(HEAD + CHUNKED + end + each for each in bodies),
                LINE + LENGTH + end,
                b"POST / HTTP/1.0\r\n" + CHUNKED + end + b"1\r\n7\r\n0\r\n\r\n",
                b"POST / HTTP/1.0\r\n" + HOST + HOST + LENGTH + end,
            ],
            "The request is not HTTP/1.1 as RFC 9112 has it.",
        )

    def test_lines_that_end_without_cr(self) -> None:
        """A request whose lines end with LF alone is rejected with 400 as soon as it has arrived."""
        self.client = Client(self.site)
        self.client.send((LINE + HOST + b"\r\n").replace(b"\r\n", b"\n"))
        self.assert_problem(400)
        self.client.send(GOOD)
        self.assert_problem(400)
        self.assertEqual(self.bodies, [])

    def test_lengths_of_very_many_digits(self) -> None:
        """A declared length of any number of digits is rejected with 413."""
        numbers = (b"9" * 18, b"9" * 19, b"1" + b"0" * 18, b"9" * 5000)
        self.assert_rejected(
            413,
            [HEAD + b"Content-Length: " + each + b"\r\n\r\n" for each in numbers],
            "The body is larger than 20 bytes (MAX_BODY_BYTES).",
        )

    def test_many_headers(self) -> None:
        """A request with more than 100 header lines is rejected with 431."""
        many = b"".join(b"X-%d:\r\n" % number for number in range(100))
        self.assert_rejected(431, [HEAD + many], "There are more than 100 headers.")

    def test_other_limits(self) -> None:
        """The limits of a line, of all headers and of their number are those of the site."""
        line = b"X: " + b"x" * 17_000 + b"\r\n"
        self.site.limits = Limits(max_header_bytes=20_000)
        self.client = Client(self.site)
        self.client.send(HEAD + line + b"\r\n")
        self.assertEqual(200, self.client.response().status)
        self.client.leave()
        self.bodies.clear()
        self.site.limits = Limits(max_header_bytes=2000, max_headers=3)
        self.assert_rejected(431, [HEAD + b"X: " + b"x" * 2000], "A line of the headers is longer than 2000 bytes.")
        two = b"X: " + line[-1500:] + b"Y: " + line[-1500:]
        self.assert_rejected(431, [HEAD + two], "The headers are larger than 2000 bytes.")
        self.assert_rejected(431, [HEAD + b"X: 1\r\n" * 4], "There are more than 3 headers.")

    def test_recorded(self) -> None:
        """A rejected request is recorded once, with its status, and without its method and path."""
        for data, status in ((HEAD + HOST + b"\r\n", 400), (HEAD + b"Content-Length: 21\r\n\r\n", 413)):
            self.client = Client(self.site)
            self.finished.clear()
            self.client.send(data)
            self.client.leave()
            (request,) = self.finished
            self.assertEqual((request.code, request.method, request.path), (status, b"-", b"-"))


class AcceptanceTests(HostileTestCase):
    """Unusual requests that are served."""

    def test_unusual_requests(self) -> None:
        """Requests that RFC 9112 allows are served, sent in one segment or byte by byte."""
        for data, body in (
            (HEAD + b"Content-Length:1\r\n\r\n7", b"7"),
            (HEAD + b"CONTENT-LENGTH:  1\t\r\n\r\n7", b"7"),
            (HEAD + b"Content-Length: 01\r\n\r\n7", b"7"),
            (HEAD + b"Content-Length: 000000000000000001\r\n\r\n7", b"7"),
            (HEAD + b"Transfer-Encoding: Chunked\r\n\r\n1\r\n7\r\n0\r\n\r\n", b"7"),
            (HEAD + b"transfer-encoding:chunked \r\n\r\n01;a=b\r\n7\r\n3\r\n123\r\n0\r\nX: 1\r\n\r\n", b"7123"),
            (HEAD + b"\r\n", b""),
            (HEAD + b"X:\r\nY: \xff\xfe\r\n\r\n", b""),
            (b"\r\n" + HEAD + b"Content-Length: 2\r\n\r\n\n\n", b"\n\n"),
            (b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n7", b"7"),
        ):
            for size in (len(data), 1):
                self.client = Client(self.site)
                for start in range(0, len(data), size):
                    self.client.send(data[start : start + size])
                self.client.send(GOOD)
                self.assertEqual(([body, b"7"], []), (self.bodies, self.client.responses()[2:]), data)
                self.bodies.clear()

    def test_most_headers(self) -> None:
        """Each request of a connection may have 100 header lines."""
        most = b"".join(b"X-%d:\r\n" % number for number in range(98))
        self.client.send((HEAD + LENGTH + most + b"\r\n7") * 3)
        self.assertEqual([b"7"] * 3, self.bodies)
