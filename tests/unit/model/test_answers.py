"""Responses of the model on the wire: which are invalid, and what is read of valid ones."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost

from provider_gateway.http_client.response_reader import MAX_HEAD_BYTES
from provider_gateway.message.http_headers import bytes_of
from provider_gateway.model.client import model_client
from provider_gateway.model.model import Model, ModelResponse
from tests.support.model_peer import response
from tests.unit.model.base import CHUNKED, ConnectionTestCase


class NoAnswerTests(ConnectionTestCase):
    """An invalid response is a failure at once, and its connection is dropped."""

    def assert_refused(self, *segments: bytes, reason: str = "connection") -> None:
        calling, self.transport = self.begin()
        for segment in segments:
            self.transport.respond(segment)
        self.assert_failure(calling, reason)
        self.assertTrue(self.transport.disconnecting)
        self.assertFalse(self.goes_on())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_framing(self) -> None:
        """A body whose end is ambiguous, or is given in a way that we do not support, is not read."""
        for header in (
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: gzip",
            b"Transfer-Encoding: chunked\r\nContent-Length: 3",
            b"Content-Length: 3\r\nContent-Length: 2",
            b"Content-Length: +3",
            b"Content-Length: 3 3",
            b"Content-Length: 3, 3",
            b"Content-Length: 3\r\nContent-Length: 3",
            b"Content-Length:",
            b"Content-Length: 0x3",
            b"Transfer-Encoding:",
            b"Transfer-Encoding: identity",
            b"Transfer-Encoding: chunked, chunked",
        ):
            self.assert_refused(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n3\r\nabc\r\n0\r\n\r\n" % header)

    def test_chunks(self) -> None:
        """A chunk whose size is wrong or malformed makes the body a failure."""
        for chunks in (b"2\r\n1\r\n", b"1\r\n12\r\n", b"1\r\n1\n0\r\n\r\n", b"x\r\n", b"1" * 20 + b"\r\n"):
            self.assert_refused(CHUNKED + chunks + b"0\r\n\r\n", reason="body")

    def test_header(self) -> None:
        """Control characters in a header, a name with a space and folded headers are a failure of the connection."""
        for header in (b"X: a\0b", b"X: a\x01b", b"X : a", b"X: a\rY: b", b"X: a\r\n b"):
            self.assert_refused(b"HTTP/1.1 200 OK\r\n%s\r\nContent-Length: 0\r\n\r\n" % header)

    def test_switched(self) -> None:
        """A response that switches protocols is a failure of the connection; so is a 1xx with a body."""
        self.assert_refused(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
        self.assert_refused(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        self.assert_refused(b"HTTP/1.1 110 What\r\nContent-Length: 1\r\n\r\n1")

    def test_endless(self) -> None:
        """A head, 1xx responses, a chunk extension or trailers that do not end are a failure at the limit."""
        piece = b"x" * 4000
        count = MAX_HEAD_BYTES // len(piece) + 1
        self.assert_refused(b"HTTP/1.1 200 OK\r\n", *count * [b"X: %s\r\n" % piece])
        self.assert_refused(b"HTTP/1.1 200 OK\r\nX: ", *count * [piece])
        self.assert_refused(b"HTTP/1.1 200 O", *count * [piece])
        self.assert_refused(*(count + 1) * [b"HTTP/1.1 103 Early Hints\r\nX: %s\r\n\r\n" % piece])
        self.assert_refused(CHUNKED + b"1\r\n1\r\n0\r\nX: ", *count * [piece], reason="body")
        self.assert_refused(CHUNKED + b"1;", *count * [piece], reason="body")

    def test_huge(self) -> None:
        """Headers over the limit are a failure even in one segment; headers of just the limit are not."""
        size = MAX_HEAD_BYTES - len(response(200, b"", "Set-Cookie: "))
        self.assert_refused(response(200, b"1", f"Set-Cookie: {'x' * (size + 1)}"))
        calling, transport = self.begin()
        transport.respond(response(200, b"1", f"Set-Cookie: {'x' * size}"))
        self.assertEqual(self.successResultOf(calling).body, b"1")

    def test_many_small_chunks(self) -> None:
        """The framing of many chunks does not count towards the limit."""
        client = model_client(self.reactor, tls=None, connections=2)
        self.model = Model(
            self.reactor,
            client,
            url="http://127.0.0.1:8080/predict?v=1",
            max_body_bytes=100_000,
            wall_clock=self.reactor.seconds,
        )
        calling, transport = self.begin()
        transport.respond(CHUNKED)
        for _ in range(40):
            transport.respond(1000 * b"1\r\n7\r\n")
        transport.respond(b"0\r\n\r\n")
        self.assertEqual(len(self.successResultOf(calling).body), 40_000)


class ReadingTests(ConnectionTestCase):
    """What is read of a response."""

    def answer(self, *segments: bytes) -> ModelResponse:
        for segment in segments:
            self.transport.respond(segment)
        return self.successResultOf(self.calling)

    def test_interim(self) -> None:
        """Responses with a status of 1xx are skipped, with their headers."""
        interim = b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n"
        answer = self.answer(*interim, interim[1] + response(200, b"1", "X-Late: 1"))
        self.assertEqual((answer.status, answer.body, answer.headers), (200, b"1", {"X-Late": "1"}))
        self.assertTrue(self.goes_on())

    def test_trailers(self) -> None:
        """Trailers are dropped: they are not among the headers."""
        answer = self.answer(CHUNKED + b"1\r\n1\r\n0\r\nX-Trailer: 1\r\n\r\n")
        self.assertEqual((answer.body, answer.headers), (b"1", {}))

    def test_no_body(self) -> None:
        """A 204 has no body and ends with its headers."""
        self.assertEqual(self.answer(b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n").body, b"")

    def test_headers(self) -> None:
        """Values are stripped, several values of one name are joined, and names are capitalised."""
        answer = self.answer(response(200, b"1", "x-model:  m1 \t", "X-MODEL: m2", "X-Empty:"))
        self.assertEqual(answer.headers, {"X-Model": "m1, m2", "X-Empty": ""})

    def test_until_a_reset(self) -> None:
        """A body without a length ends with its connection. After a reset it may be incomplete, and is a failure."""
        self.transport.respond(b"HTTP/1.1 200 OK\r\n\r\n42")
        self.transport.close(ConnectionLost())
        self.assert_failure(self.calling, "body")

    def test_nothing_until_the_end(self) -> None:
        """A body without a length may be empty: the connection then ends, in order, behind the headers."""
        self.transport.respond(b"HTTP/1.0 200 OK\r\nX-A: 1\r\n\r\n")
        self.assertNoResult(self.calling)
        self.transport.close()
        answer = self.successResultOf(self.calling)
        self.assertEqual((answer.status, answer.body, answer.headers), (200, b"", {"X-A": "1"}))

    def test_end_does_not_matter(self) -> None:
        """A reset behind a complete response does not change it: its length, or its kind, says that it is complete."""
        for data, body in (
            (response(200, b"1"), b"1"),
            (CHUNKED + b"1\r\n1\r\n0\r\n\r\n", b"1"),
            (b"HTTP/1.1 100 Continue\r\n\r\n" + response(200, b"1", "Connection: close"), b"1"),
            (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        ):
            calling, transport = self.begin()
            transport.respond(data)
            transport.close(ConnectionLost())
            self.assertEqual(self.successResultOf(calling).body, body)

    def test_spellings(self) -> None:
        """What RFC 9112 allows is read: no reason phrase, codings in capitals, empty values, spaces around values."""
        for data in (
            b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\n1",
            b"HTTP/1.1 200 \r\nContent-Length:\t1 \t\r\n\r\n1",
            b"HTTP/1.1 200 Gr\xfcn\r\ncontent-length:1\r\n\r\n1",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding:CHUNKED \r\n\r\n1\r\n1\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX-Empty:\r\nContent-Type:\r\nKeep-Alive:\r\nContent-Length: 1\r\n\r\n1",
            b"HTTP/1.1 200 OK\r\nConnection:\r\nConnection: , x ,Keep-Alive\r\nContent-Length: 01\r\n\r\n1",
        ):
            calling, transport = self.begin()
            transport.respond(data)
            answer = self.successResultOf(calling)
            self.assertEqual((answer.body, answer.content_type), (b"1", "application/json"), data)
            self.transport = transport
            self.assertTrue(self.goes_on(), data)
            transport.close()

    def test_listed_headers(self) -> None:
        """Headers that the model's Connection lists stay on its connection."""
        answer = self.answer(response(200, b"1", "Connection: x-hop, close", "X-Hop: 1", "X-Stays: 2"))
        self.assertEqual(answer.headers, {"X-Stays": "2"})

    def test_bytes(self) -> None:
        """Values that are not UTF-8 are kept byte for byte."""
        data = response(200, b"1", "X-Old: @", "X-Old: b").replace(b"@", b"gr\xf6\xdfe")
        self.assertEqual(bytes_of(self.answer(data).headers["X-Old"]), b"gr\xf6\xdfe, b")

    def test_same_names_in_the_message(self) -> None:
        """Of a message's headers whose names differ in their case only, the last one is sent."""
        self.call(headers={"X-A": "1", "x-a": "2"})
        self.assertEqual(self.accept().request()[1][b"x-a"], [b"2"])
