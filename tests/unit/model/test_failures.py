"""Calls whose response cannot be used: reason, detail and cause of each ModelFailure, word for word."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost

from provider_gateway.http_client.response_reader import MAX_HEAD_BYTES
from tests.support.model_peer import MAX_BODY, response
from tests.unit.model.base import CHUNKED, ConnectionTestCase

NO_RESPONSE = "The model closed the connection without a valid HTTP answer."
CUT_OFF = "The model's answer broke off before its end: "
SHORT = CUT_OFF + "fewer bytes than its Content-Length arrived."
NO_LAST_CHUNK = CUT_OFF + "its last chunk did not arrive."
NOT_IN_ORDER = CUT_OFF + "it has no length, and its connection was reset, or ended without TLS's close_notify."
MALFORMED = CUT_OFF + "its chunks are malformed."
INVALID = "no valid HTTP (InvalidResponse)"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf"


class FailureTests(ConnectionTestCase):
    """The caller reads the detail; the operator's log has the cause; metrics are labelled with the reason."""

    def assert_says(
        self, data: bytes, reason: str, detail: str, cause: str = "", *, ends: Exception | None = None
    ) -> None:
        """Check what a call fails with when the model sends some bytes, and then ends the connection or not."""
        calling, transport = self.begin()
        if data:
            transport.respond(data)
        if ends is not None:
            transport.close(ends)
        failure = self.assert_failure(calling, reason)
        self.assertEqual((failure.detail, failure.cause), (detail, cause))

    def test_malformed(self) -> None:
        """A malformed head is a failure of the connection; the cause names its kind and quotes nothing."""
        self.assert_says(b"SSH-2.0-OpenSSH\r\n", "connection", NO_RESPONSE, "no valid HTTP (InvalidResponse)")
        switched = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
        self.assert_says(switched, "connection", NO_RESPONSE, "no valid HTTP (InvalidResponse)")

    def test_large_head(self) -> None:
        """A head that is too large is a failure of the connection, and the cause tells it from a malformed one."""
        head = b"HTTP/1.1 200 OK\r\nX: " + MAX_HEAD_BYTES * b"x"
        self.assert_says(head, "connection", NO_RESPONSE, "no valid HTTP (HeadTooLarge)")

    def test_connection_ended(self) -> None:
        """A connection that ends before the headers is a failure of the connection; its end is the cause."""
        for data in (b"", b"HTTP/1.1 200 OK\r\nX: 1"):
            self.assert_says(data, "connection", NO_RESPONSE, "Connection was closed cleanly.", ends=ConnectionDone())
        lost = ConnectionLost("reset")
        self.assert_says(b"", "connection", NO_RESPONSE, str(lost), ends=lost)
        alert = SSL.Error([("SSL routines", "", "certificate verify failed")])
        self.assert_says(b"", "connection", NO_RESPONSE, "TLS: certificate verify failed", ends=alert)

    def test_body_cut_off(self) -> None:
        """A body that ends early is a failure of the body. It says what is missing; the cause is how it ended."""
        done, lost = ConnectionDone(), ConnectionLost("reset")
        for end in (done, lost):
            self.assert_says(HALF, "body", SHORT, str(end), ends=end)
            for chunks in (b"", b"3\r\n", b"3\r\nab", b"3\r\nabc\r\n", b"1\r\n1\r\n0\r\n", b"1\r\n1\r\n0\r\nX: 1\r\n"):
                self.assert_says(CHUNKED + chunks, "body", NO_LAST_CHUNK, str(end), ends=end)
        for head in (b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n"):
            for body in (b"", b'{"ha', b'{"whole": 1}'):
                self.assert_says(head + b"\r\n" + body, "body", NOT_IN_ORDER, str(lost), ends=lost)

    def test_malformed_body(self) -> None:
        """A malformed chunk is a failure of the body, whether it comes with the headers or after them."""
        self.assert_says(CHUNKED + b"x\r\n", "body", MALFORMED, INVALID)
        calling, transport = self.begin()
        transport.respond(CHUNKED)
        transport.respond(b"x\r\n")
        failure = self.assert_failure(calling, "body")
        self.assertEqual((failure.detail, failure.cause), (MALFORMED, INVALID))

    def test_large_body(self) -> None:
        """A body over the limit is a failure of the body that names the limit and its setting."""
        detail = f"The model's answer is larger than {MAX_BODY} bytes (MAX_BODY_BYTES)."
        self.assert_says(response(200, b"x" * (MAX_BODY + 1)), "body", detail)

    def test_content_coding(self) -> None:
        """A content coding is a failure of the body that names the coding, in lower case, whatever its bytes are."""
        for value, said in ((b"GZIP", "gzip"), (b"identity, BR", "identity, br"), (b"\xc4\xd6", "\xe4\xf6")):
            data = response(200, b"1", "Content-Encoding: @").replace(b"@", value)
            self.assert_says(
                data, "body", f"The model's answer has the Content-Encoding {said}, which was not asked for."
            )
        twice = response(200, b"1", "Content-Encoding: identity", "Content-Encoding: gzip")
        detail = "The model's answer has the Content-Encoding identity, gzip, which was not asked for."
        self.assert_says(twice, "body", detail)
