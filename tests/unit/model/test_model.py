"""Calls of the model over HTTP: what is sent, which responses are results, and every way to fail."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError as TCPRefused
from twisted.python.failure import Failure

from provider_gateway.errors import ModelBusy, UnsupportedMediaType
from provider_gateway.message.http_headers import headers_from_http
from tests.support.model_peer import MAX_BODY, ModelTestCase, response


class RequestTests(ModelTestCase):
    """What is sent to the model."""

    def headers_for(self, **headers: Any) -> dict[bytes, list[bytes]]:
        self.call(headers={name.replace("_", "-"): value for name, value in headers.items()})
        return self.accept().request()[1]

    def test_body(self) -> None:
        """The body is posted byte for byte to the model's URL, with its length, on a connection with TCP_NODELAY."""
        body = b'{"n": 123456789012345678901234567890, "\xff": 1}'
        self.call(body=body, content_type="application/x-thing")
        transport = self.accept()
        first, headers, sent = transport.request()
        self.assertEqual(first, b"POST /predict?v=1 HTTP/1.1")
        self.assertEqual(sent, body)
        self.assertEqual(headers[b"content-length"], [str(len(body)).encode()])
        self.assertEqual(headers[b"content-type"], [b"application/x-thing"])
        self.assertEqual(headers[b"host"], [b"127.0.0.1:8080"])
        self.assertNotIn(b"transfer-encoding", headers)
        self.assertTrue(transport.no_delay)

    def test_no_content_type(self) -> None:
        """A message without a content type, or with a malformed one, is sent as JSON."""
        for content_type in (None, "", "a\r\nX-Evil: 1", "caf\u00e9"):
            self.call(content_type=content_type)
            self.assertEqual(self.accept().request()[1][b"content-type"], [b"application/json"])

    def test_headers(self) -> None:
        """Text headers are sent; our own, those of one hop, tables and numbers are not."""
        headers = self.headers_for(
            X_Tenant="a", pg_attempt="2", PG_Status="200", Connection="close", Cookie="c=1", Authorization="Basic x",
            Host="elsewhere", Content_Length="7", depth=3, table={"a": "b"}, x_death="d",
        )  # fmt: skip
        self.assertEqual(headers[b"x-tenant"], [b"a"])
        self.assertEqual(headers[b"content-length"], [b"6"])
        self.assertEqual(headers[b"host"], [b"127.0.0.1:8080"])
        unwanted = {b"pg-attempt", b"pg-status", b"cookie", b"authorization", b"depth", b"table", b"x-death"}
        self.assertEqual(unwanted & set(headers), set())
        self.assertNotIn(b"close", headers.get(b"connection", []))

    def test_malformed_headers(self) -> None:
        """A malformed header, such as one with a line end, is not sent."""
        headers = self.headers_for(**{"X-Bad": "a\r\nX-Injected: 1", "X Space": "b", "X-Good": "c"})
        self.assertEqual(headers[b"x-good"], [b"c"])
        self.assertEqual({b"x-bad", b"x-injected", b"x space"} & set(headers), set())

    def test_content_encoding(self) -> None:
        """The message's content codings are the request's, as they are spelled, and the body is not changed."""
        body = b"\x1f\x8b\x08"
        for given, sent in (
            ("gzip", [b"gzip"]), ("GZIP", [b"GZIP"]), ("x-gzip", [b"x-gzip"]), ("deflate,br", [b"deflate, br"]),
            ("identity", None), ("", None), (" , ", None), ("identity, gzip", [b"gzip"]), ("UTF-8", None), (None, None),
        ):  # fmt: skip
            self.call(body=body, content_encoding=given, headers={"X-A": "1"})
            _, headers, received = self.accept().request()
            self.assertEqual((headers.get(b"content-encoding"), received), (sent, body), given)

    def test_content_encoding_in_headers(self) -> None:
        """A header Content-Encoding of the message counts without the property, and is sent once, never beside it."""
        headers = {"content-encoding": "br", "X-A": "1"}
        for given, sent in ((None, [b"br"]), ("gzip", [b"gzip"]), ("identity", None)):
            self.call(content_encoding=given, headers=headers)
            self.assertEqual(self.accept().request()[1].get(b"content-encoding"), sent, given)

    def test_malformed_content_encoding(self) -> None:
        """A message whose content coding is malformed is not sent: the error says what is wrong."""
        malformed: tuple[Any, ...] = ("gzip\r\nX-Injected: 1", "gz ip", "gr\u00fcn", "gzip;q=1", b"\xff", "\0")
        for given in malformed:
            calling = self.call(content_encoding=given)
            self.assertIn("content_encoding", self.failureResultOf(calling, UnsupportedMediaType).value.detail)
        self.assertEqual(self.reactor.tcpClients, [])

    def test_content_type_in_headers(self) -> None:
        """The property is the content type. A header counts only without it; whatever it says, there is one line."""
        for given, named, sent in (
            ("text/csv", "a/b", b"text/csv"), (None, "a/b", b"a/b"), ("", "a/b", b"application/json"),
            (None, "a\r\nX: 1", b"application/json"), (None, 7, b"application/json"), (None, None, b"application/json"),
        ):  # fmt: skip
            for name in ("Content-Type", "content-type"):
                self.call(content_type=given, headers={"": "x/y", name: named})
                self.assertEqual(self.accept().request()[1][b"content-type"], [sent], (given, named))

    def test_bytes(self) -> None:
        """Values are sent byte for byte: a text of a message as UTF-8, and bytes that are not UTF-8 as they came."""
        received = headers_from_http([(b"X-Old", [b"gr\xf6\xdfe"]), (b"X-New", ["gr\u00f6\u00dfe".encode()])])
        self.call(headers={**received, "X-Text": "\u20ac", "X-Array": b"gr\xf6"})
        headers = self.accept().request()[1]
        self.assertEqual(headers[b"x-old"], [b"gr\xf6\xdfe"])
        self.assertEqual(headers[b"x-new"], ["gr\u00f6\u00dfe".encode()])
        self.assertEqual(headers[b"x-text"], ["\u20ac".encode()])
        self.assertNotIn(b"x-array", headers)  # a byte array is no text

    def test_rquid(self) -> None:
        """The request id is sent once, whatever the message's own header says."""
        for headers in ({}, {"rquid": "r1"}, {"RqUID": "with space"}, {"RqUID": 7}):
            self.assertEqual(self.headers_for(**headers)[b"rquid"], [b"r1"])

    def test_cookies(self) -> None:
        """A cookie of a response is neither sent with the next call nor passed on."""
        first = self.call()
        transport = self.accept()
        transport.respond(response(200, b"1", "Set-Cookie: session=secret; Path=/"))
        self.assertNotIn("set-cookie", {name.lower() for name in self.successResultOf(first).headers})
        transport.clear()
        self.call()
        self.assertEqual(len(self.reactor.tcpClients), 1)
        self.assertTrue(transport.value().startswith(b"POST "))
        self.assertNotIn(b"secret", transport.value())


