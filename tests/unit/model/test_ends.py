"""How a model ends its connection, on real sockets: where the end of a response may be, and where it was cut off."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from provider_gateway.config.model_url import parse_ready_url
from provider_gateway.config.settings import Settings
from provider_gateway.errors import ModelFailure
from provider_gateway.message.message import Message
from provider_gateway.model.client import model_client
from provider_gateway.model.model import Model
from provider_gateway.model.readiness import Readiness
from provider_gateway.security.tls import model_tls
from tests.support.certificates import certificates
from tests.support.connection_ends import by_fin, by_reset, in_order

if TYPE_CHECKING:
    from collections.abc import Callable

OPEN_END = b"HTTP/1.1 200 OK\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08"


def by_close_notify_and_reset(connection: socket.socket) -> None:
    """Send close_notify, and reset the connection without waiting for the other side's."""
    assert isinstance(connection, ssl.SSLSocket)
    connection.setblocking(False)
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.unwrap()
    by_reset(connection)


class EndsTestCase(TestCase):
    """A model in a thread, for one call.

    Attributes:
        asked: what the call asks for as codings of its answer.
        reason: of the failures that are expected.
    """

    asked = ""
    reason = "body"

    def listen(self) -> socket.socket:
        """Listen on a free port."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        return listener

    def wrap(self, connection: socket.socket) -> socket.socket:
        """The connection as the model uses it."""
        return connection

    def answer(self, listener: socket.socket, data: bytes, end: Callable[[socket.socket], None]) -> None:
        """Take one request, send some bytes, and end the connection."""
        accepted, _ = listener.accept()
        accepted.settimeout(10)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a reset would drop what Nagle holds back
        connection = self.wrap(accepted)
        request = b""
        while not request.endswith((b"\r\n\r\n[1]", b"\r\n\r\n") if request.startswith(b"GET") else b"\r\n\r\n[1]"):
            request += connection.recv(4096)
        connection.sendall(data)
        end(connection)

    async def outcome(self, data: bytes, end: Callable[[socket.socket], None]) -> bytes | str:
        """The body of the response; or what the failure says is missing."""
        listener = self.listen()
        answered = deferToThread(self.answer, listener, data, end)
        client, url = self.client(listener)
        model = Model(reactor, client, url=url, max_body_bytes=1000, wall_clock=reactor.seconds)
        try:
            return (await model.call(Message(b"[1]", {"pg-accept-encoding": self.asked}), "r1", 10)).body
        except ModelFailure as failure:
            self.assertEqual((failure.reason, failure.status), (self.reason, 502), (data, end.__name__, failure.cause))
            return failure.detail
        finally:
            await answered

    def client(self, listener: socket.socket) -> tuple[Any, str]:
        """A client for the model, and the model's URL."""
        settings = Settings(_env_file=None, rmq_url="amqp://x/", model_cacert=certificates() / "cacert.pem")
        scheme = "http" if type(self).wrap is EndsTestCase.wrap else "https"
        url = f"{scheme}://localhost:{listener.getsockname()[1]}/"
        return model_client(reactor, model_tls(settings, lambda *_: None), connections=1), url

    def answer_questions(self, listener: socket.socket, data: bytes, end: Callable[[socket.socket], None]) -> None:
        """Answer each question; one without a whole answer is sent once more."""
        for _ in range(1 if b"\r\n\r\n" in data else 2):
            self.answer(listener, data, end)

    async def assert_ready(self, expected: bool, data: bytes, *ends: Callable[[socket.socket], None]) -> None:
        """Check what an answer of the ready URL says, for each way to end the connection."""
        for end in ends:
            listener = self.listen()
            asked = deferToThread(self.answer_questions, listener, data, end)
            client, url = self.client(listener)
            self.assertEqual(await Readiness(reactor, client, parse_ready_url(url)).is_ready(), expected, end.__name__)
            await asked

    async def assert_cut_off(self, what: str, data: bytes, *ends: Callable[[socket.socket], None]) -> None:
        """Check that a response is a failure which names what is missing, for each way to end the connection."""
        for end in ends:
            detail = await self.outcome(data, end)
            self.assertIn(what, str(detail), (data, end.__name__))

    async def assert_complete(self, body: bytes, data: bytes, *ends: Callable[[socket.socket], None]) -> None:
        """Check that a response is complete, for each way to end the connection."""
        for end in ends:
            self.assertEqual(await self.outcome(data, end), body, (data, end.__name__))


