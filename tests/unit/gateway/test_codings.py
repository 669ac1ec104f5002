"""Replies whose body has a content coding: the response names it, or the caller is told why there is none."""

from __future__ import annotations

from provider_gateway.message.message import Message
from tests.support.api import KEY, APITestCase


class CodingTests(APITestCase):
    """Replies with ``content_encoding``, to callers with and without Accept-Encoding."""

    def test_accepted(self) -> None:
        """The codings are the response's, as they are spelled, if the caller accepts them: any without the header."""
        for coding, *accepted in (
            ("gzip",), ("GZIP",), ("x-gzip", "gzip"), ("gzip", "br, x-gzip"), ("gzip", "br", "gzip;q=0.5"),
            ("gzip", "*"), ("gzip, br",), ("br, gzip", "GZIP, deflate, br"), ("deflate", "*;q=0.1, gzip;q=0"),
            ("snappy",), ("snappy", "snappy"), ("Snappy, gzip", "gzip, SNAPPY;q=0.5"), ("snappy", "*"),
            ("snappy", "gzip;q=0, *"), ("snappy", "lz4;q=0, snappy, *"),
        ):  # fmt: skip
            headers = [f"Accept-Encoding: {each}" for each in accepted]
            response = self.answered(Message(b"\x1f\x8b", content_encoding=coding), KEY, *headers)
            self.assertEqual((response.status, response.body), (200, b"\x1f\x8b"), (coding, accepted))
            self.assertEqual(response.headers["content-encoding"], coding)

    def test_not_accepted(self) -> None:
        """A coding that the caller does not accept, or a value that is no coding, is answered with 502."""
        for coding, accepted in (
            ("gzip", ""), ("gzip", "br"), ("gzip", "identity"), ("gzip", "gzip;q=0"), ("gzip", "*;q=0"),
            ("gzip, br", "gzip"), ("gzip", "*, gzip;q=0.000"), ("gz ip", "*"), ("gzip\r\nX-Injected: 1", "*"),
            ("a;b", "*"), ("gr\u00fcn", "*"), ("snappy", "gzip"), ("snappy", "snappy;q=0, *"), ("snappy", "snappy;q=0"),
            ("snappy", "*;q=0, gzip"),
        ):  # fmt: skip
            response = self.answered(Message(b"1", content_encoding=coding), KEY, f"Accept-Encoding: {accepted}")
            self.assertEqual((response.status, response.problem["title"]), (502, "The model failed"), coding)
            self.assertEqual({"content-encoding", "x-injected"} & response.headers.keys(), set())

    def test_long(self) -> None:
        """Of a long Accept-Encoding only registered codings count: the rest is not kept for a waiting caller."""
        for coding, status in (("gzip", 200), ("snappy", 502), ("br", 502)):
            accept = f"Accept-Encoding: {'x' * 500}, snappy, gzip"
            response = self.answered(Message(b"1", content_encoding=coding), KEY, accept)
            self.assertEqual(response.status, status, coding)

    def test_none(self) -> None:
        """``identity``, an empty value, and what says of AMQP bodies that they have no coding, are none."""
        for coding in ("", "identity", " , Identity", "utf-8", "UTF-8", "8bit", "binary"):
            response = self.answered(Message(b"1", content_encoding=coding), KEY, "Accept-Encoding: identity")
            self.assertEqual((response.status, response.body), (200, b"1"), coding)
            self.assertNotIn("content-encoding", response.headers)

    def test_no_body(self) -> None:
        """A response without a body has no coding."""
        for status in (204, 205):
            response = self.answered(Message(b"", {"pg-status": status}, content_encoding="gzip"))
            self.assertEqual((response.status, "content-encoding" in response.headers), (status, False))

    def test_header_of_the_reply(self) -> None:
        """A header Content-Encoding of the reply counts, too: the seed's provider has it there. It is sent once."""
        response = self.answered(Message(b"1", {"Content-Encoding": "br"}))
        self.assertEqual((response.status, response.headers["content-encoding"]), (200, "br"))
        response = self.answered(Message(b"1", {"content-encoding": "br"}), KEY, "Accept-Encoding: gzip")
        self.assertEqual(response.status, 502)
