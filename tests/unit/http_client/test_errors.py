"""What a request fails with when the server's response cannot be used: errors of the HTTP client, and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import URI, ResponseFailed
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from provider_gateway.http_client.agent import PersistentAgent
from provider_gateway.http_client.body import CappedBody
from provider_gateway.http_client.errors import (
    BodyOverLimit,
    HeadTooLarge,
    InvalidResponse,
    ResponseCutOff,
    ResponseError,
    UnrequestedCoding,
)
from provider_gateway.http_client.response_reader import MAX_HEAD_BYTES
from tests.support.model_peer import ModelTransport, response

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"


@implementer(IAgentEndpointFactory)
class Endpoints:
    """Connects by TCP."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def endpointForURI(self, uri: URI) -> Any:
        return TCP4ClientEndpoint(self._reactor, uri.host.decode(), uri.port)


class ErrorsTests(SynchronousTestCase):
    """One request on a connection of its own."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        agent = PersistentAgent(self.reactor, Endpoints(self.reactor), connections=1, keep_alive=1)
        self.asking: Deferred[Any] = agent.request(b"GET", b"http://127.0.0.1/")
        self.transport = ModelTransport.accept(self.reactor.tcpClients[-1][2])

    def failure(self, kind: type[Exception], data: bytes = b"") -> Any:
        """What the request fails with, after some bytes."""
        if data:
            self.transport.respond(data)
        error = self.failureResultOf(self.asking).value
        self.assertIs(type(error), kind)
        self.assertIsInstance(error, ResponseError)
        self.assertTrue(self.transport.disconnecting)
        return error

    def body(self, head: bytes = HEAD, max_bytes: int = 100) -> Deferred[bytes]:
        """The body of a response, of which the head has arrived."""
        self.transport.respond(head)
        collector = CappedBody(max_bytes)
        self.successResultOf(self.asking).deliverBody(collector)
        return collector.done

    def test_invalid(self) -> None:
        """What is no HTTP is InvalidResponse."""
        self.failure(InvalidResponse, b"SSH-2.0-OpenSSH\r\n")

    def test_head_too_large(self) -> None:
        """A head over its limit is HeadTooLarge."""
        self.failure(HeadTooLarge, b"HTTP/1.1 200 OK\r\nX: " + MAX_HEAD_BYTES * b"x")

    def test_coding(self) -> None:
        """A content coding is UnrequestedCoding, with the bytes that name it, the status, and the headers."""
        error = self.failure(UnrequestedCoding, response(429, b"1", "Content-Encoding: GZIP, br", "Retry-After: 7"))
        self.assertEqual((error.codings, error.status), ([b"GZIP, br"], 429))
        self.assertEqual(error.headers.getRawHeaders(b"retry-after"), [b"7"])

    def test_cut_off(self) -> None:
        """A connection that ends before the headers is ResponseCutOff, with the reason; Twisted's agents call it so."""
        reason = Failure(ConnectionLost("reset"))
        self.transport.protocol.connectionLost(reason)
        error = self.failureResultOf(self.asking, ResponseCutOff).value
        self.assertIsInstance(error, ResponseFailed)
        self.assertEqual(error.reasons, [reason])

    def test_body_cut_off(self) -> None:
        """A body whose connection ends early fails with ResponseCutOff."""
        body = self.body(HEAD + b"12")
        self.transport.close(ConnectionDone())
        self.failureResultOf(body, ResponseCutOff)

    def test_body_invalid(self) -> None:
        """A body with a malformed chunk fails with InvalidResponse; the connection is dropped."""
        body = self.body(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.transport.respond(b"x\r\n")
        self.failureResultOf(body, InvalidResponse)
        self.assertTrue(self.transport.disconnecting)

    def test_body_over_limit(self) -> None:
        """A body over the collector's limit fails with BodyOverLimit, once; the connection is dropped."""
        body = self.body(HEAD + b"12", max_bytes=3)
        self.assertNoResult(body)
        self.transport.respond(b"34")
        self.assertEqual(self.failureResultOf(body, BodyOverLimit).value.max_bytes, 3)
        self.assertTrue(self.transport.disconnecting)
        self.transport.close()

    def test_body_cancelled(self) -> None:
        """A collector that is cancelled drops the connection."""
        body = self.body(HEAD + b"12")
        body.cancel()
        self.failureResultOf(body)
        self.assertTrue(self.transport.disconnecting)
        self.transport.close()
