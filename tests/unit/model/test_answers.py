"""Answers of the model on the wire: what is none, and what is read of those that are."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost

from provider_gateway.http_client.response_reader import MAX_HEAD_BYTES
from provider_gateway.model.client import model_client
from provider_gateway.model.model import Answer, Model
from tests.support.model_peer import response
from tests.unit.model.base import CHUNKED, ConnectionTestCase


class NoAnswerTests(ConnectionTestCase):
    """What is no valid answer: a failure of the connection at once, which is dropped."""

    def assert_refused(self, *segments: bytes, reason: str = "connection") -> None:
        calling, self.transport = self.begin()
        for segment in segments:
            self.transport.respond(segment)
        self.assert_failure(calling, reason)
        self.assertTrue(self.transport.disconnecting)
        self.assertFalse(self.goes_on())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_framing(self) -> None:
        """A body whose end could be read in two ways, or is told in none that we know, is not read at all."""
        for header in (
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: gzip",
            b"Transfer-Encoding: chunked\r\nContent-Length: 3",
            b"Content-Length: 3\r\nContent-Length: 2",
            b"Content-Length: +3",
            b"Content-Length: 3 3",
        ):
            self.assert_refused(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n3\r\nabc\r\n0\r\n\r\n" % header)

    def test_chunks(self) -> None:
        """Chunks that are not as large as they say are a body that broke off."""
        for chunks in (b"2\r\n1\r\n", b"1\r\n12\r\n", b"1\r\n1\n0\r\n\r\n", b"x\r\n", b"1" * 20 + b"\r\n"):
            self.assert_refused(CHUNKED + chunks + b"0\r\n\r\n", reason="body")

    def test_header(self) -> None:
        """Control characters in a header, or a name with a space, are no HTTP."""
        for header in (b"X: a\0b", b"X: a\x01b", b"X : a", b"X: a\rY: b", b"X: a\r\n b"):
            self.assert_refused(b"HTTP/1.1 200 OK\r\n%s\r\nContent-Length: 0\r\n\r\n" % header)

    def test_switched(self) -> None:
        """A protocol that nobody asked to switch to is no answer; nor is a 1xx with a body."""
        self.assert_refused(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
        self.assert_refused(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        self.assert_refused(b"HTTP/1.1 110 What\r\nContent-Length: 1\r\n\r\n1")

    def test_endless(self) -> None:
        """Headers, a header, a status line or 1xx answers that do not end are given up, and so are trailers."""
        piece = b"x" * 4000
        count = MAX_HEAD_BYTES // len(piece) + 1
        self.assert_refused(b"HTTP/1.1 200 OK\r\n", *count * [b"X: %s\r\n" % piece])
        self.assert_refused(b"HTTP/1.1 200 OK\r\nX: ", *count * [piece])
        self.assert_refused(b"HTTP/1.1 200 O", *count * [piece])
        self.assert_refused(*(count + 1) * [b"HTTP/1.1 103 Early Hints\r\nX: %s\r\n\r\n" % piece])
        self.assert_refused(CHUNKED + b"1\r\n1\r\n0\r\nX: ", *count * [piece], reason="body")
        self.assert_refused(CHUNKED + b"1;", *count * [piece], reason="body")

    def test_huge(self) -> None:
        """Headers that are too large are refused even when they come at once; just so many are not."""
        size = MAX_HEAD_BYTES - len(response(200, b"", "Set-Cookie: "))
        self.assert_refused(response(200, b"1", f"Set-Cookie: {'x' * (size + 1)}"))
        calling, transport = self.begin()
        transport.respond(response(200, b"1", f"Set-Cookie: {'x' * size}"))
        self.assertEqual(self.successResultOf(calling).body, b"1")

    def test_many_small_chunks(self) -> None:
        """What frames a body of many chunks does not count towards that."""
        client = model_client(self.reactor, tls=None, connections=2)
        self.model = Model(self.reactor, client, url="http://127.0.0.1:8080/predict?v=1", max_body_bytes=100_000)
        calling, transport = self.begin()
        transport.respond(CHUNKED)
        for _ in range(40):
            transport.respond(1000 * b"1\r\n7\r\n")
        transport.respond(b"0\r\n\r\n")
        self.assertEqual(len(self.successResultOf(calling).body), 40_000)


class ReadingTests(ConnectionTestCase):
    """What is read of an answer."""

    def answer(self, *segments: bytes) -> Answer:
        for segment in segments:
            self.transport.respond(segment)
        return self.successResultOf(self.calling)

    def test_interim(self) -> None:
        """Answers with a status of 1xx are skipped, with their headers."""
        interim = b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n"
        answer = self.answer(*interim, interim[1] + response(200, b"1", "X-Late: 1"))
        self.assertEqual((answer.status, answer.body, answer.headers), (200, b"1", {"X-Late": "1"}))
        self.assertTrue(self.goes_on())

    def test_trailers(self) -> None:
        """Trailers are dropped."""
        answer = self.answer(CHUNKED + b"1\r\n1\r\n0\r\nX-Trailer: 1\r\n\r\n")
        self.assertEqual((answer.body, answer.headers), (b"1", {}))

    def test_no_body(self) -> None:
        """A 204 has none, whatever its headers say, and does not wait for one."""
        self.assertEqual(self.answer(b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n").body, b"")

    def test_headers(self) -> None:
        """Values are without the spaces around them, those of one name together; names as HTTP writes them."""
        answer = self.answer(response(200, b"1", "x-model:  m1 \t", "X-MODEL: m2", "X-Empty:"))
        self.assertEqual(answer.headers, {"X-Model": "m1, m2", "X-Empty": ""})

    def test_until_a_reset(self) -> None:
        """A body without a length ends with its connection, however that ends: as it was with Twisted's client."""
        self.transport.respond(b"HTTP/1.1 200 OK\r\n\r\n42")
        self.transport.close(ConnectionLost())
        self.assertEqual(self.successResultOf(self.calling).body, b"42")

    def test_same_names_in_the_message(self) -> None:
        """Of names that are the same but for their case, the last one is sent."""
        self.call(headers={"X-A": "1", "x-a": "2"})
        self.assertEqual(self.accept().request()[1][b"x-a"], [b"2"])
