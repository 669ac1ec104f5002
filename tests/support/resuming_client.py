"""A client in memory that keeps its newest TLS session, and offers it at its next connection."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from provider_gateway.net.tls_transport import ServerFactory
from tests.support.certificates import pem

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.certificates import Holder

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#: Turns in which a handshake is over.
_TURNS = 6


class Transport(StringTransport):
    """TCP in memory."""

    is_lost = False
    writes = 0

    def write(self, data: bytes) -> None:
        """Take bytes, and count the call (twisted.internet.interfaces.ITransport)."""
        self.writes += 1
        super().write(data)

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802 - Twisted's name
        """Do nothing."""

    def loseConnection(self) -> None:
        """End the connection (twisted.internet.interfaces.ITransport)."""
        self.is_lost = True

    abortConnection = loseConnection  # noqa: N815 - Twisted's name


class ResumingClient:
    """A client with a certificate; each connection offers the session of the one before.

    Args:
        authority: the CA of the server.
        holder: the client's certificate.
        folder: where its certificate file is written.
        version: the only version of TLS that it speaks.

    Attributes:
        session: the session that the next connection offers; None for none.
        was_resumed: True if the last connection resumed a session.
        transport: the server's side of the last connection.
    """

    def __init__(
        self, authority: Holder, holder: Holder, folder: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ) -> None:
        self._context = ssl.create_default_context(cadata=pem(authority.certificate).decode())
        self._context.load_cert_chain(holder.write(folder / f"{holder.certificate.serial_number}.pem"))
        self._context.minimum_version = self._context.maximum_version = version
        self.session: ssl.SSLSession | None = None
        self.was_resumed = False
        self.transport: Any = None

    def connect(self, server_tls: Any, site: Any) -> bytes:
        """Open a connection and send a request; returns the response, or what came of it before the end."""
        self.shake_hands(server_tls, site)
        return self.ask()

    def shake_hands(self, server_tls: Any, site: Any) -> None:
        """Open a connection. The end of the handshake is sent with what follows: with TLS 1.3, the client has it."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = self._context.wrap_bio(
            self._incoming, self._outgoing, server_hostname="localhost", session=self.session
        )
        self._wire = Transport()
        self.transport = ServerFactory(server_tls, site, Clock()).buildProtocol(None)
        self.transport.makeConnection(self._wire)
        for _ in range(_TURNS):
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._exchange()
        self.was_resumed = bool(self._tls.session_reused)

    def ask(self, request: bytes = GET) -> bytes:
        """Send bytes on the connection, by default a request; returns what came before the end of the connection."""
        if request:
            self._tls.write(request)
        self._exchange()
        received = b""
        try:
            while data := self._tls.read(65_536):
                received += data
        except ssl.SSLWantReadError:
            self.session = self._tls.session
        except ssl.SSLError:
            pass
        else:
            self._tls.unwrap()
            self._exchange()
        return received

    def close(self) -> None:
        """End the connection, if the server has not done so."""
        if self._wire.connected:
            self._wire.connected = False
            self.transport.connectionLost(Failure(ConnectionDone()))

    @property
    def writes(self) -> int:
        """The number of the server's writes to TCP on this connection."""
        return self._wire.writes

    @property
    def is_open(self) -> bool:
        """True unless the server has ended the connection."""
        return bool(self._wire.connected)

    def _exchange(self) -> None:
        sent = self._outgoing.read()
        if sent and self._wire.connected:
            self.transport.dataReceived(sent)
        self._incoming.write(self._wire.value())
        self._wire.clear()
        if self._wire.is_lost:
            self.close()
