"""Routes of the table: they answer and fail like routes that Klein matches."""

from __future__ import annotations

import gc
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from werkzeug.exceptions import HTTPException

from provider_gateway.config.limits import Limits
from provider_gateway.http_server.app import App, TableResource
from provider_gateway.http_server.problems import with_length
from provider_gateway.http_server.site import GatewaySite
from tests.support.http_client import Client


class Service:
    """Some routes."""

    app = App()

    def __init__(self) -> None:
        self.waiting: list[Deferred[bytes]] = []
        self.failures: list[Any] = []
        self.ends: list[str] = []
        self.is_broken = False

    @app.route("/now", methods=["GET"])
    def now(self, request: Any) -> bytes:
        return with_length(request, "text/plain", b"now")

    @app.route("/later", methods=["POST"])
    async def later(self, request: Any) -> bytes:
        self.waiting.append(Deferred())
        try:
            body = await self.waiting[-1]
        finally:
            self.ends.append(request.method.decode())
            if self.is_broken:
                raise ZeroDivisionError
        return with_length(request, "text/plain", body)

    @app.route("/<word>", methods=["PUT"])
    def word(self, request: Any, word: str) -> bytes:
        return with_length(request, "text/plain", word.encode())

    @app.route("/fail", methods=["POST"])
    def fail(self, request: Any) -> bytes:
        raise KeyError(request.method)

    @app.route("/odd", methods=["POST"])
    def odd(self, request: Any) -> bytes:
        raise ZeroDivisionError

    @app.handle_errors(HTTPException, KeyError, ValueError)
    def problem(self, request: Any, failure: Any) -> bytes:
        self.failures.append(failure.type)
        request.setResponseCode(418)
        if failure.check(ValueError):
            raise RuntimeError
        return with_length(request, "text/plain", b"sorry")


class TableTests(SynchronousTestCase):
    """An application behind a site."""

    def setUp(self) -> None:
        self.service = Service()
        self.matched: list[bytes] = []
        resource = self.service.app.resource()
        assert isinstance(resource, TableResource)
        # Klein begins to match a request here.
        klein = super(TableResource, resource).render
        self.patch(
            TableResource.__mro__[1],
            "render",
            lambda _, request: self.matched.append(request.path) or klein(request),
        )
        self.site = GatewaySite(resource, Clock(), Limits())

    def ask(self, method: str, path: str) -> Client:
        client = Client(self.site)
        client.request(method, path)
        return client

    def answer(self, method: str, path: str) -> tuple[int, bytes]:
        response = self.ask(method, path).response()
        return response.status, response.body

    def test_at_once_and_later(self) -> None:
        """A route without parameters is found in the table, whether it returns bytes or a Deferred."""
        self.assertEqual((200, b"now"), self.answer("GET", "/now"))
        self.assertEqual((200, b"now"), self.answer("GET", "/now?a=b"))
        client = self.ask("POST", "/later")
        self.assertEqual([], client.responses())
        self.service.waiting[0].callback(b"late")
        self.assertEqual((200, b"late"), (client.response().status, client.response().body))
        self.assertEqual([], self.matched)

    def test_klein(self) -> None:
        """Klein serves all other requests: parameters, other paths, other methods, encoded paths."""
        self.assertEqual((200, b"word"), self.answer("PUT", "/word"))
        self.assertEqual((200, b"now"), self.answer("GET", "/%6eow"))
        self.assertEqual([418, 418], [self.answer(*each)[0] for each in (("GET", "/none"), ("PUT", "/none/none"))])
        self.assertEqual([b"/word", b"/%6eow", b"/none", b"/none/none"], self.matched)

    def test_head(self) -> None:
        """HEAD is answered like GET, without the body."""
        client = self.ask("HEAD", "/now")
        head, _, body = client.value().partition(b"\r\n\r\n")
        self.assertIn(b"\r\nContent-Length: 3", head)
        self.assertEqual(b"", body)

    def test_errors(self) -> None:
        """The error function for a failure makes the response, whether it fails at once or later."""
        self.assertEqual((418, b"sorry"), self.answer("POST", "/fail"))
        client = self.ask("POST", "/later")
        self.service.waiting[0].errback(KeyError("x"))
        self.assertEqual((418, b"sorry"), (client.response().status, client.response().body))
        self.assertEqual([KeyError, KeyError], self.service.failures)

    def test_errors_without_a_function(self) -> None:
        """If there is no error function, or it fails, the response is a 500 without details; the failure is logged."""
        self.assertEqual(500, self.answer("POST", "/odd")[0])
        client = self.ask("POST", "/later")
        self.service.waiting[0].errback(ValueError("secret"))
        self.assertEqual(500, client.response().status)
        self.assertNotIn(b"secret", client.value())
        logged = [each.type for each in self.flushLoggedErrors()]
        self.assertEqual([ZeroDivisionError, RuntimeError], logged)

    def test_client_that_leaves(self) -> None:
        """A route is cancelled if its client leaves; nothing is sent or logged."""
        client = self.ask("POST", "/later")
        client.leave()
        self.assertEqual((["POST"], []), (self.service.ends, self.service.failures))
        self.assertEqual([], self.flushLoggedErrors())

    def test_failure_after_the_client_has_left(self) -> None:
        """A route that fails with another error when it is cancelled is logged."""
        client = self.ask("POST", "/later")
        self.service.is_broken = True
        client.leave()
        self.assertEqual([ZeroDivisionError], [each.type for each in self.flushLoggedErrors()])
        self.assertEqual([], client.responses())

    def test_nothing_for_the_collector(self) -> None:
        """A request leaves no reference cycles behind."""
        client = Client(self.site)

        def request() -> None:
            client.post("/later")
            self.service.waiting.pop().callback(b"late")

        for _ in range(3):
            request()
        while gc.collect():
            pass  # what other tests have left may leave something itself
        gc.disable()
        try:
            for _ in range(10):
                request()
            self.assertEqual(0, gc.collect())
        finally:
            gc.enable()
