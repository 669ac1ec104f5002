"""What is told of a model's error body: its beginning, as safe text. Nothing is told of a result."""

from __future__ import annotations

import json
import time

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from provider_gateway.errors import ModelFailure
from provider_gateway.model.model_errors import MAX_BYTES, ModelErrors, secrets_in
from tests.support.model_peer import ModelTestCase, response

JSON = "application/json"
TOLD = (
    (JSON, b'{"error": "boom"}', '{"error": "boom"}'),
    ("application/problem+json; charset=utf-8", b"{}", "{}"),
    ("APPLICATION/JSON", b"[1]", "[1]"),
    ("text/plain", b"a\r\n\tb\x1b[31m\0\x7f", "a   b [31m"),
    ("text/html", "<h1>für</h1>".encode(), "<h1>für</h1>"),
    ("text/plain;charset=iso-8859-1", b"f\xfcr", "für"),
    ('text/plain; Charset="utf-16"', "für".encode("utf-16"), "für"),
    # No charset that is code, slow, or unknown.
    ("text/plain; charset=unicode_escape", rb"\x41", r"\x41"),
    ("text/plain; charset=zlib", b"x", "x"),
    ("text/plain; charset=iso-8859-99", b"x", "x"),
    ("text/plain; charset=", b"x", "x"),
    # Not UTF-8, and what would turn a line around, begin another one, or show nothing.
    ("text/plain", b"a\xffb", "a\ufffdb"),
    ("text/plain", "a\u202eb\u2028c\u200bd\ufeffe\U000e0041f".encode(), "a b c d e f"),
    ("text/plain", b"\xed\xa0\x80x", "\ufffd\ufffd\ufffdx"),
    # Without a type: text, if it looks like it.
    ("", b"boom\n", "boom"),
    ("", "für".encode(), "für"),
    ("", b"\x89PNG\r\n", ""),
    ("", b"a\0b", ""),
    ("", b"f\xfcr", ""),
    ("image/png", b"x", ""),
    ("application/octet-stream", b"x", ""),
    ("multipart/form-data", b"x", ""),
    ("json", b"x", ""),
    ("application/jsonp", b"x", ""),
    (JSON, b"", ""),
    (JSON, b" \n", ""),
)


def headers(content_type: str, **more: str) -> Headers:
    """The headers of a response; without a type if that is empty."""
    values = {"Content-Type": [content_type]} if content_type else {}
    return Headers({**values, **{name.replace("_", "-"): [value] for name, value in more.items()}})


