"""Calls of the model on a reactor in memory; the test is the model at the other end of the connection."""

from __future__ import annotations

from typing import Any, Self

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import ModelFailure
from provider_gateway.message.message import Message
from provider_gateway.model.client import model_client
from provider_gateway.model.model import Model, ModelResponse

MAX_BODY = 100


class ModelTransport(StringTransport):
    """The model's end of a connection."""

    no_delay = False

    def __init__(self, protocol: Any) -> None:
        super().__init__()
        self.protocol = protocol

    @classmethod
    def accept(cls, factory: Any) -> Self:
        """Accept the connection that a client wants to make."""
        transport = cls(factory.buildProtocol(None))
        transport.protocol.makeConnection(transport)
        return transport

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802 - Twisted's name
        self.no_delay = enabled

    def request(self) -> tuple[bytes, dict[bytes, list[bytes]], bytes]:
        """The request on the connection: first line, headers (names in lower case), body."""
        head, _, body = self.value().partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        headers: dict[bytes, list[bytes]] = {}
        for line in lines:
            name, _, value = line.partition(b": ")
            headers.setdefault(name.lower(), []).append(value)
        return first, headers, body

    def respond(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def close(self, reason: Exception | None = None) -> None:
        self.protocol.connectionLost(Failure(reason or ConnectionDone()))


def response(status: int, body: bytes = b"", *headers: str) -> bytes:
    """The bytes of a whole response."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class ModelTestCase(SynchronousTestCase):
    """A model client on a reactor in memory; the test is the model."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.model = self.new_model(connections=10)

    def new_model(self, *, connections: int) -> Model:
        """The model, with a client of its own.

        Args:
            connections: that are kept while they are idle.
        """
        client = model_client(self.reactor, tls=None, connections=connections)
        url = "http://127.0.0.1:8080/predict?v=1"
        return Model(self.reactor, client, url=url, max_body_bytes=MAX_BODY, wall_clock=self.reactor.seconds)

    def call(self, timeout: float = 30, **message: Any) -> Deferred[ModelResponse]:
        calling = Deferred.fromCoroutine(self.model.call(Message(**{"body": b"[1, 2]", **message}), "r1", timeout))
        self.reactor.advance(0)
        return calling

    def accept(self) -> ModelTransport:
        """Accept the newest connection."""
        host, port, factory, _, _ = self.reactor.tcpClients[-1]
        self.assertEqual((host, port), ("127.0.0.1", 8080))
        return ModelTransport.accept(factory)

    def answered(self, data: bytes) -> Deferred[ModelResponse]:
        calling = self.call()
        transport = self.accept()
        transport.respond(data)
        transport.close()
        return calling

    def assert_failure(self, calling: Deferred[ModelResponse], reason: str) -> ModelFailure:
        failure: ModelFailure = self.failureResultOf(calling, ModelFailure).value
        self.assertEqual(failure.reason, reason)
        return failure
