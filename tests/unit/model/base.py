"""The base of tests with a call of the model that is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.model_peer import ModelTestCase, ModelTransport, response

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from provider_gateway.model.model import ModelResponse


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class ConnectionTestCase(ModelTestCase):
    """A call is under way on the first connection."""

    def setUp(self) -> None:
        super().setUp()
        self.calling, self.transport = self.begin()

    def begin(self) -> tuple[Deferred[ModelResponse], ModelTransport]:
        """Begin a call, on a new connection."""
        calling = self.call()
        return calling, self.accept()

    def goes_on(self) -> bool:
        """True if the next call goes out on the same connection, and its response arrives there."""
        connections = len(self.reactor.tcpClients)
        self.transport.clear()
        calling = self.call()
        if len(self.reactor.tcpClients) > connections:
            self.assertEqual(self.transport.value(), b"")
            return False
        self.assertEqual(self.transport.request()[0], b"POST /predict?v=1 HTTP/1.1")
        self.transport.respond(response(200, b"next"))
        self.assertEqual(self.successResultOf(calling).body, b"next")
        return True
