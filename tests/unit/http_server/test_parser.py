"""The parser alone: what it reads of a head and of a chunked body, and what it rejects, in whole and in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.limits import Limits
from provider_gateway.errors import BadRequest, BodyTooLarge, HeadersTooLarge
from provider_gateway.http_server.parser import ChunkedParser, HeadParser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provider_gateway.errors import GatewayError

LINES = b"POST /v1/predict?a=b HTTP/1.1\r\nHost: a:80\r\ncontent-length: 02\r\nX:\t 1\t \r\nx:2\r\nETAG:\r\n"
HEAD = LINES + b"\r\n"
LIMITS = Limits(max_header_bytes=1000, max_headers=10)


def pieces(data: bytes) -> Iterator[list[bytes]]:
    """The same bytes in one piece, in two that are cut anywhere, and one by one."""
    yield [data]
    yield from ([data[:at], data[at:]] for at in range(1, len(data)))
    yield [data[at : at + 1] for at in range(len(data))]


class HeadTestCase(SynchronousTestCase):
    """Heads within some limits."""

    def read(self, data: bytes, limits: Limits = LIMITS) -> HeadParser:
        """The head that the bytes are, however they are cut."""
        for cut in pieces(data):
            head = HeadParser(limits)
            self.assertEqual([None] * (len(cut) - 1), [head.feed(each) for each in cut[:-1]], cut)
            self.assertEqual(b"", head.feed(cut[-1]), cut)
        return head

    def line(self, line: bytes) -> HeadParser:
        """The head with a request line."""
        return self.read(line + b"\r\nHost: a\r\n\r\n")

    def assert_rejects(
        self, error: type[GatewayError], data: bytes, limits: Limits = LIMITS, *, is_late: bool = False
    ) -> None:
        """The bytes are rejected, however they are cut.

        Args:
            is_late: not before the last byte.
        """
        for cut in pieces(data):
            head = HeadParser(limits)
            with self.assertRaises(error, msg=f"{cut}"):
                for at, piece in enumerate(cut):
                    self.assertIsNone(head.feed(piece), cut)
                    self.assertTrue(at < len(cut) - 1, cut)
        if is_late:
            self.assertIsNone(HeadParser(limits).feed(data[:-1]))


class HeadTests(HeadTestCase):
    """What is read."""

    def test_parts(self) -> None:
        """Method, target, version and headers are found; names as Twisted spells them, values without white space."""
        head = self.read(HEAD)
        self.assertEqual((b"POST", b"/v1/predict?a=b", b"HTTP/1.1"), (head.method, head.target, head.version))
        self.assertEqual((b"/v1/predict?a=b", None, 2), (head.path, head.authority, head.length))
        expected = {b"Host": [b"a:80"], b"Content-Length": [b"02"], b"X": [b"1", b"2"], b"ETag": [b""]}
        self.assertEqual(expected, head.headers.values)

    def test_rest(self) -> None:
        """What follows the head is handed back."""
        for rest in (b"", b"{}", b"\r\n\r\n", HEAD):
            self.assertEqual(rest, HeadParser(LIMITS).feed(HEAD + rest))
            head = HeadParser(LIMITS)
            self.assertIsNone(head.feed(HEAD[:-1]))
            self.assertEqual(rest, head.feed(HEAD[-1:] + rest))

    def test_without_headers(self) -> None:
        """HTTP/1.0 needs no header."""
        head = self.read(b"GET / HTTP/1.0\r\n\r\n")
        self.assertEqual((b"HTTP/1.0", {}, 0), (head.version, head.headers.values, head.length))

    def test_empty_line(self) -> None:
        """One empty line before a request is ignored (RFC 9112, 2.2), a second one is malformed."""
        self.assertEqual(b"POST", self.read(b"\r\n" + HEAD).method)
        self.assert_rejects(BadRequest, b"\r\n\r\n", is_late=True)
        head = HeadParser(LIMITS)
        self.assertRaises(BadRequest, head.feed, b"\r\n\r\n")
        self.assertTrue(head.has_request_line)

    def test_chunked(self) -> None:
        """A chunked body has no length."""
        for value in (b"chunked", b"Chunked", b"\tCHUNKED "):
            head = self.read(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:" + value + b"\r\n\r\n")
            self.assertIsNone(head.length)

    def test_methods(self) -> None:
        """A method is any token: which ones there are is not the parser's to know."""
        for method in (b"GET", b"M-SEARCH", b"get", b"!#$%&'*+.^_`|~0aZ-"):
            self.assertEqual(method, self.line(method + b" / HTTP/1.1").method)

    def test_known_of_a_malformed_head(self) -> None:
        """What was read before the malformed line is known, for the response."""
        head = HeadParser(LIMITS)
        self.assertRaises(BadRequest, head.feed, b"HEAD / HTTP/1.1\r\nRqUID: r1\r\nX Y: 1\r\n")
        self.assertEqual((b"HEAD", [b"r1"]), (head.method, head.headers.getRawHeaders(b"RqUID")))
        for line in (b"HEAD / HTTP/2.0", b"HEAD a HTTP/1.1"):
            head = HeadParser(LIMITS)
            self.assertRaises(BadRequest, head.feed, line + b"\r\n")
            self.assertEqual((b"", True), (head.method, head.has_request_line))


