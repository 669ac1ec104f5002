"""How an endpoint ends its connection, on real sockets: a cut-off head is no answer; a status counts as it stands."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, ClassVar

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from provider_gateway.config.masked_url import MaskedURL
from provider_gateway.config.settings import Settings
from provider_gateway.security.tls import model_tls
from provider_gateway.security.webhook_endpoints import Endpoint
from provider_gateway.webhooks.endpoint_client import EndpointClient, Result
from provider_gateway.webhooks.event import Event
from tests.support.certificates import certificates
from tests.support.connection_ends import by_fin, by_reset, in_order
from tests.unit.webhooks.base import KEY, record

if TYPE_CHECKING:
    from collections.abc import Callable

OPEN_END = b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n"


class TCPTests(TestCase):
    """Without TLS."""

    version: ClassVar[ssl.TLSVersion | None] = None

    def answer(self, listener: socket.socket, data: bytes, end: Callable[[socket.socket], None]) -> None:
        """Take one webhook, send some bytes, and end the connection."""
        connection, _ = listener.accept()
        connection.settimeout(10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a reset would drop what Nagle holds back
        if self.version is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates() / "server_cert.pem", certificates() / "server_key.pem")
            context.minimum_version = context.maximum_version = self.version
            connection = context.wrap_socket(connection, server_side=True)
        request = b""
        while not request.endswith(b"}}"):
            request += connection.recv(4096)
        connection.sendall(data)
        end(connection)

    async def result(self, data: bytes, end: Callable[[socket.socket], None]) -> Result:
        """What becomes of a webhook that is answered so."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        answered = deferToThread(self.answer, listener, data, end)
        settings = Settings(_env_file=None, rmq_url="amqp://x/", model_cacert=certificates() / "cacert.pem")
        scheme = "http" if self.version is None else "https"
        url = MaskedURL(f"{scheme}://localhost:{listener.getsockname()[1]}/hook")
        endpoint = Endpoint("done", url, (KEY,), model_tls(settings, lambda *_: None))
        client = EndpointClient(reactor, endpoint, reactor.seconds, 1)
        answer = await client.call(Event.of(record()))
        await answered
        return answer.result

    async def test_head(self) -> None:
        """Without a whole head there is no answer, and the webhook is tried again, however the connection ends."""
        for data in (b"HTTP/1.1 200 OK\r\nContent-Ty", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 2", b""):
            for end in (in_order, by_fin, by_reset):
                self.assertEqual(await self.result(data, end), Result.CONNECTION, (data, end.__name__))

    async def test_body(self) -> None:
        """A whole head says what became of the webhook. The rest of the answer does not matter, and may be missing."""
        for body in (b"", b"ok"):
            for end in (in_order, by_fin, by_reset):
                self.assertEqual(await self.result(OPEN_END + body, end), Result.DELIVERED, end.__name__)
        cut_off = b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\nb"
        self.assertEqual(await self.result(cut_off, by_reset), Result.STATUS)


class TLS13Tests(TCPTests):
    """With TLS, where only close_notify is an end in order."""

    version = ssl.TLSVersion.TLSv1_3


class TLS12Tests(TCPTests):
    """The same with TLS 1.2."""

    version = ssl.TLSVersion.TLSv1_2
