"""Requests that two readers could read in two ways: 400, the connection ends, and nothing behind them is parsed."""

from __future__ import annotations

from tests.security.base import SecurityTestCase
from tests.security.client import NoResponseError, post, responses

LINE = b"POST /v1/predict HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
USUAL = HOST + b"Content-Type: application/json\r\nrouting-key: predict.now\r\n"
#: One byte of body, declared and in one chunk.
ONE = b"Content-Length: 1\r\n\r\n1"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"1\r\n1\r\n0\r\n\r\n"


def with_headers(*lines: bytes, then: bytes = ONE) -> bytes:
    """A request with these header lines, which are sent as they are."""
    return LINE + USUAL + b"".join(line + b"\r\n" for line in lines) + then


def with_chunks(chunks: bytes) -> bytes:
    """A request with this chunked body."""
    return LINE + USUAL + CHUNKED + chunks


def with_target(target: bytes) -> bytes:
    """A request for this target."""
    return b"POST %s HTTP/1.1\r\n" % target + USUAL + ONE


class MalformedTestCase(SecurityTestCase):
    """Requests that are no HTTP."""

    def assert_bad(self, *requests: bytes) -> None:
        """Check that each of these requests is refused."""
        self.assert_refused(400, "bad-request", *requests)


class LengthTests(MalformedTestCase):
    """The length of a body must be given once, and in one way."""

    def test_both_lengths(self) -> None:
        """Content-Length with Transfer-Encoding, in either order, is refused."""
        length, coding = b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"
        self.assert_bad(
            LINE + USUAL + length + coding + b"\r\n0\r\n\r\n",
            LINE + USUAL + coding + length + b"\r\n0\r\n\r\n",
        )

    def test_different_lengths(self) -> None:
        """Two Content-Lengths that differ, on two lines or on one, are refused."""
        self.assert_bad(
            with_headers(b"Content-Length: 2", then=ONE + b"1"),
            with_headers(b"Content-Length: 1, 2", then=b"\r\n11"),
        )

    def test_repeated_length(self) -> None:
        """The same Content-Length twice is refused, too."""
        self.assert_bad(
            with_headers(b"Content-Length: 1"),
            with_headers(b"Content-Length: 1, 1", then=b"\r\n1"),
        )

    def test_no_number(self) -> None:
        """A Content-Length that is not decimal digits only is refused."""
        for value in (b"+5", b"-5", b"0x5", b"5_0", b"5 5", b"5;", b"", b'"5"', b"5.0", b"\xb2", b"\xd9\xa5"):
            self.assert_bad(with_headers(b"Content-Length: " + value, then=b"\r\n12345"))

    def test_other_codings(self) -> None:
        """A Transfer-Encoding that is anything but "chunked", once, is refused."""
        for value in (
            b"identity",
            b"gzip, chunked",
            b"chunked, chunked",
            b"xchunked",
            b"\x0bchunked",
            b'"chunked"',
            b"",
        ):
            self.assert_bad(with_headers(b"Transfer-Encoding: " + value, then=b"\r\n" + CHUNK))

    def test_repeated_coding(self) -> None:
        """Transfer-Encoding on two lines is refused, be they alike or not."""
        self.assert_bad(
            *(with_headers(b"Transfer-Encoding: " + each, then=CHUNKED + CHUNK) for each in (b"chunked", b"x"))
        )

    def test_coding_in_http_1_0(self) -> None:
        """Transfer-Encoding under HTTP/1.0, which does not have it, is refused."""
        self.assert_bad(b"POST /v1/predict HTTP/1.0\r\n" + USUAL + CHUNKED + CHUNK)