class TargetTests(HeadTestCase):
    """The forms of a target (RFC 9112, 3.2)."""

    def test_origin_form(self) -> None:
        """A path is the target."""
        for target in (b"/", b"//a/b", b"/a?b#c", b"/http://a", b"*", b"/@"):
            head = self.line(b"GET %s HTTP/1.1" % target)
            self.assertEqual((target, target, None), (head.target, head.path, head.authority))

    def test_absolute_form(self) -> None:
        """Authority and path are separated; a missing path is the root."""
        for target, authority, path in (
            (b"http://b/a?c", b"b", b"/a?c"),
            (b"HTTPS://b:8443/a", b"b:8443", b"/a"),
            (b"https://[::1]:1//a", b"[::1]:1", b"//a"),
            (b"http://b", b"b", b"/"),
            (b"http://b?c/d@e", b"b", b"/?c/d@e"),
            (b"http://b/u@c:/", b"b", b"/u@c:/"),
        ):
            head = self.line(b"GET %s HTTP/1.1" % target)
            self.assertEqual((target, authority, path), (head.target, head.authority, head.path))

    def test_other_forms(self) -> None:
        """Other schemes, user information, an empty host, an authority alone and relative paths are malformed."""
        for target in (
            b"ftp://b/", b"ws://b/", b"http:b", b"http:/b", b"http://", b"http:///a", b"http://?a", b"http://u@b/",
            b"http://u:p@b", b"http://b@", b"b:80", b"b", b"?a", b"**", b"*/", b"v1/predict", b"urn:a", b"http://b#c",
        ):  # fmt: skip
            self.assert_rejects(BadRequest, b"GET %s HTTP/1.1\r\n" % target, is_late=True)


