"""A model on a real socket, in a thread: each connection follows a script of the test."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from provider_gateway.config.settings import Settings
from provider_gateway.message.message import Message
from provider_gateway.model.client import model_client
from provider_gateway.model.model import Model
from provider_gateway.security.tls import model_tls
from tests.support.certificates import certificates

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from provider_gateway.model.model import ModelResponse

#: Socket option for a reset in place of a FIN.
RESET = struct.pack("ii", 1, 0)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]"


class ScriptedConnection:
    """The model's end of a connection.

    Attributes:
        socket: the connection, with TLS if the test has it.
    """

    def __init__(self, accepted: socket.socket, tls: ssl.SSLContext | None) -> None:
        accepted.settimeout(10)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = accepted if tls is None else tls.wrap_socket(accepted, server_side=True)
        self._read = b""

    def request(self) -> bytes:
        """Read one request; returns its body."""
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(self._read) < length:
            self._more()
        body, self._read = self._read[:length], self._read[length:]
        return body

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self._read += data

    def answer(self, data: bytes = OK) -> bytes:
        """Read one request and answer it; returns its body."""
        body = self.request()
        self.socket.sendall(data)
        return body

    def close(self) -> None:
        """End in order."""
        self.end_tls()
        self.socket.close()

    def end_tls(self) -> None:
        """Send close_notify, and do not wait for the other side's. Without TLS, end our side of TCP."""
        with contextlib.suppress(OSError):
            if isinstance(self.socket, ssl.SSLSocket):
                self.socket.settimeout(0)
                self.socket.unwrap()
            else:
                self.socket.shutdown(socket.SHUT_WR)

    def wait_for_end(self) -> None:
        """Wait until the other side ends the connection."""
        with contextlib.suppress(OSError):
            self.socket.settimeout(10)
            while socket.socket.recv(self.socket, 65536):  # TCP's end: TLS may have ended
                pass

    def reset(self) -> None:
        """End with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.socket.close()


class SocketModelTestCase(TestCase):
    """Calls of a model on a real socket.

    Attributes:
        version: the version of TLS that the model speaks; None for plain HTTP.
        model: calls it.
        listener: its listening socket.
    """

    version: ClassVar[ssl.TLSVersion | None] = None

    def setUp(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        self.tls = None if self.version is None else self.server_tls(self.version)
        self.model = self.model_at(self.url())

    def url(self, host: str = "localhost") -> str:
        """The model's URL."""
        scheme = "http" if self.version is None else "https"
        return f"{scheme}://{host}:{self.listener.getsockname()[1]}/"

    def model_at(self, url: str, **settings: Any) -> Model:
        """The model at a URL, called with these settings."""
        trusted = {"model_cacert": certificates() / "cacert.pem", **settings}
        tls = model_tls(Settings(_env_file=None, rmq_url="amqp://x/", **trusted), lambda *_: None)
        client = model_client(reactor, tls, connections=10)
        return Model(reactor, client, url=url, max_body_bytes=1000, wall_clock=time.time)

    def server_tls(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        """TLS of the model."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates() / "server_cert.pem", certificates() / "server_key.pem")
        context.minimum_version = context.maximum_version = version
        return context

    def serve(self, *scripts: Callable[[ScriptedConnection], Any]) -> Deferred[list[Any]]:
        """Accept one connection after the other, and let each follow its script in the model's thread.

        Returns:
            A Deferred of what the scripts return.
        """

        def run() -> list[Any]:
            results = []
            for script in scripts:
                accepted, _ = self.listener.accept()
                with contextlib.closing(ScriptedConnection(accepted, self.tls)) as connection:
                    results.append(script(connection))
            return results

        self.listener.settimeout(10)
        return deferToThread(run)

    async def call(self, body: bytes = b"[0]", timeout: float = 10, **how: Any) -> ModelResponse:
        """Call the model, and let the reactor deliver what has come with the answer."""
        response = await self.model.call(Message(body), "r1", timeout, **how)
        await deferLater(reactor, 0)
        return response