class HeaderTests(MalformedTestCase):
    """Header lines are a token, a colon, and a value without CR, LF and NUL."""

    def test_folded(self) -> None:
        """A line that begins with white space (obs-fold) is refused, wherever it stands."""
        self.assert_bad(
            with_headers(b"X-Any: a", b" b"),
            with_headers(b"X-Any: a", b"\tb"),
            with_headers(b" "),
            LINE + b" X-Any: a\r\n" + USUAL + ONE,
        )

    def test_space_before_the_colon(self) -> None:
        """White space between a header's name and its colon is refused."""
        self.assert_bad(
            with_headers(b"Content-Length : 1", then=b"\r\n1"),
            with_headers(b"Transfer-Encoding\t: chunked", then=b"\r\n" + CHUNK),
            with_headers(b"X-Any : a"),
        )

    def test_bare_cr(self) -> None:
        """CR without LF is refused, in a name and in a value."""
        self.assert_bad(
            with_headers(b"X-Any: a\rb"),
            with_headers(b"X\rAny: a"),
            with_headers(b"X-Any: a\rTransfer-Encoding: chunked"),
            with_headers(b"X-Any: a\r"),
        )

    def test_bare_lf(self) -> None:
        """LF without CR is refused at the end of any line, and of all lines."""
        self.assert_bad(
            with_headers(b"X-Any: a\nX-Other: b"),
            LINE.replace(b"\r\n", b"\n") + USUAL + ONE,
            LINE + USUAL + b"Content-Length: 1\r\n\n1",
            LINE + USUAL + b"Content-Length: 1\n\n1",
            (LINE + USUAL + ONE).replace(b"\r\n", b"\n"),
        )

    def test_lf_alone(self) -> None:
        """A request whose lines all end without CR is refused when it ends, not at a timeout."""
        with self.connect() as connection:
            response = connection.ask(b"GET /health HTTP/1.1\nHost: localhost\n\n")
            self.assert_problem(response, 400, "bad-request")
            self.assertEqual(connection.finish(), b"")

    def test_nul(self) -> None:
        """NUL is refused, in a name, in a value and in the target."""
        self.assert_bad(with_headers(b"X-Any: a\0b"), with_headers(b"X\0Any: a"), with_target(b"/v1/predict\0"))

    def test_names(self) -> None:
        """A header whose name is no token, or that has no colon, is refused."""
        self.assert_bad(
            *(with_headers(each) for each in (b"X(Any): a", b"X Any: a", b"X\xc3\xa9: a", b": a", b"nonsense"))
        )

    def test_host_missing(self) -> None:
        """HTTP/1.1 without Host is refused."""
        self.assert_bad(LINE + USUAL.removeprefix(HOST) + ONE)

    def test_host_twice(self) -> None:
        """Two Hosts are refused, be they alike or not."""
        self.assert_bad(with_headers(b"Host: localhost"), with_headers(b"Host: other.example"))


class ChunkTests(MalformedTestCase):
    """A chunked body is hexadecimal sizes, data, and CRLF at the end of each."""

    def test_sizes(self) -> None:
        """A chunk size that is no hexadecimal number is refused."""
        for size in (b"zz", b"+1", b"-1", b"0x1", b"1_0", b"", b" 1", b"1 ", b"\xb9"):
            self.assert_bad(with_chunks(size + b"\r\n1\r\n0\r\n\r\n"))

    def test_ends(self) -> None:
        """A chunk, or its size, that does not end with CRLF is refused."""
        for chunks in (b"1\n1\r\n0\r\n\r\n", b"1\r\n1\n0\r\n\r\n", b"1\r\n12\r\n0\r\n\r\n", b"1\r\n1\r\n0\n\n"):
            self.assert_bad(with_chunks(chunks))

    def test_extensions(self) -> None:
        """A chunk extension with a bare CR, LF or NUL, or one that is very long, is refused."""
        for extension in (b"a\rb", b"a\nb", b"a\0b", b"a" * 20_000):
            self.assert_bad(with_chunks(b"1;" + extension + b"\r\n1\r\n0\r\n\r\n"))

    def test_trailers(self) -> None:
        """A trailer with a bare CR, LF or NUL is refused: readers differ on whether it ends the line."""
        for trailer in (b"X-Any: a\n\n", b"X-Any: a\nX-Other: b", b"X-Any: a\rb", b"X-Any: a\0b"):
            self.assert_bad(with_chunks(b"1\r\n1\r\n0\r\n" + trailer + b"\r\n\r\n"))