class AnswerTests(ModelTestCase):
    """Which responses are results."""

    def test_result(self) -> None:
        """A 2xx is a result, with its body, content type and end-to-end headers."""
        headers = ("Content-Type: text/csv", "X-Model: m1", "Server: s", "Pg-Status: 500", "Keep-Alive: timeout=5")
        answer = self.successResultOf(self.answered(response(201, b"1;2", *headers)))
        self.assertEqual((answer.status, answer.body, answer.content_type), (201, b"1;2", "text/csv"))
        self.assertEqual(answer.headers, {"X-Model": "m1"})

    def test_in_pieces(self) -> None:
        """A chunked response that arrives byte by byte is put together."""
        data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n42\r\n1\r\n!\r\n0\r\n\r\n"
        calling = self.call()
        transport = self.accept()
        for byte in data:
            transport.respond(bytes([byte]))
        self.assertEqual(self.successResultOf(calling).body, b"42!")

    def test_until_the_end_of_the_connection(self) -> None:
        """A body without a length ends with its connection."""
        calling = self.call()
        transport = self.accept()
        transport.respond(b"HTTP/1.1 200 OK\r\n\r\n42")
        self.assertNoResult(calling)
        transport.close()
        self.assertEqual(self.successResultOf(calling).body, b"42")

    def test_error_of_the_caller(self) -> None:
        """A 4xx is a result, too: the caller's error, with the model's body."""
        for status in (400, 404, 422):
            answer = self.successResultOf(self.answered(response(status, b"no")))
            self.assertEqual((answer.status, answer.body), (status, b"no"))

    def test_no_content_type(self) -> None:
        """A response without a content type is taken as JSON."""
        self.assertEqual(self.successResultOf(self.answered(response(200, b"1"))).content_type, "application/json")

    def test_status(self) -> None:
        """5xx, 408 and redirects are failures that name the status, 429 and 503 are busy. No redirect is followed."""
        for status, reason in ((500, "status"), (503, "busy"), (408, "status"), (429, "busy"), (302, "status")):
            failure = self.assert_failure(
                self.answered(response(status, b"x", "Location: http://127.0.0.1:8080/x")), reason
            )
            self.assertIn(str(status), failure.detail)
            self.assertEqual(failure.status, 502)

    def test_retry_after(self) -> None:
        """A model that is busy says when it takes calls again, by its own clock or by ours; None if it does not say."""
        self.reactor.advance(784_111_770)  # seven seconds before the date
        date = "Sun, 06 Nov 1994 08:49:37 GMT"
        for headers, wait in (
            ((), None),
            (("Retry-After: 30",), 30),
            (("Retry-After: soon",), None),
            ((f"Retry-After: {date}",), 7),
            ((f"Retry-After: {date}", "Date: Sun, 06 Nov 1994 08:49:35 GMT"), 2),
        ):
            for status in (429, 503):
                failure = self.assert_failure(self.answered(response(status, b"", *headers)), "busy")
                assert isinstance(failure, ModelBusy)
                self.assertEqual(failure.wait, wait, headers)

    def test_largest_body(self) -> None:
        """A body of just the limit is accepted."""
        answer = self.successResultOf(self.answered(response(200, b"x" * MAX_BODY)))
        self.assertEqual(len(answer.body), MAX_BODY)


