"""The ready URL: what says that a model is ready, what does not, and what is logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError as Refused
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.model_url import parse_ready_url
from provider_gateway.model.client import model_client
from provider_gateway.model.readiness import Readiness
from tests.support.model_peer import ModelTransport, response
from tests.support.observability import collect_log

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNKED = b"HTTP/1.1 %d OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class ReadinessTests(SynchronousTestCase):
    """``Readiness`` on a reactor in memory; the test is the model."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        client = model_client(self.reactor, tls=None, connections=2)
        self.readiness = Readiness(self.reactor, client, parse_ready_url("http://127.0.0.1:8080/ready?key=hunter2"))

    def ask(self) -> Deferred[bool]:
        asking = Deferred.fromCoroutine(self.readiness.is_ready())
        self.reactor.advance(0)
        return asking

    def accept(self) -> ModelTransport:
        return ModelTransport.accept(self.reactor.tcpClients[-1][2])

    def answer(self, *segments: bytes, ends: Exception | None = None) -> bool:
        """What a question results in whose answer arrives on a new connection, which then ends or not."""
        self.reactor.advance(60)  # no connection is idle any more
        asking = self.ask()
        transport = self.accept()
        for segment in segments:
            transport.respond(segment)
        if ends is not None:
            transport.close(ends)
        return self.successResultOf(asking)

    def fail_to_connect(self, reason: Exception) -> Deferred[bool]:
        self.reactor.advance(60)
        asking = self.ask()
        self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(reason))
        return asking

    def test_request(self) -> None:
        """The question is a GET of the URL, query included, without a body."""
        self.ask()
        first, headers, body = self.accept().request()
        self.assertEqual((b"GET /ready?key=hunter2 HTTP/1.1", b""), (first, body))
        self.assertEqual([b"127.0.0.1:8080"], headers[b"host"])
        self.assertNotIn(b"content-length", headers)

    def test_statuses(self) -> None:
        """2xx is ready, whatever the body says; every other status is not, among them redirects."""
        for status, expected in (
            (200, True), (204, True), (299, True), (301, False), (307, False), (400, False), (404, False), (405, False),
            (429, False), (500, False), (503, False),
        ):  # fmt: skip
            body = b"" if status == 204 else b"not ready"
            self.assertEqual(expected, self.answer(response(status, body, "Location: http://other/")), status)
        self.assertEqual(11, len(self.reactor.tcpClients))

    def test_bodies(self) -> None:
        """The status decides, however the body ends: in pieces, cut off, malformed, or too large to be read."""
        for ends in (None, ConnectionDone(), ConnectionLost()):
            whole = (response(200, b"yes")[:-3], b"y", b"es")
            self.assertTrue(self.answer(*whole, ends=ends))
        self.assertTrue(self.answer(b"HTTP/1.0 200 OK\r\n\r\nyes", ends=ConnectionDone()))
        self.assertTrue(self.answer(CHUNKED % 200, b"3\r\nye", ends=ConnectionLost()))
        self.assertTrue(self.answer(CHUNKED % 200, b"x\r\n"))
        self.assertTrue(self.answer(response(200, 100_000 * b"x")))
        self.assertFalse(self.answer(CHUNKED % 503, b"3\r\nye", ends=ConnectionLost()))

    def test_no_answer(self) -> None:
        """No connection, and no HTTP, are not ready."""
        self.assertFalse(self.successResultOf(self.fail_to_connect(Refused())))
        self.assertFalse(self.answer(b"SSH-2.0-OpenSSH\r\n"))

    def test_asked_again(self) -> None:
        """After a connection that ends without an answer, the model is asked once more: it may have been an old one."""
        for data, end in ((b"", ConnectionDone()), (b"HTTP/1.1 200", ConnectionLost())):
            for again, expected in ((response(200), True), (response(503), False), (b"", False)):
                self.reactor.advance(60)
                asking = self.ask()
                first = self.accept()
                first.respond(data)
                first.close(end)
                self.assertNoResult(asking)
                second = self.accept()
                self.assertEqual(second.request()[0], b"GET /ready?key=hunter2 HTTP/1.1")
                second.respond(again)
                second.close(end)
                self.assertEqual(expected, self.successResultOf(asking))
        self.assertEqual(12, len(self.reactor.tcpClients))

    def test_time_limit(self) -> None:
        """After 5 s the model is not ready: while it connects, before its headers, and in its body."""
        begin: tuple[Callable[[], object], ...] = (
            lambda: None,
            self.accept,
            lambda: self.accept().respond(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ny"),
        )
        for each in begin:
            asking = self.ask()
            each()
            self.reactor.advance(4.9)
            self.assertNoResult(asking)
            self.reactor.advance(0.1)
            self.assertFalse(self.successResultOf(asking))
            self.assertEqual([], self.reactor.getDelayedCalls())

    def test_connection_used_again(self) -> None:
        """The next question goes out on the same connection, if the model leaves it open."""
        asking = self.ask()
        transport = self.accept()
        transport.respond(response(200, b"yes"))
        self.assertTrue(self.successResultOf(asking))
        asking = self.ask()
        transport.respond(response(503))
        self.assertFalse(self.successResultOf(asking))
        self.assertEqual(1, len(self.reactor.tcpClients))

    def test_cancelled(self) -> None:
        """A question that the caller cancels drops its connection, and its answer is not known."""
        for accept in (lambda: None, self.accept):
            asking = self.ask()
            accept()
            asking.cancel()
            self.failureResultOf(asking, CancelledError)
            self.assertEqual([], self.reactor.getDelayedCalls())

    def test_log(self) -> None:
        """Each change is one line with the reason; the query of the URL is not shown."""
        lines = collect_log(self)
        self.answer(response(200))
        for _ in range(3):
            self.answer(response(503))
        self.fail_to_connect(Refused("no"))
        for _ in range(2):
            self.answer(response(200))
        self.fail_to_connect(Refused("no"))
        url = "http://127.0.0.1:8080/ready?***"
        self.assertEqual(
            [
                f"The model is not ready by {url}: HTTP status 503",
                f"The model is ready by {url}",
                f"The model is not ready by {url}: Connection was refused by other side: no.",
            ],
            [formatEvent(line) for line in lines],
        )