class RequestLineTests(MalformedTestCase):
    """The first line is a method, a target and the version, with one space between them."""

    def test_parts(self) -> None:
        """A request line with more or fewer parts, or other white space, is refused."""
        for line in (
            b"POST",
            b"POST /v1/predict",
            b"POST  /v1/predict HTTP/1.1",
            b"POST /v1/predict HTTP/1.1 ",
            b"POST /v1/predict x HTTP/1.1",
            b"POST\t/v1/predict\tHTTP/1.1",
            b" POST /v1/predict HTTP/1.1",
        ):
            self.assert_bad(line + b"\r\n" + USUAL + ONE)

    def test_versions(self) -> None:
        """Every version but HTTP/1.0 and HTTP/1.1 is refused, the preface of HTTP/2 among them."""
        for version in (b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/1.1x", b"http/1.1", b"HTTP/01.1", b"ICY/1.1"):
            self.assert_bad(b"POST /v1/predict %s\r\n" % version + USUAL + ONE)
        self.assert_bad(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

    def test_method(self) -> None:
        """A method that is no token is refused."""
        self.assert_bad(b"P@ST /v1/predict HTTP/1.1\r\n" + USUAL + ONE, b"P\0ST /v1/predict HTTP/1.1\r\n" + USUAL + ONE)

    def test_target(self) -> None:
        """A target with a control character, or that is not ASCII, is refused."""
        for byte in (b"\r", b"\x01", b"\xc3\xa9", b"\t"):
            self.assert_bad(with_target(b"/v1/predict?a" + byte))

    def test_no_http(self) -> None:
        """Bytes that are nothing like HTTP are refused."""
        self.assert_bad(b"\x00\x01\x02\x03\r\n\r\n", b"\r\n" * 50, b"SSH-2.0-Any\r\n\r\n")


class RefusalTests(MalformedTestCase):
    """The end of the connection after a refusal."""

    def test_end_of_the_connection(self) -> None:
        """The gateway ends the connection after the response, even if the client goes on sending."""
        connection = self.connect()
        connection.send(with_headers(b"X-Any : a"))
        self.assertEqual(connection.response().status, 400)
        connection.send(post(b"2"))
        self.assertTrue(connection.is_ended_within(10))
        with self.assertRaises(NoResponseError):
            connection.response()
        self.assert_serves()

    def test_behind_a_good_one(self) -> None:
        """A malformed request behind a good one in one segment: the good one is served, then 400, then nothing."""
        good = post(b'{"first": true}')
        with self.connect() as connection:
            connection.send(good + with_headers(b"Content-Length: 2", then=ONE + b"1") + post(b'{"third": true}'))
            first, second = connection.response(), connection.response()
            rest = connection.finish()
        self.assertEqual((first.status, first.body), (200, b'{"first": true}'))
        self.assert_problem(second, 400, "bad-request")
        self.assertEqual(responses(rest), [])
        self.assertEqual(self.model.bodies, [b'{"first": true}'])

    def test_bytes_one_by_one(self) -> None:
        """Segments make no difference: a malformed request sent byte by byte is refused as well."""
        connection = self.connect()
        for byte in with_headers(b"X-Any: a", b" b"):
            connection.send(bytes([byte]))
        self.assertEqual(connection.response().status, 400)
        self.assertEqual(connection.finish(), b"")
        self.assert_serves()

    def test_strict_and_not_stricter(self) -> None:
        """What RFC 9112 allows is served: chunk extensions, trailers, any case of names, HTTP/1.0 without Host."""
        for request in (
            with_chunks(b"1;name=value\r\n1\r\n0\r\nX-Trailer: a\r\n\r\n"),
            LINE + USUAL + b"TRANSFER-ENCODING: Chunked\r\n\r\n" + CHUNK,
            with_headers(b"X-Any:a", b"X-Other: \t b \t"),
        ):
            with self.connect() as connection:
                first, second = connection.ask(request), connection.ask(post(b"2"))
            self.assertEqual((first.status, first.body, second.body), (200, b"1", b"2"), request)
        old = self.ask(b"POST /v1/predict HTTP/1.0\r\n" + USUAL.removeprefix(HOST) + ONE)
        self.assertEqual((old.status, old.body), (200, b"1"))
