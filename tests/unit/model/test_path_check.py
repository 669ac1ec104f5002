"""What ``--check --connect`` tells of a model's path: by the answers of real servers to OPTIONS and GET."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from provider_gateway.config.model_url import parse_model_url
from provider_gateway.model.client import model_client
from provider_gateway.model.interface import Finding
from provider_gateway.model.path_check import PathCheck
from tests.support.model_peer import ModelTestCase, ModelTransport, response

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Name, and the answers to OPTIONS and GET: a status with ``Allow`` or ``Location``; None if it is not asked.
Answers = tuple[str, "tuple[int, str]", "tuple[int, str] | None"]
NOTHING = "there is nothing at its path"
NOT_POST = "and not POST"
POST = "answers (HTTP status {} to OPTIONS, POST is allowed)"
RIGHT: Sequence[tuple[Answers, str]] = (
    (("FastAPI, aiohttp, Django, Bottle", (405, "Allow: POST"), None), POST.format(405)),
    (("Flask", (200, "Allow: OPTIONS, POST"), None), POST.format(200)),
    (("in small letters", (204, "Allow: options,post"), None), POST.format(204)),
    (("Tornado", (405, ""), None), "answers (HTTP status 405 to OPTIONS)"),
    (("TorchServe, or a proxy for CORS", (200, ""), None), "answers (HTTP status 200 to OPTIONS)"),
    (("http.server", (501, ""), (501, "")), "answers (HTTP status 501 to GET)"),
    (("Twisted", (501, ""), (405, "Allow: POST")), "answers (HTTP status 405 to GET)"),
    (("a strict one", (400, ""), (405, "")), "answers (HTTP status 405 to GET)"),
    (("one that asks who we are", (401, ""), None), "answers (HTTP status 401 to OPTIONS)"),
    (("one that is not ready", (503, ""), None), "answers (HTTP status 503 to OPTIONS)"),
    (("one that redirects pages", (302, "Location: /login"), None), "answers (HTTP status 302 to OPTIONS)"),
    (("one that does not know OPTIONS", (404, ""), (405, "Allow: POST")), "answers (HTTP status 405 to GET)"),
    (("another one", (404, ""), (405, "")), "answers (HTTP status 405 to GET)"),
    (("one that takes GET, too", (404, ""), (200, "")), "answers (HTTP status 200 to GET)"),
    (("http.server with do_GET", (501, ""), (200, "")), "answers (HTTP status 200 to GET)"),
)
WRONG: Sequence[tuple[Answers, str]] = (
    (("a wrong path", (404, ""), (404, "")), NOTHING),
    (("http.server with do_GET", (501, ""), (404, "")), NOTHING),
    (("one that is gone", (404, ""), (410, "")), NOTHING),
    (("Flask, a page", (200, "Allow: GET, HEAD, OPTIONS"), None), "its path allows GET, HEAD, OPTIONS, and not POST"),
    (("FastAPI, PUT alone", (405, "Allow: PUT"), (405, "Allow: PUT")), NOT_POST),
    (("FastAPI, PUT alone, told once", (405, "Allow: PUT"), (405, "")), NOT_POST),
    (("one that tells by GET", (404, ""), (405, "Allow: PUT, DELETE")), "its path allows DELETE, PUT, and not POST"),
    (
        ("Starlette without a slash", (307, "Location: http://m/predict/?key=hunter2"), None),
        "redirects to 'http://m/predict/' (HTTP status 307)",
    ),
    (("Flask without a slash", (308, "Location: /predict/"), None), "redirects to '/predict/'"),
    (("https alone", (301, "Location: https://m/predict"), None), "redirects to"),
)


class PathTests(ModelTestCase):
    """The test is the model: it answers OPTIONS, then GET."""

    def setUp(self) -> None:
        super().setUp()
        client = model_client(self.reactor, tls=None, connections=1)
        url = parse_model_url("http://127.0.0.1:8080/predict?key=hunter2")
        self.check = PathCheck(self.reactor, client, url, {"Authorization": "Bearer hunter2"})

    def begin(self) -> tuple[Deferred[Finding], ModelTransport]:
        finding = Deferred.fromCoroutine(self.check.find())
        self.reactor.advance(0)
        return finding, self.accept()

    def found(self, answers: Answers) -> Finding:
        """What is found with these answers. Each is asked for once, with the headers of calls and without a body."""
        finding, transport = self.begin()
        for method, answer in zip((b"OPTIONS", b"GET"), answers[1:], strict=True):
            if answer is not None:
                first, headers, body = transport.request()
                self.assertEqual((first, body), (method + b" /predict?key=hunter2 HTTP/1.1", b""), answers)
                self.assertEqual(headers[b"authorization"], [b"Bearer hunter2"])
                transport.clear()
                transport.respond(response(answer[0], b"text", *([answer[1]] if answer[1] else [])))
        self.assertEqual(transport.value(), b"", answers)
        transport.close()
        return self.successResultOf(finding)

    def test_right(self) -> None:
        """A path that takes POST, or may, is right, by one request if that tells."""
        for answers, expected in RIGHT:
            self.assertEqual(self.found(answers), Finding(expected), answers)

    def test_wrong(self) -> None:
        """A path that no call can succeed at is wrong, and the line says how that is known. No key is in it."""
        for answers, expected in WRONG:
            text, is_wrong = self.found(answers)
            self.assertTrue(is_wrong, answers)
            self.assertIn(expected, text, answers)
            self.assertNotIn("hunter2", text)
            self.assertTrue(text.isprintable())

    def test_open(self) -> None:
        """FastAPI names one route's methods if a path has several. That is no failure, but the line says so."""
        text, is_wrong = self.found(("GET and POST in FastAPI", (405, "Allow: GET"), (200, "")))
        self.assertFalse(is_wrong)
        self.assertIn("answers (HTTP status 200 to GET), and does not name POST as allowed, but GET", text)

    def test_odd(self) -> None:
        """A path for which OPTIONS names methods exists, whatever GET says."""
        self.assertFalse(self.found(("odd", (405, "Allow: GET"), (404, ""))).is_wrong)

    def test_closes(self) -> None:
        """A server that answers OPTIONS by closing the connection is asked by GET."""
        finding, transport = self.begin()
        transport.close()
        other = self.accept()
        self.assertEqual(other.request()[0], b"GET /predict?key=hunter2 HTTP/1.1")
        other.respond(response(405))
        self.assertEqual(self.successResultOf(finding), Finding("answers (HTTP status 405 to GET)"))

    def test_no_http(self) -> None:
        """What speaks no HTTP is wrong."""
        finding, transport = self.begin()
        for each in (transport, None):
            (each or self.accept()).respond(b"SSH-2.0-OpenSSH\r\n")
        self.assertEqual(self.successResultOf(finding), Finding("no valid HTTP (InvalidResponse)", is_wrong=True))

    def test_hangs(self) -> None:
        """What does not answer within 5 s is wrong."""
        finding, _ = self.begin()
        self.reactor.advance(4.9)
        self.assertNoResult(finding)
        self.reactor.advance(0.1)
        self.assertEqual(self.successResultOf(finding), Finding("no answer within 5 s", is_wrong=True))

    def test_large_body(self) -> None:
        """A body of any size is not waited for."""
        finding, transport = self.begin()
        transport.respond(b"HTTP/1.1 405 No\r\nAllow: POST\r\nContent-Length: 1000000\r\n\r\n" + 100_000 * b"x")
        self.assertFalse(self.successResultOf(finding).is_wrong)
