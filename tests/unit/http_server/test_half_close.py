"""Half-close: a client that sends no more gets its response, or is gone; over TCP alone and over TLS."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from provider_gateway.config.limits import Limits
from provider_gateway.config.settings import Settings
from provider_gateway.http_server import channel
from provider_gateway.http_server.app import App
from provider_gateway.http_server.problems import with_length
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.net.tls_transport import ServerFactory
from tests.support.certificates import SERVER, authority, local_names, pem
from tests.support.tls_files import server_tls
from tests.unit.http_server.base import LimitsTestCase

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.http_server.request import BoundedRequest

reactor: Any = global_reactor
GET = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1"
SLOW = b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
#: Seconds that a client waits for anything.
PATIENCE = 10


class StatesTests(LimitsTestCase):
    """What a half-close does in each state of a connection."""

    def test_nothing_to_answer(self) -> None:
        """Without a whole request the connection is closed, and nothing is answered."""
        for sent in (b"", b"P", SLOW[:-2], POST[:-1]):
            (client,) = self.clients(1)
            client.send(sent)
            client.protocol.readConnectionLost()
            self.assertEqual((b"", True), (client.value(), client.disconnecting), sent)
            client.leave()

    def test_room_again(self) -> None:
        """An idle client that half-closes its connection makes room for another one at once, and only once."""
        for connect in (self.handshaken, lambda: self.clients(1)[0]):
            clients = [connect(), self.handshaken("b"), self.handshaken("c")]
            clients[0].protocol.readConnectionLost()
            clients.append(connect())
            clients[0].leave()
            self.assertEqual([False] * 4, [each.aborted for each in clients])
            for client in clients[1:]:
                client.leave()
            self.assertEqual((set(), [], []), (self.site.channels, self.clock.getDelayedCalls(), self.dropped))

    def test_rejected(self) -> None:
        """The connection of a rejected client is closed: there is nothing to wait for."""
        (client,) = self.clients(1)
        client.send(b"nonsense\r\n")
        self.assertFalse(client.disconnecting)
        client.protocol.readConnectionLost()
        self.assertEqual(([400], True), (self.statuses(client), client.disconnecting))

    def test_all_that_was_sent(self) -> None:
        """Whole requests are answered, in their order; the connection is closed behind the last response."""
        (client,) = self.clients(1)
        client.send(SLOW + POST + POST[:20])
        client.protocol.readConnectionLost()
        self.assertEqual((b"", False), (client.value(), client.disconnecting))
        self.waiting[0].callback(b"slow")
        self.assertEqual(([200, 200], True), (self.statuses(client), client.disconnecting))

    def test_client_that_does_not_read(self) -> None:
        """A request behind a response that the client has not read is served once the client has read it."""
        (client,) = self.clients(1)
        client.send(SLOW)
        client.protocol.pauseProducing()
        self.waiting[0].callback(b"slow")
        client.send(POST)
        client.protocol.readConnectionLost()
        self.assertEqual(([200], False), (self.statuses(client), client.disconnecting))
        client.protocol.resumeProducing()
        self.assertEqual(([200, 200], True), (self.statuses(client), client.disconnecting))

    def test_asked(self) -> None:
        """Over TCP alone, a client that waits is asked twice whether it is there; not with HTTP/1.0, nor over TLS."""
        old = SLOW.replace(b"HTTP/1.1", b"HTTP/1.0")
        for is_secure, sent, asked in ((False, SLOW, CONTINUE), (False, old, b""), (True, SLOW, b"")):
            client = self.handshaken() if is_secure else self.clients(1)[0]
            client.send(sent)
            client.protocol.readConnectionLost()
            for times in (0, 1, 2, 2, 2):
                self.assertEqual(times * asked, client.value())
                self.clock.advance(1)
            self.waiting.pop().callback(b"slow")
            self.assertIn(b" 200 OK\r\n", client.value())
            client.leave()
            self.assertEqual([], self.clock.getDelayedCalls())


class Slow:
    """Answers a request when the test says so.

    Attributes:
        asked: fires when there is a request.
        answer: is its response.
        cancelled: fires when the request is cancelled.
    """

    app = App()

    def __init__(self) -> None:
        self.asked: Deferred[None] = Deferred()
        self.cancelled: Deferred[None] = Deferred()
        self.answer: Deferred[bytes] = Deferred(lambda _: self.cancelled.callback(None))

    @app.route("/slow", methods=["GET"])
    async def slow(self, request: Any) -> bytes:
        self.asked.callback(None)
        return with_length(request, "text/plain", await self.answer)


class SocketsTestCase(TestCase):
    """A site on a real socket, and a client whose calls that wait are made in a thread."""

    timeout = 2 * PATIENCE

    def setUp(self) -> None:
        self.patch(channel, "_ASK_AFTER", (0.1, 0.2))
        self.slow = Slow()
        self.codes: list[int] = []
        self.site = GatewaySite(self.slow.app.resource(), reactor, Limits(), self.finished)
        self.port: Any = reactor.listenTCP(0, self.factory(), interface="127.0.0.1")
        self.addCleanup(self.stop)

    def factory(self) -> Any:
        """What listens."""
        return self.site

    def finished(self, request: BoundedRequest) -> None:
        self.codes.append(request.code)

    async def stop(self) -> None:
        await self.port.stopListening()
        await self.site.close_connections()

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port.getHost().port), PATIENCE)
        self.addCleanup(client.close)
        return client

    async def assert_answered(self, read: Callable[[], bytes], interim: bytes = b"") -> None:
        """The response reaches the client, behind an interim response, and then the end of the connection."""
        reactor.callLater(0.5, self.slow.answer.callback, b"answer")
        received = await deferToThread(read)
        self.assertRegex(received, rb"(?s)\A%sHTTP/1\.[01] 200 OK\r\n.*\r\n\r\nanswer\Z" % interim)
        self.assertEqual([200], self.codes)

    async def assert_gone(self) -> None:
        """The request is cancelled, and recorded with status 499."""
        await self.slow.cancelled
        self.assertEqual([499], self.codes)


class TCPTests(SocketsTestCase):
    """Without TLS."""

    async def begin(self, request: bytes = GET) -> socket.socket:
        """A client whose request is being served."""
        client = self.connect()
        client.sendall(request)
        await self.slow.asked
        return client

    def read(self, client: socket.socket) -> bytes:
        return b"".join(iter(lambda: client.recv(1000), b""))

    async def test_half_close(self) -> None:
        """A client that has sent FIN, and reads, gets two interim responses and its response."""
        client = await self.begin()
        client.shutdown(socket.SHUT_WR)
        await self.assert_answered(lambda: self.read(client), 2 * CONTINUE)

    async def test_half_close_of_http_1_0(self) -> None:
        """HTTP/1.0 knows no interim responses: the client gets its response alone."""
        client = await self.begin(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
        client.shutdown(socket.SHUT_WR)
        await self.assert_answered(lambda: self.read(client))

    async def test_gone(self) -> None:
        """A client that has closed its socket is gone."""
        (await self.begin()).close()
        await self.assert_gone()

    async def test_reset(self) -> None:
        """A client that resets its connection is gone."""
        client = await self.begin()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        await self.assert_gone()

    async def test_gone_after_a_half_close(self) -> None:
        """A client that ends its side first, and closes its socket soon after, is gone."""
        client = await self.begin()
        client.shutdown(socket.SHUT_WR)
        reactor.callLater(0.15, client.close)
        await self.assert_gone()


class TLSClient:
    """A TLS client on a socket, whose two ends can be closed one by one."""

    def __init__(self, context: ssl.SSLContext, connection: socket.socket) -> None:
        self._connection = connection
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    def _do(self, call: Callable[[], Any]) -> Any:
        """Make a call of TLS, with as much traffic as it takes."""
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                self.flush()
                data = self._connection.recv(65_536)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()

    def flush(self) -> None:
        """Send what TLS has to send."""
        self._connection.sendall(self._outgoing.read())

    def send(self, data: bytes) -> None:
        """Shake hands, and send some bytes."""
        self._do(self._tls.do_handshake)
        self._tls.write(data)
        self.flush()

    def end(self) -> None:
        """Send ``close_notify``."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self.flush()

    def read(self) -> bytes:
        """Read until the server has sent ``close_notify``, too."""
        received = b""
        with contextlib.suppress(ssl.SSLZeroReturnError):
            while data := self._do(lambda: self._tls.read(1000)):
                received += data
        return received