class MalformedTests(HeadTestCase):
    """What is rejected with 400."""

    def test_request_line(self) -> None:
        """A first line that is anything but a token, a visible target and a version, with one space between them."""
        for line in (
            b"POST /", b"POST / HTTP/2.0", b"POST / HTTP/0.9", b"POST / HTTP/1.2", b"POST / HTTP/1.10",
            b"POST / http/1.1", b"POST / HTTP/1.1 ", b" POST / HTTP/1.1", b"POST  / HTTP/1.1", b"POST\t/ HTTP/1.1",
            b"POST /a b HTTP/1.1", b"POST /\x7f HTTP/1.1", b"POST /\xe4 HTTP/1.1", b"POST /\0 HTTP/1.1",
            b"POST  HTTP/1.1", b"P(ST / HTTP/1.1", b"P\xffST / HTTP/1.1", b"POST / /x HTTP/1.1", b"PRI * HTTP/2.0",
        ):  # fmt: skip
            self.assert_rejects(BadRequest, line + b"\r\n", is_late=True)

    def test_header(self) -> None:
        """A header line that is no token, colon and value, or has a byte that ends a line for some parsers."""
        for line in (
            b"X", b"X Y: 1", b"X : 1", b"X\t: 1", b" X: 1", b"\tX: 1", b" ", b": 1", b"X\xe4: 1", b"X(: 1",
            b"X: \0", b"X\0: 1", b"X: 1\rY: 2", b"X\rY: 2", b"X: 1\r",
        ):  # fmt: skip
            for before in (b"POST / HTTP/1.1\r\n", LINES):
                self.assert_rejects(BadRequest, before + line + b"\r\n", is_late=True)

    def test_lf_alone(self) -> None:
        """An LF without CR is rejected when it arrives: there is no more to wait for."""
        for data in (b"\n", b"P\n", b"POST / HTTP/1.1\n", LINES + b"X: 1\n", LINES + b"\n"):
            self.assert_rejects(BadRequest, data, is_late=True)

    def test_host(self) -> None:
        """Host stands there once; in HTTP/1.0 it may be missing, and not stand there twice."""
        for data in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET http://b/ HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n",
        ):
            self.assert_rejects(BadRequest, data, is_late=True)

    def test_framing(self) -> None:
        """A length that is no number, or several, and any coding but "chunked", alone and once."""
        length, coding = b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n"
        values = (b"", b"1, 1", b"1,1", b"+1", b"-1", b"1_0", b"0x1", b"1 1", b"\xb2", b"\x0b1", b'"1"', b"1.0")
        codings = (
            b"", b"identity", b"gzip", b"gzip, chunked", b"chunked, chunked", b"chunked;a", b"xchunked", b"chunked,",
            b"\x0bchunked", b'"chunked"',
        )  # fmt: skip
        for headers in (
            *(b"Content-Length: %s\r\n" % value for value in values),
            *(b"Transfer-Encoding: %s\r\n" % value for value in codings),
            length + length,
            length + b"content-length: 2\r\n",
            coding + coding,
            coding + b"Transfer-Encoding: identity\r\n",
            coding + length,
            length + coding,
        ):
            self.assert_rejects(BadRequest, b"POST / HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n", is_late=True)
        self.assert_rejects(BadRequest, b"POST / HTTP/1.0\r\nHost: a\r\n" + coding + b"\r\n", is_late=True)


class LimitsTests(HeadTestCase):
    """What is too large."""

    def test_headers(self) -> None:
        """Header lines are counted, and their bytes without the ends of lines; both may just be at the limit."""
        size = len(LINES) - LINES.index(b"Host") - 2 * LINES.count(b"\r\n", LINES.index(b"Host"))
        self.read(HEAD, Limits(max_header_bytes=size, max_headers=5))
        self.assert_rejects(HeadersTooLarge, LINES, Limits(max_header_bytes=size - 1), is_late=True)
        self.assert_rejects(HeadersTooLarge, LINES, Limits(max_headers=4), is_late=True)

    def test_line(self) -> None:
        """A line may be as long as all headers together, and is rejected before its end arrives if it is longer."""
        limits = Limits(max_header_bytes=40)
        self.read(b"GET /%s HTTP/1.0\r\n\r\n" % (26 * b"a"), limits)
        self.assert_rejects(HeadersTooLarge, b"GET /%s HTTP/1.0\r\n" % (27 * b"a"), limits)
        self.assert_rejects(HeadersTooLarge, 41 * b"a", limits, is_late=True)
        self.assert_rejects(HeadersTooLarge, b"GET / HTTP/1.0\r\nX: " + 38 * b"a", limits, is_late=True)

    def test_length(self) -> None:
        """A length of more than 18 digits is not read: it is too large in any case."""
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %s\r\n\r\n"
        self.assertEqual(10**18 - 1, self.read(head % (18 * b"9")).length)
        self.assert_rejects(BodyTooLarge, head % (19 * b"9"), is_late=True)
        self.assertRaises(BodyTooLarge, HeadParser(Limits()).feed, head % (5000 * b"9"))


