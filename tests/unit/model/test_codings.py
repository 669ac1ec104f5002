"""Answers with content codings: those that a message asks for are handed on as they are, others are failures."""

from __future__ import annotations

import gzip
from typing import Any

from tests.support.model_peer import ModelTestCase, response

ASKED = "pg-accept-encoding"


class AskedForTests(ModelTestCase):
    """Messages with ``pg-accept-encoding``."""

    def asked(self, value: Any) -> list[bytes]:
        """What the model is asked for."""
        self.call(headers={ASKED: value})
        return self.accept().request()[1][b"accept-encoding"]

    def test_asked(self) -> None:
        """The model is asked for these codings, by their usual names and once, or for none."""
        for value, asked in (
            ("gzip", b"gzip"), ("GZIP, br", b"gzip, br"), ("x-gzip,gzip", b"gzip"), (" ,zstd", b"zstd"),
            ("identity, snappy", b"snappy"),
        ):  # fmt: skip
            self.assertEqual(self.asked(value), [asked])

    def test_nothing_asked(self) -> None:
        """What is no coding asks for nothing: it is no text, has a weight or a line end, stands for any, or is long."""
        for value in ("", "identity", "*", "gzip;q=1", "gzip\r\nX-Injected: 1", "gz ip", 7, b"gzip", None, ["gzip"]):
            self.assertEqual(self.asked(value), [b"identity"])
        self.assertEqual(self.asked(", ".join(f"gzip{each}" for each in range(30))), [b"identity"])
        self.assertEqual(self.asked("gzip, \xfc"), [b"gzip"])

    def test_handed_on(self) -> None:
        """The body is handed on byte for byte, decoded or not decodable, with its coding as the model spells it."""
        for body in (gzip.compress(b"[1]"), b"no gzip", b""):
            for coding, found in (
                ("gzip", "gzip"), ("GZip", "GZip"), ("x-gzip", "x-gzip"), ("br, gzip", "br, gzip"),
                ("identity, br", "br"), ("br\r\nContent-Encoding: gzip", "br, gzip"),
            ):  # fmt: skip
                calling = self.call(headers={ASKED: "gzip, br"})
                self.accept().respond(response(200, body, f"Content-Encoding: {coding}", "X-A: 1", "Content-Type: a/b"))
                answer = self.successResultOf(calling)
                self.assertEqual((answer.body, answer.content_encoding), (body, found))
                self.assertEqual((answer.content_type, answer.headers), ("a/b", {"X-A": "1"}))
                self.reactor.advance(60)

    def test_not_asked(self) -> None:
        """Another coding is a failure, also beside one that was asked for."""
        for asked, coding in (
            ("gzip", "br"),
            ("gzip", "gzip, br"),
            ("br", "gzip"),
            ("*", "gzip"),
            ("gzip", "gzip;q=1"),
        ):
            calling = self.call(headers={ASKED: asked})
            self.accept().respond(response(200, b"1", f"Content-Encoding: {coding}"))
            failure = self.assert_failure(calling, "body")
            self.assertIn("was not asked for", failure.detail)

    def test_none(self) -> None:
        """A model need not use a coding."""
        for headers in ((), ("Content-Encoding: identity",), ("Content-Encoding:",)):
            calling = self.call(headers={ASKED: "gzip"})
            self.accept().respond(response(200, b"[1]", *headers))
            self.assertEqual(self.successResultOf(calling).content_encoding, None)
            self.reactor.advance(60)

    def test_next_call(self) -> None:
        """The next call on the connection asks for itself."""
        calling = self.call(headers={ASKED: "gzip"})
        transport = self.accept()
        transport.respond(response(200, b"1", "Content-Encoding: gzip"))
        self.successResultOf(calling)
        transport.clear()
        calling = self.call()
        self.assertEqual(transport.request()[1][b"accept-encoding"], [b"identity"])
        transport.respond(response(200, b"1", "Content-Encoding: gzip"))
        self.assert_failure(calling, "body")

    def test_statuses(self) -> None:
        """A rejection may be coded, too. A failure stays one. Neither is read for its error text."""
        for status in (404, 500):
            calling = self.call(headers={ASKED: "gzip"})
            self.accept().respond(response(status, b"1", "Content-Encoding: gzip", "Content-Type: text/plain"))
            if status == 404:
                answer = self.successResultOf(calling)
                self.assertEqual((answer.status, answer.content_encoding, answer.model_error), (404, "gzip", ""))
            else:
                self.assertEqual(self.assert_failure(calling, "status").model_error, "")
            self.reactor.advance(60)

    def test_too_long(self) -> None:
        """Codings that do not fit a message are a failure."""
        calling = self.call(headers={ASKED: "gzip"})
        self.accept().respond(response(200, b"1", f"Content-Encoding: {', '.join(['gzip'] * 50)}"))
        self.assert_failure(calling, "body")
