"""How often a client's certificate is verified: on a real listener, with clients in threads."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL, crypto
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource

from provider_gateway.config.limits import Limits
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.net.tls_transport import ServerFactory
from tests.support.certificates import authority
from tests.support.tls_peers import PKITestCase

if TYPE_CHECKING:
    from tests.support.certificates import Holder

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#: Seconds that a client waits at most.
PATIENCE = 20
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class Empty(Resource):
    """Answers every request."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        request.setHeader("Content-Length", "0")
        return b""


class VerificationTests(PKITestCase, TestCase):
    """Handshakes and verifications are counted: :attr:`counts` has the numbers of both since it was looked at last."""

    timeout = 60

    def setUp(self) -> None:
        super().setUp()
        self.handshakes = self.checks = 0
        set_verify = SSL.Context.set_verify

        def counting(context: Any, mode: int, callback: Any = None) -> None:
            def verified(connection: Any, certificate: Any, error: int, depth: int, is_good: int) -> bool:
                self.handshakes += depth == 0 and is_good  # the client's own certificate, after those of its CAs
                return bool(is_good if callback is None else callback(connection, certificate, error, depth, is_good))

            set_verify(context, mode, verified)

        class Counting(crypto.X509StoreContext):
            """Counts in the test."""

            def verify_certificate(verification) -> None:  # noqa: N805 - self is the test
                self.checks += 1
                super().verify_certificate()

            def get_verified_chain(verification) -> list[crypto.X509]:  # noqa: N805 - self is the test
                self.checks += 1
                return super().get_verified_chain()

        self.patch(SSL.Context, "set_verify", counting)
        self.patch(crypto, "X509StoreContext", Counting)
        self.tls = self.server(self.client_ca.revocation_list(), self.intermediate.revocation_list())
        self.site = GatewaySite(Empty(), reactor, Limits(), still_trusts=self.tls.still_trusts)
        self.port: Any = reactor.listenTCP(0, ServerFactory(self.tls, self.site, reactor), interface="127.0.0.1")
        self.addCleanup(self.stop)

    async def stop(self) -> None:
        await self.port.stopListening()
        await self.site.close_connections()

    def counts(self) -> tuple[int, int]:
        """Verifications in handshakes, and of clients of open connections."""
        found, self.handshakes, self.checks = (self.handshakes, self.checks), 0, 0
        return found

    def client_of(self, holder: Holder, version: ssl.TLSVersion) -> ssl.SSLContext:
        """TLS of a client."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        holder.write(self.folder / "its-cert", self.folder / "its-key")
        context.load_cert_chain(self.folder / "its-cert", self.folder / "its-key")
        return context

    async def connect(self, tls: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
        """Connect, with the handshake."""

        def connected() -> ssl.SSLSocket:
            raw = socket.create_connection(("127.0.0.1", self.port.getHost().port), PATIENCE)
            return tls.wrap_socket(raw, session=session)

        made: ssl.SSLSocket = await deferToThread(connected)
        self.addCleanup(made.close)
        return made

    async def ask(self, client: ssl.SSLSocket, requests: bytes = GET) -> int:
        """Send a request; returns the status."""

        def asked() -> int:
            client.sendall(requests)
            return int(client.recv(65_536).split(b" ")[1])

        return int(await deferToThread(asked))

    def holders(self) -> tuple[Holder, Holder]:
        return self.client_ca.issue("alone"), self.intermediate.issue("chained")

    async def test_once(self) -> None:
        """A client is verified in its handshake, then at its next request after each reload, and at no other."""
        for version in VERSIONS:
            for holder in self.holders():
                tls = self.client_of(holder, version)
                first, second = await self.connect(tls), await self.connect(tls)
                for client in (first, first, first, second):
                    self.assertEqual(200, await self.ask(client))
                self.assertEqual((2, 0), self.counts())
                for loads in (1, 1, 3):
                    for _ in range(loads):
                        self.tls.load()
                    self.assertEqual((0, 0), self.counts())
                    for client, checks in ((first, 1), (first, 0), (second, 1), (second, 0), (first, 0)):
                        self.assertEqual(200, await self.ask(client))
                        self.assertEqual((0, checks), self.counts())

    async def test_connected_while_files_change(self) -> None:
        """A client whose handshake began before a reload is verified again at its first request."""
        tls = self.client_of(self.holders()[0], ssl.TLSVersion.TLSv1_2)
        client = await self.connect(tls)
        self.tls.load()
        self.assertEqual(200, await self.ask(client))
        self.assertEqual((1, 1), self.counts())
        self.assertEqual(200, await self.ask(await self.connect(tls)))
        self.assertEqual((1, 0), self.counts())

    async def test_resumption(self) -> None:
        """A client that resumes is verified when it does so for the first time after a load, and after each reload."""
        tls = self.client_of(self.holders()[1], ssl.TLSVersion.TLSv1_3)
        client = await self.connect(tls)
        self.assertEqual(200, await self.ask(client))
        self.assertEqual((1, 0), self.counts())
        for checks in (1, 0, 0):
            client = await self.connect(tls, client.session)
            self.assertEqual((200, True), (await self.ask(client), client.session_reused))
            self.assertEqual((0, checks), self.counts())
        for checks in (1, 1):
            self.tls.load()
            for count in (checks, 0):
                self.assertEqual(200, await self.ask(client))
                self.assertEqual((0, count), self.counts())

    async def test_rejected(self) -> None:
        """A client that is trusted no more is verified once, whatever it sends; a stranger in its handshake only."""
        for version in VERSIONS:
            for holder in self.holders():
                self.trust(self.client_ca)
                self.tls.load()
                tls = self.client_of(holder, version)
                client = await self.connect(tls)
                self.assertEqual(200, await self.ask(client))
                self.trust(authority("other CA"))
                self.tls.load()
                self.assertEqual(403, await self.ask(client, 3 * GET))
                self.assertEqual((1, 1), self.counts())
                with self.assertRaises((ssl.SSLError, OSError, IndexError)):
                    await self.ask(await self.connect(tls))
                self.assertEqual((0, 0), self.counts())
