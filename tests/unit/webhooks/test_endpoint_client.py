"""One call of an endpoint, in memory: what is sent, and what each answer means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost, ConnectionRefusedError as TCPRefused
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.webhooks.endpoint_client import TIMEOUT, EndpointClient
from provider_gateway.webhooks.event import Event
from tests.support.model_peer import ModelTransport, response
from tests.unit.webhooks.base import KEY, new_endpoint, record

if TYPE_CHECKING:
    from provider_gateway.webhooks.endpoint_client import Answer


class CallTests(SynchronousTestCase):
    """The test is the endpoint."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.client = EndpointClient(self.reactor, new_endpoint(), lambda: 1_700_000_000.5, 10)
        self.event = Event.of(record())

    def call(self) -> Deferred[Answer]:
        calling = Deferred.fromCoroutine(self.client.call(self.event))
        self.reactor.advance(0)
        return calling

    def accept(self) -> ModelTransport:
        """Accept the newest connection."""
        host, port, factory, _, _ = self.reactor.tcpClients[-1]
        self.assertEqual((host, port), ("127.0.0.1", 8080))
        return ModelTransport.accept(factory)

    def answer(self, data: bytes) -> tuple[str, float | None]:
        calling = self.call()
        transport = self.accept()
        transport.respond(data)
        transport.close()
        answer = self.successResultOf(calling)
        return answer.result, answer.wait

    def test_request(self) -> None:
        """The body is posted as it is, with the three headers of Standard Webhooks, a type and our name."""
        self.call()
        first, headers, body = self.accept().request()
        self.assertEqual((b"POST /hook?token=hidden HTTP/1.1", self.event.body), (first, body))
        for name, value in self.event.headers((KEY,), 1_700_000_000.5).items():
            self.assertEqual([value.encode()], headers[name.lower().encode()])
        self.assertEqual([b"127.0.0.1:8080"], headers[b"host"])

    def test_statuses(self) -> None:
        """2xx ends it, 410 is the end of the endpoint, 3xx is a failure, and so is any other status."""
        for status, result in (
            (200, "delivered"), (202, "delivered"), (204, "delivered"), (299, "delivered"), (410, "gone"),
            (301, "redirect"), (302, "redirect"), (304, "redirect"), (307, "redirect"), (308, "redirect"),
            (400, "status"), (401, "status"), (404, "status"), (429, "status"), (500, "status"), (503, "status"),
        ):  # fmt: skip
            location = () if status == 204 else ("Location: http://127.0.0.1:9/",)
            data = response(status, b"" if status in (204, 304) else b"x", *location)
            self.assertEqual((result, None), self.answer(data), status)
        self.assertEqual({8080}, {port for _, port, *_ in self.reactor.tcpClients})

    def test_retry_after(self) -> None:
        """Retry-After of 429 and 503 is the time to wait; that of other answers means something else."""
        for status, expected in ((429, 40.0), (503, 40.0), (500, None), (301, None), (200, None)):
            self.assertEqual(expected, self.answer(response(status, b"", "Retry-After: 40"))[1], status)
        date = "Retry-After: Tue, 14 Nov 2023 22:14:20 GMT"
        self.assertEqual(59.5, self.answer(response(503, b"", date))[1])
        self.assertIsNone(self.answer(response(503, b"", "Retry-After: soon"))[1])

    def test_coded_body(self) -> None:
        """A body with a content coding, which nobody asked for, leaves the status as it is."""
        self.assertEqual(("delivered", None), self.answer(response(200, b"x", "Content-Encoding: gzip")))
        busy = response(503, b"x", "Content-Encoding: gzip", "Retry-After: 7")
        self.assertEqual(("status", 7.0), self.answer(busy))

    def test_no_http(self) -> None:
        """What is no HTTP, and a connection that ends before an answer, are failures of the connection."""
        for data in (b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nX: " + 70_000 * b"x", b""):
            self.assertEqual(("connection", None), self.answer(data))

    def test_not_connected(self) -> None:
        """A refused connection is a failure of the connection, with its reason."""
        calling = self.call()
        self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(TCPRefused()))
        answer = self.successResultOf(calling)
        self.assertEqual("connection", answer.result)
        self.assertIn("refused", answer.reason)

    def test_timeout(self) -> None:
        """The time limit is over connecting and headers together, however slowly these come."""
        for accepts in (False, True):
            calling = self.call()
            if accepts:
                transport = self.accept()
                for byte in b"HTTP/1.1 200":
                    transport.respond(bytes([byte]))
                    self.reactor.advance(1)
                self.assertNoResult(calling)
            self.reactor.advance(TIMEOUT)
            if accepts:
                self.assertTrue(transport.disconnecting or transport.disconnected)
            self.assertEqual("timeout", self.successResultOf(calling).result)
            self.assertEqual([], self.reactor.getDelayedCalls())

    def test_endless_body(self) -> None:
        """A body is read up to a limit, and for a short time; the status counts, and the connection is dropped."""
        for slowly in (True, False):
            calling = self.call()
            transport = self.accept()
            self.reactor.advance(TIMEOUT - 1)
            transport.respond(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            if slowly:
                for _ in range(3):
                    transport.respond(b"1\r\nx\r\n")
                    self.reactor.advance(1)
            else:
                for _ in range(5):
                    transport.respond(b"4000\r\n" + 0x4000 * b"x" + b"\r\n")
            self.assertEqual("delivered", self.successResultOf(calling).result)
            self.assertTrue(transport.disconnecting or transport.disconnected)

    def test_kept_connection(self) -> None:
        """Calls share a connection. One that the endpoint has closed meanwhile is replaced, and nothing fails."""
        calling = self.call()
        transport = self.accept()
        transport.respond(response(200, b"x"))
        self.successResultOf(calling)
        transport.clear()
        calling = self.call()
        self.assertEqual(1, len(self.reactor.tcpClients))
        self.assertEqual(self.event.body, transport.request()[2])
        transport.close(ConnectionLost())
        other = self.accept()
        self.assertEqual(self.event.body, other.request()[2])
        other.respond(response(200))
        self.assertEqual("delivered", self.successResultOf(calling).result)

    def test_cancel(self) -> None:
        """A cancelled call ends at once, in each of its states."""
        for accepts, begins in ((False, False), (True, False), (True, True)):
            calling = self.call()
            if accepts:
                transport = self.accept()
            if begins:
                transport.respond(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n1")
            calling.cancel()
            self.failureResultOf(calling, CancelledError)
            self.assertEqual([], self.reactor.getDelayedCalls())