class TLSTests(SocketsTestCase):
    """With TLS."""

    def factory(self) -> Any:
        self.patch(os, "environ", {})
        folder = Path(self.mktemp())
        folder.mkdir()
        cert, key, trusted, mine = (folder / name for name in ("cert", "key", "ca", "mine"))
        server_ca, client_ca = authority("server CA"), authority("client CA")
        server_ca.issue("server", purpose=SERVER, names=local_names()).write(cert, key)
        trusted.write_bytes(pem(client_ca.certificate))
        settings: Any = {"http_cert": cert, "http_key": key, "http_cacert": trusted, "rmq_url": "amqp://rabbitmq/"}
        server = server_tls(Settings(_env_file=None, **settings), lambda *_: None)
        self.context = ssl.create_default_context(cadata=pem(server_ca.certificate).decode())
        self.context.load_cert_chain(client_ca.issue("client").write(mine))
        return ServerFactory(server, self.site, reactor)

    async def begin(self, request: bytes = GET) -> tuple[socket.socket, TLSClient]:
        """A client whose request is being served."""
        connection = self.connect()
        client = TLSClient(self.context, connection)
        await deferToThread(client.send, request)
        await self.slow.asked
        return connection, client

    async def test_half_close(self) -> None:
        """A client that has sent close_notify, and keeps the TCP connection open, gets its response alone."""
        _, client = await self.begin()
        client.end()
        await self.assert_answered(client.read)

    async def test_half_close_of_tls_1_2(self) -> None:
        """So does a client with TLS 1.2, whose record layer is another one."""
        self.context.maximum_version = ssl.TLSVersion.TLSv1_2
        await self.test_half_close()

    async def test_closed_while_not_reading(self) -> None:
        """A connection that is closed, and was not read from, ends when the client has sent close_notify."""
        connection, client = await self.begin(GET[:-2] + b"Connection: close\r\n\r\n" + 20_000 * b"x")
        await self.assert_answered(client.read)
        client.end()
        self.assertEqual(b"", await deferToThread(connection.recv, 1))

    async def test_gone(self) -> None:
        """A client that closes its socket is gone, whether or not it has sent close_notify."""
        connection, client = await self.begin()
        client.end()
        connection.close()
        await self.assert_gone()

    async def test_gone_without_a_word(self) -> None:
        """A client that closes its socket is gone, though it has not sent close_notify."""
        connection, _ = await self.begin()
        connection.close()
        await self.assert_gone()

    async def test_gone_after_a_half_close(self) -> None:
        """A client that has sent close_notify and closes its socket later is gone."""
        connection, client = await self.begin()
        client.end()
        reactor.callLater(0.2, connection.close)
        await self.assert_gone()

    async def test_half_of_tcp(self) -> None:
        """A client that ends its side of the TCP connection below TLS is taken to be gone."""
        connection, _ = await self.begin()
        connection.shutdown(socket.SHUT_WR)
        await self.assert_gone()
