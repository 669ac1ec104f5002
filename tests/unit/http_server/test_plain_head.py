"""Heads that are read in one go: what is read of them, and which ones are left to the strict parser."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.http_server.plain_head import Head, HeadersRead, read_head

LINES = b"POST /v1/predict?a=b HTTP/1.1\r\nHost: a:80\r\ncontent-length: 02\r\nX:\t 1\t \r\nx:2\r\nETAG:\r\n"
HEAD = LINES + b"\r\n"


def read(data: bytes, max_bytes: int = 1000, max_headers: int = 10) -> Head | None:
    """A head within some limits."""
    return read_head(data, max_bytes, max_headers)


class ReadTests(SynchronousTestCase):
    """Plain heads."""

    def test_parts(self) -> None:
        """Method, target and headers are found; names as Twisted writes them, values without white space."""
        headers = {
            b"Host": [b"a:80"],
            b"Content-Length": [b"02"],
            b"X": [b"1", b"2"],
            b"ETag": [b""],
        }
        head = Head(b"POST", b"/v1/predict?a=b", headers, 2, len(HEAD))
        self.assertEqual((head, head), (read(HEAD), read(HEAD + b"{}\r\n\r\n")))

    def test_without_body(self) -> None:
        """Without a length there is no body."""
        head = read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert head is not None
        self.assertEqual((b"GET", 0), (head.method, head.length))

    def test_headers(self) -> None:
        """What was read can be asked as of Twisted's own headers."""
        head = read(HEAD)
        assert head is not None
        headers = HeadersRead(head.headers)
        self.assertEqual(([b"1", b"2"], ["a:80"]), (headers.getRawHeaders(b"x"), headers.getRawHeaders("host")))
        self.assertEqual((True, False), (headers.hasHeader(b"etag"), headers.hasHeader(b"Expect")))
        headers.removeHeader(b"etag")
        self.assertFalse(headers.hasHeader(b"etag"))

    def test_limits(self) -> None:
        """A head that is just within the limits is read, one that is beyond one of them is not."""
        self.assertIsNotNone(read(HEAD, max_bytes=len(HEAD), max_headers=5))
        self.assertIsNone(read(HEAD, max_bytes=len(HEAD) - 1))
        self.assertIsNone(read(HEAD, max_headers=4))


class OddTests(SynchronousTestCase):
    """Heads that are not read."""

    def test_not_whole(self) -> None:
        """A head of which even the last byte is missing is not."""
        for size in range(len(HEAD)):
            self.assertIsNone(read(HEAD[:size]), size)

    def test_request_line(self) -> None:
        """A first line that is anything but a method in capitals, a visible target and HTTP/1.1."""
        for line in (
            b"",
            b"POST /",
            b"POST / HTTP/1.0",
            b"POST / HTTP/2.0",
            b"POST / http/1.1",
            b"POST / HTTP/1.1 ",
            b" POST / HTTP/1.1",
            b"POST  / HTTP/1.1",
            b"POST\t/ HTTP/1.1",
            b"POST /a b HTTP/1.1",
            b"POST /\x7f HTTP/1.1",
            b"POST /\xe4 HTTP/1.1",
            b"POST  HTTP/1.1",
            b"post / HTTP/1.1",
            b"M-SEARCH / HTTP/1.1",
            b"\r\nPOST / HTTP/1.1",
        ):
            self.assertIsNone(read(line + b"\r\nHost: a\r\n\r\n"), line)

    def test_header(self) -> None:
        """A header that is malformed, folded, repeated where there may be one, or makes the body's end uncertain."""
        for line in (
            b"X",
            b"X Y: 1",
            b"X : 1",
            b" X: 1",
            b"\tX: 1",
            b": 1",
            b"X\xe4: 1",
            b"X: 1\n",
            b"X: 1\nY: 2",
            b"X: 1\rY: 2",
            b"X: \0",
            b"X\0: 1",
            b"Transfer-Encoding: chunked",
            b"Content-Length: 1\r\nContent-Length: 1",
            b"Content-Length: 1,1",
            b"Content-Length: +1",
            b"Content-Length: -1",
            b"Content-Length: 1_0",
            b"Content-Length: \xb2",
            b"Content-Length: ",
            b"Content-Length: 1234567890123456789",
        ):
            self.assertIsNone(read(b"POST / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n"), line)
