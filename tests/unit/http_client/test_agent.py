"""The agent, used by treq's own client in ways that the model's calls do not need."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from treq.client import HTTPClient
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectionDone, DNSLookupError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import URI, ResponseDone
from twisted.web.http import PotentialDataLoss

from provider_gateway.http_client.agent import JOINED, PersistentAgent
from provider_gateway.http_client.connection import PIECE
from provider_gateway.http_client.errors import ResponseCutOff
from provider_gateway.model.client import ModelEndpoints
from tests.support.model_peer import ModelTestCase, ModelTransport, response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred


class Collector(Protocol):
    """Collects a body, and the type of the reason that ended it."""

    def __init__(self) -> None:
        self.data = b""
        self.end: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008 - as Twisted's own
        self.end = reason.type


class ClientTests(ModelTestCase):
    """treq's other calls work with our agent."""

    def setUp(self) -> None:
        super().setUp()
        tls: Any = None
        self.agent = PersistentAgent(self.reactor, ModelEndpoints(self.reactor, tls), connections=10, keep_alive=25)
        as_it_is: Any = bytes  # the agent takes bytes
        self.client = HTTPClient(self.agent, data_to_body_producer=as_it_is)

    def get(self, url: str = "http://127.0.0.1:8080/") -> tuple[Deferred[Any], ModelTransport]:
        getting = self.client.get(url, allow_redirects=False, unbuffered=True, reactor=self.reactor)
        self.reactor.advance(0)
        return getting, self.accept()

    def test_get(self) -> None:
        """A GET has no body, no Content-Length, and each header once."""
        getting, transport = self.get()
        first, headers, body = transport.request()
        self.assertEqual((first, body), (b"GET / HTTP/1.1", b""))
        self.assertEqual(headers, {b"host": [b"127.0.0.1:8080"], b"accept-encoding": [b"identity"]})
        transport.respond(response(200, b"1"))
        got = self.successResultOf(getting)
        self.assertEqual((got.code, got.length, self.successResultOf(got.content())), (200, 1, b"1"))

    def test_given_headers(self) -> None:
        """Headers that are given are sent, except for those that the agent writes itself."""
        given = {"X-A": ["1", "2"], "Host": "elsewhere", "Content-Length": "7", "Accept-Encoding": "br"}
        self.client.post("http://127.0.0.1:8080/", data=b"12", headers=given, reactor=self.reactor)
        self.reactor.advance(0)
        expected = {b"x-a": [b"1", b"2"], b"host": [b"127.0.0.1:8080"], b"content-length": [b"2"]}
        self.assertEqual(self.accept().request()[1], {**expected, b"accept-encoding": [b"identity"]})

    def test_empty_post(self) -> None:
        """A POST without a body has a Content-Length of 0."""
        self.client.post("http://127.0.0.1:8080/", reactor=self.reactor)
        self.reactor.advance(0)
        self.assertEqual(self.accept().request()[1][b"content-length"], [b"0"])

    def large_post(self, body: bytes) -> tuple[Deferred[Any], ModelTransport]:
        """A POST whose connection takes one write at a time."""
        posting = self.client.post("http://127.0.0.1:8080/", data=body, reactor=self.reactor, unbuffered=True)
        self.reactor.advance(0)
        transport = self.accept()
        return posting, transport

    def test_large_body(self) -> None:
        """A large body is written in pieces, each when the transport has room for it, and is sent whole."""
        body = bytes(range(256)) * 2000
        writes: list[int] = []

        def write(transport: ModelTransport, pieces: Sequence[bytes]) -> None:
            writes.append(len(pieces[-1]))
            StringTransport.write(transport, b"".join(pieces))
            transport.producer.pauseProducing()

        self.patch(ModelTransport, "writeSequence", write)
        posting, transport = self.large_post(body)
        while len(transport.request()[2]) < len(body):
            count = len(writes)
            transport.producer.resumeProducing()
            self.assertEqual(count + 1, len(writes))
        self.assertEqual(
            (body, [b"%d" % len(body)]), (transport.request()[2], transport.request()[1][b"content-length"])
        )
        self.assertLessEqual(max(writes), PIECE)
        transport.producer.resumeProducing()
        transport.respond(response(200, b"1"))
        self.assertEqual(200, self.successResultOf(posting).code)
        self.assertFalse(transport.disconnecting or transport.disconnected)

    def test_large_body_is_forgotten(self) -> None:
        """An idle connection holds nothing of the body that was sent on it."""
        for size in (JOINED + 1, PIECE + 1):
            self.setUp()
            body = bytes(size)
            held = sys.getrefcount(body)
            posting, transport = self.large_post(body)
            self.assertEqual(size, len(transport.request()[2]))
            transport.respond(response(200, b"1"))
            self.assertEqual(200, self.successResultOf(posting).code)
            del posting
            self.assertEqual(held, sys.getrefcount(body))

    def test_answered_early(self) -> None:
        """If the response is complete before the body is sent, the connection is dropped, and no more is written."""
        self.patch(ModelTransport, "writeSequence", lambda transport, _: transport.producer.pauseProducing())
        posting, transport = self.large_post(bytes(3 * PIECE))
        transport.respond(response(413, b"1"))
        self.assertEqual(413, self.successResultOf(posting).code)
        self.assertTrue(transport.disconnected)
        for name in ("write", "writeSequence"):
            self.patch(ModelTransport, name, lambda *_: self.fail("written after the end"))
        transport.producer.resumeProducing()

    def test_unread(self) -> None:
        """A body that nobody reads pauses the connection; reading resumes it without a gap."""
        getting, transport = self.get()
        transport.respond(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n12")
        got = self.successResultOf(getting)
        self.assertEqual(transport.producerState, "paused")
        collector = Collector()
        got.deliverBody(collector)
        self.assertEqual((transport.producerState, collector.data), ("producing", b"12"))
        transport.respond(b"34")
        self.assertEqual((collector.data, collector.end), (b"1234", ResponseDone))

    def test_until_the_end(self) -> None:
        """A body without a length ends with PotentialDataLoss: it may be incomplete."""
        getting, transport = self.get()
        transport.respond(b"HTTP/1.1 200 OK\r\n\r\n12")
        collector = Collector()
        self.successResultOf(getting).deliverBody(collector)
        transport.close()
        self.assertEqual((collector.data, collector.end), (b"12", PotentialDataLoss))

    def test_late_reader(self) -> None:
        """The reader of a complete response cannot close its connection, which may serve another request."""
        getting, transport = self.get()
        transport.respond(response(200, b"1"))
        collector = Collector()
        self.successResultOf(getting).deliverBody(collector)
        collector.transport.loseConnection()
        self.assertFalse(transport.disconnecting)

    def test_reader_that_has_enough(self) -> None:
        """A reader that closes the connection gets no more of the body, although some may still arrive."""
        getting, transport = self.get()
        transport.respond(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n12")
        collector = Collector()
        self.successResultOf(getting).deliverBody(collector)
        collector.transport.loseConnection()
        transport.respond(b"34")
        self.assertEqual((transport.disconnecting, collector.data, collector.end), (True, b"12", None))
        transport.close()
        self.assertIs(collector.end, ResponseCutOff)

    def test_urls(self) -> None:
        """The Host header names the port unless it is the scheme's default; an IPv6 address is in brackets."""
        agent = PersistentAgent(self.reactor, ModelEndpoints(self.reactor, None), connections=1, keep_alive=1)
        for url, host, port in (
            (b"http://127.0.0.1/", b"127.0.0.1", 80),
            (b"http://127.0.0.1:81/", b"127.0.0.1:81", 81),
            (b"http://[::1]:82/", b"[::1]:82", 82),
        ):
            agent.request(b"GET", url)
            self.reactor.advance(0)
            _, found, factory, _, _ = self.reactor.tcpClients[-1]
            transport = ModelTransport(factory.buildProtocol(None))
            transport.protocol.makeConnection(transport)
            self.assertEqual((found, transport.request()[1][b"host"]), (port, [host]))
        self.assertRaises(ValueError, agent.request, b"GET", b"http://127.0.0.1/a b")

    def test_addresses(self) -> None:
        """Addresses are connected to without the resolver; names, with underscores too, are looked up."""
        endpoints = ModelEndpoints(self.reactor, None)
        for url, kind in ((b"http://127.0.0.1:80/", TCP4ClientEndpoint), (b"http://[::1]/", TCP6ClientEndpoint)):
            self.assertIsInstance(endpoints.endpointForURI(URI.fromBytes(url)), kind)
        looked_up: list[str] = []

        def resolve(receiver: Any, name: str, *_: Any) -> None:
            looked_up.append(name)
            receiver.resolutionBegan(None)
            receiver.resolutionComplete()

        self.patch(self.reactor.nameResolver, "resolveHostName", resolve)
        for url in (b"http://model:80/", b"http://1.2.3.example/", b"http://ml_model/"):
            connecting = endpoints.endpointForURI(URI.fromBytes(url)).connect(Factory())
            self.assertIn(looked_up[-1], str(self.failureResultOf(connecting, DNSLookupError).value))
        self.assertEqual(["model", "1.2.3.example", "ml_model"], looked_up)