class TCPTests(EndsTestCase):
    """Without TLS a FIN is the end in order, and a reset is not."""

    async def test_no_length(self) -> None:
        """A body without a length is complete at a FIN, even if it is empty. A reset cuts it off, wherever it comes."""
        for head in (OPEN_END, b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" + OPEN_END):
            await self.assert_complete(b'{"a": 1}', head + b'{"a": 1}', by_fin)
            await self.assert_cut_off("has no length", head + b'{"a', by_reset)
        await self.assert_complete(b"", OPEN_END, by_fin)
        await self.assert_cut_off("has no length", OPEN_END, by_reset)
        await self.assert_cut_off("has no length", OPEN_END + b'{"a": 1}', by_reset)

    async def test_length_and_chunks(self) -> None:
        """A body that is shorter than its length, or has no last chunk, is cut off, however its connection ends."""
        short = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1]"
        await self.assert_cut_off("Content-Length", short, by_fin, by_reset)
        for chunks in (b"", b"5\r\n[1", b"3\r\n[1]\r\n", b"3\r\n[1]\r\n0\r\nX-Trailer: 1\r\n"):
            await self.assert_cut_off("last chunk", CHUNKED + chunks, by_fin, by_reset)

    async def test_complete(self) -> None:
        """A complete response is one, however its connection ends."""
        await self.assert_complete(b"[1]", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]", by_fin, by_reset)
        await self.assert_complete(b"[1]", CHUNKED + b"3\r\n[1]\r\n0\r\n\r\n", by_fin, by_reset)
        await self.assert_complete(b"", b"HTTP/1.1 204 No Content\r\n\r\n", by_fin, by_reset)

    async def test_coded(self) -> None:
        """A coded body that breaks off is a failure for its coding, before its end is looked at."""
        await self.assert_cut_off("Content-Encoding gzip", GZIP, by_fin, by_reset)

    async def test_coded_as_asked(self) -> None:
        """A coded body that was asked for ends as any other: nothing in it says whether it is complete."""
        self.asked = "gzip"
        await self.assert_complete(GZIP[-3:], GZIP, by_fin)
        await self.assert_cut_off("has no length", GZIP, by_reset)

    async def test_statuses(self) -> None:
        """A rejection that is cut off is a failure as well: what is wrong with the request is not known."""
        for head in (b"HTTP/1.1 404 Not Found\r\n\r\n", b"HTTP/1.1 204 No\r\nContent-Le", b"HTTP/1.1 200 OK\r\n"):
            self.reason = "body" if head.endswith(b"\r\n\r\n") else "connection"
            await self.assert_cut_off("", head + b"{" * head.endswith(b"\r\n\r\n"), by_reset)

    async def test_readiness(self) -> None:
        """A ready URL whose answer has no whole head says nothing; a whole head does, however the body ends."""
        await self.assert_ready(True, OPEN_END, by_fin, by_reset)
        await self.assert_ready(False, b"HTTP/1.1 200 OK\r\nContent-Le", by_fin, by_reset)
        await self.assert_ready(False, b"HTTP/1.1 503 Busy\r\n\r\n", by_fin, by_reset)


class TLS13Tests(EndsTestCase):
    """With TLS the end in order is close_notify. A FIN may come from anybody."""

    version: ClassVar = ssl.TLSVersion.TLSv1_3

    def wrap(self, connection: socket.socket) -> socket.socket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates() / "server_cert.pem", certificates() / "server_key.pem")
        context.minimum_version = context.maximum_version = self.version
        return context.wrap_socket(connection, server_side=True)

    async def test_no_length(self) -> None:
        """A body without a length is complete at close_notify, and cut off by a FIN or a reset without it."""
        for body in (b"", b'{"a": 1}'):
            await self.assert_complete(body, OPEN_END + body, in_order, by_close_notify_and_reset)
            await self.assert_cut_off("close_notify", OPEN_END + body, by_fin, by_reset)

    async def test_length_and_chunks(self) -> None:
        """A length, or a last chunk, says that the body is complete: close_notify is not needed (RFC 9112, 9.8)."""
        ends = (in_order, by_fin, by_reset)
        await self.assert_complete(b"[1]", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]", *ends)
        await self.assert_complete(b"[1]", CHUNKED + b"3\r\n[1]\r\n0\r\n\r\n", *ends)
        await self.assert_cut_off("Content-Length", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1]", *ends)
        await self.assert_cut_off("last chunk", CHUNKED + b"3\r\n[1]\r\n", *ends)

    async def test_readiness(self) -> None:
        """A ready URL whose answer has no whole head says nothing; a whole head does, however the body ends."""
        ends = (in_order, by_fin, by_reset)
        await self.assert_ready(True, OPEN_END + b"y", *ends)
        await self.assert_ready(False, b"HTTP/1.1 200 OK\r\nContent-Le", *ends)


class TLS12Tests(TLS13Tests):
    """The same with TLS 1.2."""

    version = ssl.TLSVersion.TLSv1_2
