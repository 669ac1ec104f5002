"""Which calls have not reached the model, on real sockets: no connection, or none that is secure."""

from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path
from typing import Any

from cryptography.x509 import DNSName
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import NoRouteError
from twisted.internet.interfaces import IHostnameResolver
from twisted.python.failure import Failure
from zope.interface import implementer

from provider_gateway.errors import ModelFailure, ModelUnreachable
from provider_gateway.message.message import Message
from tests.support.certificates import SERVER, authority, certificates
from tests.support.model_peer import ModelTestCase
from tests.unit.model.socket_model import ScriptedConnection, SocketModelTestCase

LARGE = bytes(5_000_000)


class UnreachableTestCase(SocketModelTestCase):
    """Checks of calls that fail."""

    async def failure(self, **how: Any) -> ModelFailure:
        """What a call fails with."""
        try:
            await self.call(**how)
        except ModelFailure as failure:
            return failure
        raise self.failureException("the call did not fail")

    async def assert_unreachable(self, cause: str, reason: str = "connection", **how: Any) -> None:
        """Check that a call did not reach the model."""
        failure = await self.failure(**how)
        self.assertIsInstance(failure, ModelUnreachable, failure.cause)
        self.assertEqual(failure.reason, reason)
        self.assertIn(cause, failure.cause)
        self.assertNotIn("localhost", failure.detail)

    async def assert_reached(self, reason: str = "connection", **how: Any) -> None:
        """Check that a call reached the model and failed."""
        failure = await self.failure(**how)
        self.assertNotIsInstance(failure, ModelUnreachable)
        self.assertEqual(failure.reason, reason)

    def accept(self, *steps: Any) -> Deferred[Any]:
        """Accept a TCP connection in the model's thread, and do something with it, before any TLS."""
        self.tls = None
        return self.serve(*steps)


class TCPTests(UnreachableTestCase):
    """TCP connections that are not made, and ones that are."""

    async def test_refused(self) -> None:
        """A refused connection, to a name and to an address."""
        self.listener.close()
        await self.assert_unreachable("refused")
        self.model = self.model_at(self.url_of_closed("127.0.0.1"))
        await self.assert_unreachable("refused")

    def url_of_closed(self, host: str) -> str:
        """A URL at which nobody listens."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            return f"http://{host}:{listener.getsockname()[1]}/"

    async def test_no_answer_to_connect(self) -> None:
        """A connection that is not made within the call's time limit: the host is silent."""
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for _ in range(4):  # fills the backlog: Linux then ignores more of them
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(listener.getsockname())
            for host in ("localhost", "127.0.0.1"):
                self.model = self.model_at(f"http://{host}:{listener.getsockname()[1]}/")
                await self.assert_unreachable("not made", "timeout", timeout=0.2)

    async def test_name_is_gone(self) -> None:
        """A name without addresses, and a look-up that takes too long. A call that is cancelled says so."""

        @implementer(IHostnameResolver)
        class Resolver:
            """Knows no name, and says so or not."""

            is_silent = False

            def resolveHostName(self, receiver: Any, *_: Any, **__: Any) -> None:
                receiver.resolutionBegan(None)
                if not self.is_silent:
                    receiver.resolutionComplete()

        resolver: Any = Resolver()
        installer: Any = reactor
        self.addCleanup(installer.installNameResolver, installer.installNameResolver(resolver))
        self.model = self.model_at("http://gone.example:1/")
        await self.assert_unreachable("no address")
        resolver.is_silent = True
        await self.assert_unreachable("not made", "timeout", timeout=0.1)
        calling = Deferred.fromCoroutine(self.model.call(Message(b"1"), "r1", 10))
        calling.cancel()
        self.failureResultOf(calling, CancelledError)

    async def test_reached(self) -> None:
        """A connection that was made is the model's: closed at once, or closed or reset without an answer."""
        served = self.serve(ScriptedConnection.close)
        await self.assert_reached()
        await served
        for end in (ScriptedConnection.close, ScriptedConnection.reset):
            served = self.serve(lambda connection, end=end: (connection.request(), end(connection)))
            await self.assert_reached()
            await served
        served = self.serve(ScriptedConnection.wait_for_end)
        await self.assert_reached("timeout", timeout=0.2)
        await served


