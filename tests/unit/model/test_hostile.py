"""Hostile or broken models and messages: each call ends with a response, or with a failure and its reason."""

from __future__ import annotations

import gzip

from twisted.internet.defer import CancelledError

from provider_gateway.message.http_headers import MAX_HEADERS
from tests.support.model_peer import ModelTestCase, response


class ConnectingTests(ModelTestCase):
    """A call that ends before its TCP connection is open."""

    def test_timeout(self) -> None:
        """The time limit covers connecting: a call without a connection by then is a timeout, and leaves no timer."""
        calling = self.call(timeout=5)
        self.reactor.advance(4.9)
        self.assertNoResult(calling)
        self.reactor.advance(0.1)
        self.assertIn("5 s", self.assert_failure(calling, "timeout").detail)
        self.assertEqual(len(self.reactor.tcpClients), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """A call that is cancelled while it connects fails with CancelledError, not with ModelFailure."""
        calling = self.call()
        calling.cancel()
        self.failureResultOf(calling, CancelledError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])


class AnswerHeadersTests(ModelTestCase):
    """Headers of a response that cannot travel in a message."""

    def assert_too_large(self, *headers: str) -> None:
        failure = self.assert_failure(self.answered(response(200, b"1", *headers)), "body")
        self.assertIn("cannot be passed on", failure.detail)

    def test_long_name(self) -> None:
        """A header name over AMQP's 255 bytes makes the response a failure; one of 255 bytes travels."""
        self.assert_too_large("X" * 256 + ": 1")
        answer = self.successResultOf(self.answered(response(200, b"1", "X" * 255 + ": 1")))
        self.assertEqual(list(answer.headers.values()), ["1"])

    def test_too_large_together(self) -> None:
        """Headers over 100,000 bytes are a failure: four bytes for each character, and six for each header."""
        names = [f"X-{number}" for number in range(8)]
        characters = (MAX_HEADERS - 8 * 6) // 4 - sum(map(len, names))
        lines = [f"{name}: {'v' * (characters // 8)}" for name in names]
        lines[-1] += "v" * (characters % 8)
        answer = self.successResultOf(self.answered(response(200, b"1", *lines)))
        self.assertEqual(len(answer.headers), 8)
        self.assert_too_large(*lines[:-1], lines[-1] + "v")

    def test_content_type_that_is_not_utf_8(self) -> None:
        """A response whose Content-Type is not UTF-8 is accepted as JSON."""
        data = response(200, b"1", "Content-Type: text/@").replace(b"@", b"\xff")
        answer = self.successResultOf(self.answered(data))
        self.assertEqual((answer.status, answer.body, answer.content_type), (200, b"1", "application/json"))

    def test_long_content_type(self) -> None:
        """A Content-Type over AMQP's 255 bytes is replaced by JSON's; one of 255 bytes is kept."""
        for size, expected in ((256, "application/json"), (255, "text/" + "x" * 250)):
            content_type = "text/" + "x" * (size - 5)
            answer = self.successResultOf(self.answered(response(200, b"1", f"Content-Type: {content_type}")))
            self.assertEqual(answer.content_type, expected)


class ContentCodingTests(ModelTestCase):
    """Requests ask for bodies without a content coding; a response with one is a failure."""

    def test_asked_for(self) -> None:
        """The request accepts ``identity`` only, whatever the message's headers say."""
        for headers in ({}, {"Accept-Encoding": "gzip"}):
            self.call(headers=headers)
            self.assertEqual(self.accept().request()[1][b"accept-encoding"], [b"identity"])

    def test_coded(self) -> None:
        """A coded response is a failure as soon as its headers have arrived; its connection is dropped."""
        for coding in ("gzip", "GZIP", "br", "identity, gzip"):
            calling = self.call()
            transport = self.accept()
            head, end, body = response(200, gzip.compress(b"1"), f"Content-Encoding: {coding}").partition(b"\r\n\r\n")
            transport.respond(head + end)
            self.assertIn(coding.lower(), self.assert_failure(calling, "body").detail)
            self.assertTrue(transport.disconnecting)
            transport.respond(body)
            transport.close()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_broken_coding(self) -> None:
        """A body that is not in the coding that is declared is a failure, and no empty success."""
        calling = self.call()
        transport = self.accept()
        transport.respond(response(200, b"not gzip", "Content-Encoding: gzip"))
        self.assert_failure(calling, "body")

    def test_coding_that_is_not_utf_8(self) -> None:
        """A Content-Encoding that is not UTF-8 is a failure like any other coding."""
        data = response(200, b"1", "Content-Encoding: @").replace(b"@", b"\xff")
        self.assert_failure(self.answered(data), "body")

    def test_identity(self) -> None:
        """A response whose Content-Encoding names no coding is accepted: ``identity``, nothing, or empty members."""
        for value in ("Identity", "", "identity, identity", " , ,", "identity,", "\r\nContent-Encoding: identity"):
            calling = self.answered(response(200, b"1", f"Content-Encoding: {value}"))
            self.assertEqual(self.successResultOf(calling).body, b"1", value)


class BytesToTheModelTests(ModelTestCase):
    """A message with a header name that is not UTF-8."""

    def test_call(self) -> None:
        """The model is called without that header."""
        calling = self.call(headers={b"x-\xff": "a", "X-Good": "b"})
        transport = self.accept()
        headers = transport.request()[1]
        self.assertEqual(headers[b"x-good"], [b"b"])
        self.assertNotIn(b"\xff", transport.value())
        transport.respond(response(200, b"1"))
        self.assertEqual(self.successResultOf(calling).body, b"1")