class ChunksTests(SynchronousTestCase):
    """Chunked bodies."""

    def read(self, data: bytes) -> bytes:
        """The body that the bytes are, however they are cut."""
        for cut in pieces(data):
            taken: list[bytes] = []
            parser = ChunkedParser()
            self.assertEqual([None] * (len(cut) - 1), [parser.feed(each, taken.append) for each in cut[:-1]], cut)
            self.assertEqual(b"", parser.feed(cut[-1], taken.append), cut)
        return b"".join(taken)

    def assert_rejects(self, data: bytes) -> None:
        """The bytes are rejected when the last one arrives, however they are cut."""
        taken: list[bytes] = []
        for cut in pieces(data):
            parser = ChunkedParser()
            self.assertEqual([None] * (len(cut) - 1), [parser.feed(each, taken.append) for each in cut[:-1]], cut)
            with self.assertRaises(BadRequest, msg=f"{cut}"):
                parser.feed(cut[-1], taken.append)

    def test_body(self) -> None:
        """Chunks of any size, with extensions and a trailer, are put together."""
        for data, body in (
            (b"0\r\n\r\n", b""),
            (b"1\r\n7\r\n0\r\n\r\n", b"7"),
            (b'a;x="\xff y"\r\n0123456789\r\n00b;\t\r\n\r\n\r\n\r\n\r\n\r\n\0\r\n0;a\r\nX: 1\r\n y\r\n\r\n',
             b"0123456789\r\n\r\n\r\n\r\n\r\n\0"),
        ):  # fmt: skip
            self.assertEqual(body, self.read(data))

    def test_rest(self) -> None:
        """What follows the body is handed back."""
        self.assertEqual(b"\r\nGET", ChunkedParser().feed(b"1\r\n7\r\n0\r\nX: 1\r\n\r\n\r\nGET", list[bytes]().append))

    def test_sizes(self) -> None:
        """A size that is no hexadecimal number, or an extension with a control character, is malformed."""
        for line in (b"", b"g", b"-1", b"+1", b"0x1", b" 1", b"1 ", b"1_0", b"1\t;a", b"\xb2", b";a", b"1;\0", b"1;a\n",
                     b"1;a\r", b"1;\x7f", b"1;a\\b"):  # fmt: skip
            self.assert_rejects(line + b"\r\n")
            self.assert_rejects(b"1\r\n7\r\n" + line + b"\r\n")

    def test_ends(self) -> None:
        """What stands behind a chunk is CR LF, and is rejected at the first byte that is not."""
        for end in (b"x", b"\n", b"\rx", b"\r\r", b"0"):
            self.assert_rejects(b"1\r\n7" + end)

    def test_trailer(self) -> None:
        """A line of the trailer has no byte that ends a line for some parsers."""
        for line in (b"X: 1\ny: 2", b"X: \0", b"X: 1\ry", b"\n", b"X\r"):
            self.assert_rejects(b"0\r\nY: 1\r\n" + line + b"\r\n")

    def test_limits(self) -> None:
        """A line with a size is at most 1023 bytes long, and a trailer 65,536 with its ends of lines."""

        def fed(*data: bytes) -> object:
            parser = ChunkedParser()
            return [parser.feed(each, list[bytes]().append) for each in data][-1]

        long = b"0;" + 1021 * b"a"
        self.assertEqual(b"", fed(long + b"\r\n\r\n"))
        self.assertIsNone(fed(long + b"\r"))
        lines = 65 * (b"X: " + 995 * b"a" + b"\r\n")
        line = b"Y: " + (65_536 - len(lines) - 5) * b"a"
        self.assertEqual(b"", fed(b"0\r\n" + lines + line + b"\r\n\r\n"))
        for data in (
            (long + b"a\r\n",),
            (long, b"aa"),
            (b"0\r\n" + lines + line + b"a\r\n",),
            (b"0\r\n", lines, line, b"aaaa"),
        ):
            self.assertRaises(BadRequest, fed, *data)

    def test_error_of_the_taker(self) -> None:
        """An error that is raised for a piece ends the parsing: what follows is not looked at."""

        def take(_: bytes) -> None:
            msg = "large"
            raise BodyTooLarge(msg)

        self.assertRaises(BodyTooLarge, ChunkedParser().feed, b"1\r\n7\r\nnonsense\r\n", take)
