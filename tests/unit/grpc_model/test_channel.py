"""Tests of ``provider_gateway.grpc_model.channel`` on real sockets: connections that fail, are lost, or change."""

from __future__ import annotations

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from cryptography.x509 import DNSName
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.internet.defer import CancelledError, Deferred

from provider_gateway.errors import ModelFailure, ModelUnreachable
from provider_gateway.message.message import Message
from tests.support.certificates import authority, certificates
from tests.support.grpc_server import GRPCTestCase

if TYPE_CHECKING:
    from provider_gateway.model.interface import ConnectedModel


def credentials(folder: Path, stem: str = "server", clients: Path | None = None) -> grpc.ServerCredentials:
    """TLS of a server; with the CA of its clients, it demands a certificate."""
    pair = ((folder / f"{stem}_key.pem").read_bytes(), (folder / f"{stem}_cert.pem").read_bytes())
    roots = None if clients is None else clients.read_bytes()
    return grpc.ssl_server_credentials([pair], roots, require_client_auth=clients is not None)


class ConnectionTestCase(GRPCTestCase):
    """Calls of a model whose connection is in doubt."""

    def setUp(self) -> None:
        super().setUp()
        self.server.methods["Predict"] = lambda _request, _context: b""

    async def failing(self, made: ConnectedModel, timeout: float = 10) -> Any:
        """The failure of a call."""
        return await self.assertFailure(Deferred.fromCoroutine(self.call(made, timeout)), ModelFailure)

    async def why_not(self, made: ConnectedModel) -> str | None:
        """Why the model is not ready."""
        assert made.readiness is not None
        return await made.readiness.why_not()

    async def call(self, made: ConnectedModel, timeout: float = 10) -> Any:
        """Call the model."""
        return await made.model.call(Message(b"1"), "r1", timeout)

    async def assert_unreachable(
        self, made: ConnectedModel, cause: str, reason: str = "connection", **how: Any
    ) -> None:
        """Check that a call says that nothing was sent, and that a question says the same."""
        failure = await self.failing(made, **how)
        self.assertIs(type(failure), ModelUnreachable, f"{failure} {failure.cause}")
        self.assertEqual(failure.reason, reason)
        self.assertIn(cause, failure.cause)

    def free_port(self) -> int:
        """A port that nothing listens on."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port: int = listener.getsockname()[1]
        return port

    def accept(self, serve: Any) -> int:
        """Accept connections in a thread; returns the port."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(10)
                        serve(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        port: int = listener.getsockname()[1]
        return port


class TCPTests(ConnectionTestCase):
    """Without TLS."""

    async def test_refused(self) -> None:
        """Nothing listens: the model is away. Once it listens, the next call reaches it, without any pause."""
        port = self.free_port()
        made = self.model_at(f"http://localhost:{port}")
        for _ in range(3):
            await self.assert_unreachable(made, "refused")
        self.assertIn("refused", await self.why_not(made) or "")
        server = self.serve(port=port)
        server.methods["Predict"] = lambda _request, _context: b""
        await self.call(made)
        self.assertIsNone(await self.why_not(made))

    async def test_restart(self) -> None:
        """A server that ends between calls and comes back is away, and then it is not."""
        made = self.model_at(f"http://127.0.0.1:{self.server.port}")
        await self.call(made)
        self.server.stop()
        await self.why_not(made)  # grpcio may not have noticed the end before
        await self.assert_unreachable(made, "refused")
        self.assertIn("refused", await self.why_not(made) or "")
        server = self.serve(port=self.server.port)
        server.methods["Predict"] = lambda _request, _context: b""
        self.assertIsNone(await self.why_not(made))
        await self.call(made)

    async def test_drained(self) -> None:
        """A call that times out on a connection which the server wants no more calls on was sent, and is a failure."""
        started = threading.Event()

        def waits(request: bytes, context: Any) -> bytes:
            started.set()
            return self.server.wait(request, context)

        self.server.methods["Predict"] = waits
        made = self.model_at(f"http://127.0.0.1:{self.server.port}")
        calling = Deferred.fromCoroutine(self.call(made, timeout=1))
        await self.in_thread(started.wait, 10)
        self.server.drain()
        failure = await self.assertFailure(calling, ModelFailure)
        self.assertIs(type(failure), ModelFailure, f"{failure} {failure.cause}")
        self.assertEqual(failure.reason, "timeout")

    async def test_gone_since_the_last_call(self) -> None:
        """Readiness looks at the connection anew: one that was made before says nothing."""
        made = self.model_at(f"http://127.0.0.1:{self.server.port}")
        self.assertIsNone(await self.why_not(made))
        self.server.stop()
        self.assertIsNotNone(await self.why_not(made))
        self.assertIn("refused", await self.why_not(made) or "")

    async def test_lost(self) -> None:
        """A connection that ends with the request under way is a failure: it may have reached the model."""
        started, over = threading.Event(), threading.Event()
        self.addCleanup(over.set)

        def waits(_request: bytes, _context: Any) -> bytes:
            started.set()
            over.wait(10)
            return b""

        self.server.methods["Predict"] = waits
        relay = Relay(self.server.port)
        self.addCleanup(relay.close)
        made = self.model_at(f"http://127.0.0.1:{relay.port}")
        for _ in range(2):
            started.clear()
            calling = Deferred.fromCoroutine(self.call(made))
            await self.in_thread(started.wait, 10)
            relay.cut()
            failure = await self.assertFailure(calling, ModelFailure)
            self.assertIs(type(failure), ModelFailure, f"{failure} {failure.cause}")
            self.assertEqual(failure.reason, "connection")

    async def test_no_http2(self) -> None:
        """A port that closes, or speaks HTTP/1.1, is no model that was reached."""
        await self.assert_unreachable(self.model_at(f"http://127.0.0.1:{self.accept(lambda _: None)}"), "")

        def http(connection: socket.socket) -> None:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        await self.assert_unreachable(self.model_at(f"http://127.0.0.1:{self.accept(http)}"), "HTTP")

    async def test_no_connection_in_time(self) -> None:
        """Without a connection within the time limit nothing was sent; a caller that cancels meanwhile is told so."""
        silent = self.accept(lambda connection: connection.recv(1000) and connection.recv(1000))
        made = self.model_at(f"http://127.0.0.1:{silent}")
        await self.assert_unreachable(made, "not made", "timeout", timeout=0.3)
        calling = Deferred.fromCoroutine(self.call(made))
        calling.cancel()
        await self.assertFailure(calling, CancelledError)

    async def test_no_name(self) -> None:
        """A host without an address is away, with the reason."""
        await self.assert_unreachable(self.model_at("http://no-such-host.invalid:1"), "no-such-host.invalid")

    async def test_many_at_once(self) -> None:
        """Calls that begin together share one connection, and its failure."""
        made = self.model_at(f"http://127.0.0.1:{self.server.port}")
        calls = [Deferred.fromCoroutine(self.call(made)) for _ in range(50)]
        for each in calls:
            await each
        self.assertEqual(len(self.server.peers), 1)
        away = self.model_at(f"http://127.0.0.1:{self.free_port()}")
        calls = [Deferred.fromCoroutine(self.call(away)) for _ in range(50)]
        for each in calls:
            await self.assertFailure(each, ModelUnreachable)

    async def test_ipv6(self) -> None:
        """An address in brackets is reached."""
        server = grpc.server(ThreadPoolExecutor(1))
        server.add_generic_rpc_handlers((self.server,))
        port = server.add_insecure_port("[::1]:0")
        server.start()
        self.addCleanup(server.stop, None)
        await self.call(self.model_at(f"http://[::1]:{port}"))


class Relay:
    """Passes connections on to a server, and cuts them.

    Attributes:
        port: where it listens.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open += [client, server]
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)

    def cut(self) -> None:
        """End all connections."""
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()

    def close(self) -> None:
        """Listen no more."""
        self.cut()
        self._listener.close()


class TLSTests(ConnectionTestCase):
    """With TLS."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def secure(self, given: grpc.ServerCredentials) -> ConnectedModel:
        """The model behind a new server with TLS."""
        self.secured = self.serve(given)
        self.secured.methods["Predict"] = lambda _request, _context: b""
        return self.model_at(f"https://localhost:{self.secured.port}")

    def url(self, host: str = "localhost") -> str:
        """Where the server with TLS is."""
        return f"https://{host}:{self.secured.port}"

    async def test_trusted(self) -> None:
        """A server with a certificate of the CA is called, and is ready."""
        made = self.secure(credentials(certificates()))
        await self.call(made)
        self.assertIsNone(await self.why_not(made))

    async def test_not_trusted(self) -> None:
        """A certificate of another CA, or for another host: no request is sent."""
        self.secure(credentials(certificates()))
        other = authority("other").write(self.folder / "ca.pem")
        await self.assert_unreachable(self.model_at(self.url(), tls=self.tls(other)), "CERTIFICATE_VERIFY_FAILED")
        right = authority("right")
        right.issue("elsewhere", purpose=ExtendedKeyUsageOID.SERVER_AUTH, names=(DNSName("elsewhere"),)).write(
            self.folder / "server_cert.pem", self.folder / "server_key.pem"
        )
        self.secure(credentials(self.folder))
        made = self.model_at(self.url(), tls=self.tls(right.write(self.folder / "right.pem")))
        await self.assert_unreachable(made, "")
        self.assertEqual(self.secured.requests, [])

    async def test_plain_server(self) -> None:
        """A server without TLS is not called with https, and one with TLS not without."""
        await self.assert_unreachable(self.model_at(f"https://localhost:{self.server.port}"), "")
        self.secure(credentials(certificates()))
        await self.assert_unreachable(self.model_at(f"http://localhost:{self.secured.port}"), "")

    async def test_client_certificate(self) -> None:
        """A server that demands a certificate gets ours; without it, or with one of another CA, it is away."""
        certs = certificates()
        self.secure(credentials(certs, clients=certs / "cacert.pem"))
        ca, cert, key = certs / "cacert.pem", certs / "client_cert.pem", certs / "client_key.pem"
        await self.call(self.model_at(self.url(), tls=self.tls(ca, cert, key)))
        await self.assert_not_served(self.model_at(self.url()))
        cert, key = self.folder / "cert.pem", self.folder / "key.pem"
        authority("unknown").issue("client").write(cert, key)
        await self.assert_not_served(self.model_at(self.url(), tls=self.tls(ca, cert, key)))
        self.assertEqual(len(self.secured.requests), 1)

    async def assert_not_served(self, made: ConnectedModel) -> None:
        """Check that a call does not reach the method; with TLS 1.3 the server refuses after our handshake."""
        await self.assert_unreachable(made, "")

    async def test_reload(self) -> None:
        """After a reload calls have a new connection, with the new certificate; a call under way stays on its own."""
        right = authority("right")
        clients = right.write(self.folder / "clients.pem")
        self.secure(credentials(certificates(), clients=clients))
        cert, key = self.folder / "cert.pem", self.folder / "key.pem"
        right.issue("first").write(cert, key)
        tls = self.tls(certificates() / "cacert.pem", cert, key)
        made = self.model_at(self.url(), tls=tls)
        await self.call(made)
        names: list[Any] = []
        go_on, started = threading.Event(), threading.Event()

        def waits(_request: bytes, context: Any) -> bytes:
            names.append(context.auth_context()["x509_common_name"][0])
            started.set()
            go_on.wait(10)
            return b""

        self.secured.methods["Predict"] = waits
        under_way = Deferred.fromCoroutine(self.call(made))
        await self.in_thread(started.wait, 10)
        right.issue("second").write(cert, key)
        tls.load()
        started.clear()
        after = Deferred.fromCoroutine(self.call(made))
        await self.in_thread(started.wait, 10)
        go_on.set()
        await under_way
        await after
        self.assertEqual(names, [b"first", b"second"])
        self.assertEqual(len(self.secured.peers), 2)