class TLS13Tests(UnreachableTestCase):
    """TLS handshakes that fail, whichever side refuses, and what fails after a handshake."""

    version = ssl.TLSVersion.TLSv1_3

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def refuses(self, connection: socket.socket) -> None:
        """Try a handshake that fails."""
        connection.settimeout(10)
        with contextlib.suppress(OSError), self.server_context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(65536)

    async def assert_handshake_fails(self, cause: str, context: ssl.SSLContext | None = None, **how: Any) -> None:
        """Check that a call is unreachable, whose handshake with the model fails."""
        self.server_context = context or self.server_tls(self.version)
        served = self.accept(lambda connection: self.refuses(connection.socket))
        await self.assert_unreachable(cause, **how)
        await served

    async def test_we_refuse(self) -> None:
        """The model's certificate is of a CA that we do not trust, or for another host."""
        self.model = self.model_at(self.url(), model_cacert=authority("other").write(self.file("ca")))
        await self.assert_handshake_fails("certificate verify failed")
        with socket.create_server(("127.0.0.2", 0)) as listener:
            self.listener.close()
            self.listener = listener
            right, cert, key = authority("right"), self.file("cert"), self.file("key")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            right.issue("localhost", purpose=SERVER, names=(DNSName("localhost"),)).write(cert, key)
            context.load_cert_chain(cert, key)
            self.model = self.model_at(self.url("127.0.0.2"), model_cacert=right.write(self.file("right")))
            await self.assert_handshake_fails("another host", context)

    def file(self, name: str) -> Path:
        """A path for a file of this test."""
        return self.folder / name

    async def test_no_certificate(self) -> None:
        """The model demands a certificate, and we have none."""
        context = self.demanding()
        for body in (b"[0]", LARGE):
            await self.assert_handshake_fails("alert", context, body=body)

    def demanding(self) -> ssl.SSLContext:
        """TLS of a model that trusts no client."""
        context = self.server_tls(self.version)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates() / "cacert.pem")
        return context

    async def test_wrong_certificate(self) -> None:
        """The model demands a certificate, and ours is of a CA that the model does not trust."""
        cert, key = self.file("cert"), self.file("key")
        authority("unknown").issue("client").write(cert, key)
        self.model = self.model_at(self.url(), model_cert=cert, model_key=key)
        for body in (b"[0]", LARGE):
            await self.assert_handshake_fails("alert", self.demanding(), body=body)

    async def test_no_common_version(self) -> None:
        """The model speaks other versions or ciphers only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates() / "server_cert.pem", certificates() / "server_key.pem")
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        await self.assert_handshake_fails("alert", context)

    async def test_ends_in_the_handshake(self) -> None:
        """The connection is closed or reset before the handshake, or within it, or the port speaks no TLS."""
        for end in (ScriptedConnection.close, ScriptedConnection.reset):
            served = self.accept(end)
            await self.assert_unreachable("")  # a reset may come before we know that there was a connection
            await served
            served = self.accept(lambda connection, end=end: (connection.socket.recv(65536), end(connection)))
            await self.assert_unreachable("handshake")
            await served

        def answers_in_http(connection: ScriptedConnection) -> None:
            connection.socket.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.wait_for_end()

        served = self.accept(answers_in_http)
        await self.assert_unreachable("does not speak TLS")
        await served

    async def test_hangs_in_the_handshake(self) -> None:
        """The handshake has no end within the time limit; or the caller cancels within it."""
        served = self.accept(ScriptedConnection.wait_for_end, ScriptedConnection.wait_for_end)
        await self.assert_unreachable("not made", "timeout", timeout=0.2)
        calling = Deferred.fromCoroutine(self.model.call(Message(b"1"), "r1", 10))
        reactor.callLater(0.1, calling.cancel)  # type: ignore[attr-defined] # the module is the reactor
        await self.assertFailure(calling, CancelledError)
        await served

    async def test_reached(self) -> None:
        """After the handshake the model is reached: a connection that ends, or an answer that does not come."""
        for end in (ScriptedConnection.close, ScriptedConnection.reset):
            served = self.serve(lambda connection, end=end: (connection.request(), end(connection)))
            await self.assert_reached()
            await served
        served = self.serve(ScriptedConnection.wait_for_end)
        await self.assert_reached("timeout", timeout=0.5)
        await served


class TLS12Tests(TLS13Tests):
    """The same with TLS 1.2, in which the server speaks last."""

    version = ssl.TLSVersion.TLSv1_2


class RouteTests(ModelTestCase):
    """What loopback cannot show."""

    def test_no_route(self) -> None:
        """A host to which there is no route is unreachable; so is one that does not answer for ten seconds."""
        calling = self.call()
        self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(NoRouteError()))
        self.reactor.advance(1)
        self.assertIsInstance(self.assert_failure(calling, "connection"), ModelUnreachable)
        calling = self.call()
        self.assertEqual(10, self.reactor.tcpClients[-1][3])