class TextTests(SynchronousTestCase):
    """The text of a response."""

    def test_kinds(self) -> None:
        """Text and JSON are told, in any charset; control and format characters are blanks; other bodies are not."""
        for content_type, body, expected in TOLD:
            found = ModelErrors().of_response(headers(content_type), body)
            self.assertEqual(found, expected, (content_type, body))
            self.assertTrue(found.isprintable())

    def test_bounded(self) -> None:
        """At most 1,000 bytes of UTF-8 are told, whole characters, however the body is made."""
        for body, expected in (
            (1000 * b"x", 1000 * "x"),
            (10_000_000 * b"x", 1000 * "x"),
            (b"x" + 1000 * "ü".encode(), "x" + 499 * "ü"),
            (b"xx" + 1000 * "\U0001f407".encode(), "xx" + 249 * "\U0001f407"),
            (2000 * b"\xff", 333 * "\ufffd"),
        ):
            found = ModelErrors().of_response(headers("text/plain"), body)
            self.assertEqual(found, expected)
            self.assertLessEqual(len(found.encode()), MAX_BYTES)
        self.assertEqual(ModelErrors().of_text("\ud800" + 2000 * "ü"), 500 * "ü")

    def test_coded(self) -> None:
        """A body with a content coding is not told."""
        self.assertEqual(ModelErrors().of_response(headers(JSON, content_encoding="gzip"), b"x"), "")
        self.assertEqual(ModelErrors().of_response(headers(JSON, content_encoding="Identity"), b"x"), "x")

    def test_secrets(self) -> None:
        """What only the model may see is masked, though it is cut off at the end of what is told."""
        errors = ModelErrors(secrets=["", "hunter2", "hunter2-long"])
        for body, expected in (
            (b"got hunter2-long, hunter2", "got ***, ***"),
            (996 * b"x" + b"hunter2" + 2000 * b"y", 996 * "x" + "***y"),
            (200 * b"hunter2-long", 200 * "***"),
        ):
            self.assertEqual(errors.of_response(headers("text/plain"), body), expected)
        self.assertEqual(errors.of_text("hunter2"), "***")

    def test_secrets_in_json(self) -> None:
        """Secrets are masked in JSON, too, however that writes quotes, backslashes, slashes and other letters."""
        secret = 'tok/"en\\grün'
        errors = ModelErrors(secrets=[secret])
        for text in (
            json.dumps({"got": secret}),
            json.dumps({"got": secret}, ensure_ascii=False),
            json.dumps({"got": secret}).replace("/", "\\/"),
        ):
            self.assertEqual(errors.of_response(headers(JSON), text.encode()), '{"got": "***"}')

    def test_secrets_in_urls(self) -> None:
        """Of a URL, the query is secret, and its long values, also decoded; not the rest, nor short values."""
        for url, expected in (
            ("http://m/p", []),
            ("http://m/p?v=1&x", []),
            (
                "https://m?key=hunter2%2Bhunter2&v=1",
                ["key=hunter2%2Bhunter2&v=1", "hunter2%2Bhunter2", "hunter2+hunter2"],
            ),
            ("https://m?v=1&key=hunter2hunter2=", ["v=1&key=hunter2hunter2=", "hunter2hunter2="]),
        ):
            self.assertEqual(secrets_in(url), expected)

    def test_quick(self) -> None:
        """A body of many megabytes costs little, with secrets and any charset, too."""
        started = time.perf_counter()
        for charset in ("utf-8", "punycode", "idna"):
            ModelErrors(secrets=["hunter2"]).of_response(headers(f"text/plain; charset={charset}"), 5_000_000 * b"x-")
        self.assertLess(time.perf_counter() - started, 2)

    def test_switches(self) -> None:
        """Log and callers have a switch each. Without both, the body is not looked at."""
        for in_log, to_callers in ((True, False), (False, True), (True, True), (False, False)):
            errors = ModelErrors(in_log=in_log, to_callers=to_callers)
            text = errors.of_response(headers(JSON), b"boom")
            failure = errors.tell(ModelFailure("It failed.", "status"), text)
            self.assertEqual(failure.model_error, "boom" if in_log else "")
            self.assertEqual(failure.members, {"model_error": "boom"} if to_callers else {})
            self.assertEqual(errors.for_log(text), "boom" if in_log else "")
        self.assertEqual(ModelErrors(to_callers=True).tell(ModelFailure("It failed.", "status"), "").members, {})


class CallTests(ModelTestCase):
    """Calls of the model."""

    def test_failures(self) -> None:
        """Whatever status makes a failure, or a busy model: the failure has what the model says."""
        for status in (301, 408, 429, 500, 502, 503, 599):
            calling = self.answered(response(status, b"boom\n", "Content-Type: text/plain"))
            failure = self.failureResultOf(calling, ModelFailure).value
            self.assertEqual((failure.model_error, failure.members), ("boom", {}), status)
        calling = self.answered(response(500))
        self.assertEqual(self.failureResultOf(calling, ModelFailure).value.model_error, "")

    def test_results(self) -> None:
        """A 4xx has it, too; a 2xx never has."""
        for status, expected in ((200, ""), (201, ""), (299, ""), (400, "boom"), (404, "boom"), (422, "boom")):
            found = self.successResultOf(self.answered(response(status, b"boom", "Content-Type: text/plain")))
            self.assertEqual((found.status, found.body, found.model_error), (status, b"boom", expected))