class FailureTests(ModelTestCase):
    """No usable response."""

    def test_timeout_before_the_headers(self) -> None:
        """A model that accepts and sends nothing is a timeout, exactly at the time limit; its connection is dropped."""
        calling = self.call(timeout=5)
        transport = self.accept()
        self.reactor.advance(4.9)
        self.assertNoResult(calling)
        self.reactor.advance(0.1)
        self.assertIn("5 s", self.assert_failure(calling, "timeout").detail)
        self.assertTrue(transport.disconnecting)

    def test_timeout_over_a_trickling_body(self) -> None:
        """The time limit covers the body: one byte a second does not extend it; the connection is dropped."""
        calling = self.call(timeout=5)
        transport = self.accept()
        transport.respond(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
        for _ in range(4):
            self.reactor.advance(1)
            transport.respond(b"x")
        self.assertNoResult(calling)
        self.reactor.advance(1)
        self.assert_failure(calling, "timeout")
        self.assertTrue(transport.disconnecting)
        transport.close()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_oversized_body(self) -> None:
        """A body fails as soon as it exceeds the limit, declared or not; its connection is dropped."""
        for head in (b"Content-Length: 1000\r\n\r\n", b"\r\n"):
            calling = self.call()
            transport = self.accept()
            transport.respond(b"HTTP/1.1 200 OK\r\n" + head + b"x" * MAX_BODY)
            self.assertNoResult(calling)
            transport.respond(b"x")
            self.assertIn("MAX_BODY_BYTES", self.assert_failure(calling, "body").detail)
            self.assertTrue(transport.disconnecting)

    def test_broken_off(self) -> None:
        """A body that breaks off is a failure, not a shorter body."""
        calling = self.call()
        transport = self.accept()
        transport.respond(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf")
        transport.close()
        self.assert_failure(calling, "body")

    def test_refused(self) -> None:
        """A refused connection is a failure of the connection."""
        calling = self.call()
        self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(TCPRefused("refused")))
        self.reactor.advance(1)
        failure = self.assert_failure(calling, "connection")
        self.assertIn("refused", failure.cause)
        # The caller is told nothing of hosts and addresses.
        self.assertNotIn("refused", failure.detail)

    def test_closed_without_an_answer(self) -> None:
        """A connection that ends before the response is a failure of the connection; nothing is sent again."""
        for reason in (ConnectionDone(), ConnectionLost("reset")):
            calling = self.call()
            connections = len(self.reactor.tcpClients)
            self.accept().close(reason)
            self.assert_failure(calling, "connection")
            self.assertEqual(len(self.reactor.tcpClients), connections)

    def test_not_http(self) -> None:
        """Bytes that are not HTTP are a failure of the connection."""
        calling = self.call()
        transport = self.accept()
        transport.respond(b"SSH-2.0-OpenSSH\r\n")
        transport.close()
        self.assert_failure(calling, "connection")

    def test_cancelled(self) -> None:
        """A call that is cancelled, before the headers or within the body, fails with CancelledError."""
        for received in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf"):
            calling = self.call()
            transport = self.accept()
            transport.respond(received) if received else None
            calling.cancel()
            self.failureResultOf(calling, CancelledError)
            self.assertTrue(transport.disconnecting)
