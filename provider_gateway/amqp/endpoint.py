"""A Twisted endpoint that tries the brokers of a list in turn, until one of them gives a session that is ready for use.

``ClientService`` reconnects. It gets from here either a prepared session or a failure. So its back-off treats a refused
login and a failed declaration like a refused TCP connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pika
from pika.exceptions import AMQPError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from provider_gateway import __version__
from provider_gateway.amqp.login import Login
from provider_gateway.amqp.session import ConnectionLost, Session
from provider_gateway.errors import TopologyError
from provider_gateway.net.host_endpoint import host_endpoint
from provider_gateway.net.tls_transport import TLSClientEndpoint
from provider_gateway.observability.repeats import Repeats

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IProtocol, IProtocolFactory

    from provider_gateway.config.broker_url import BrokerURL

#: Seconds for the handshakes of TCP, TLS and AMQP together, with one broker.
HANDSHAKE_TIMEOUT = 10.0
#: Seconds to prepare a session: for declarations, channels and consumers.
PREPARE_TIMEOUT = 30.0

#: Errors whose text says what happened, in words for the log.
_IN_WORDS = (ConnectError, DNSLookupError, ConnectionLost, AMQPError, TopologyError)


def why_failed(error: Exception) -> str:
    """Why an attempt to connect failed, in one line for the log.

    Args:
        error: of any kind.
    """
    if isinstance(error, _IN_WORDS):
        return str(error) or type(error).__name__
    return f"{type(error).__name__}: {error}"


class _SessionTransport:
    """The transport that ClientService sees. To lose the connection, it closes the AMQP connection in order."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def loseConnection(self) -> None:
        self._session.close()


@implementer(IStreamClientEndpoint)
class BrokerEndpoint:
    """Connects to the brokers in turn, beginning with the one that worked last.

    Args:
        reactor: provides TCP, host names and time.
        urls: at least one.
        tls: makes TLS towards a host, for ``amqps`` addresses.
        has_client_certificate: TLS presents a client certificate. It is the login if the URL has no user.
        name: name of the connection, for logs and the broker's tools.
        instance: name of the process, for the broker's tools.
        prepare: makes a session ready for use. If it fails, the next broker is tried.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        urls: Sequence[BrokerURL],
        *,
        tls: Callable[[str], IOpenSSLClientConnectionCreator] | None,
        has_client_certificate: bool,
        name: str,
        instance: str,
        prepare: Callable[[Session], Awaitable[None]],
    ) -> None:
        self._reactor = reactor
        self._urls = list(urls)
        self._tls = tls
        self._has_client_certificate = has_client_certificate
        self._name = name
        self._instance = instance
        self._prepare = prepare
        self._is_cancelled = False
        self._repeats = Repeats(reactor)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect (twisted.internet.interfaces.IStreamClientEndpoint).

        Returns:
            A Deferred of the factory's protocol. It fails with the last broker's error if no broker gave a session.
        """
        self._is_cancelled = False
        attempt = Deferred.fromCoroutine(self._connect(protocolFactory))

        def cancel(_: object) -> None:
            # An attempt that is cancelled ends with one of several errors, and must not go on with the next broker.
            self._is_cancelled = True
            attempt.cancel()

        connected: Deferred[IProtocol] = Deferred(cancel)
        attempt.addCallbacks(connected.callback, connected.errback)
        return connected

    async def _connect(self, protocol_factory: IProtocolFactory) -> IProtocol:
        failed: Exception = ConnectionLost("no broker address")
        for _ in range(len(self._urls)):
            try:
                session = await self.open_session()
                protocol = self._hand_over(session, protocol_factory)
            except Exception as error:  # noqa: BLE001 - whatever an attempt raises, it has failed
                if self._is_cancelled:
                    raise CancelledError from None
                failed = error
                self._say_why(error)
                self._urls.append(self._urls.pop(0))
                continue
            self._repeats.forget()
            return protocol
        raise failed

    def _say_why(self, error: Exception) -> None:
        address, reason = str(self._urls[0]), why_failed(error)
        left_out = self._repeats.left_out(address, reason)
        if left_out is None:
            return
        self._log.warn(
            "AMQP connection {connection}: {address}: {reason}{times}",
            connection=self._name,
            address=address,
            reason=reason,
            times=f" ({left_out} more times since the last such line)" if left_out else "",
        )
        if not isinstance(error, _IN_WORDS):
            trace = Failure(error).getTraceback()
            self._log.debug("AMQP connection {connection}: {trace}", connection=self._name, trace=trace)

    def _hand_over(self, session: Session, protocol_factory: IProtocolFactory) -> IProtocol:
        try:
            assert session.transport is not None
            protocol = protocol_factory.buildProtocol(session.transport.getPeer())
            assert protocol is not None
            protocol.makeConnection(_SessionTransport(session))  # type: ignore[arg-type] # ClientService only closes it
        except BaseException:
            session.abort()
            raise
        session.when_lost().addCallback(lambda error: protocol.connectionLost(Failure(error)))
        return protocol

    async def open_session(self) -> Session:
        """Open and prepare a session with the first broker of the list.

        Raises:
            Exception: of any kind; nothing is left open. :func:`why_failed` says in words what it is.
        """
        url = self._urls[0]
        login = Login.of(url, has_client_certificate=self._has_client_certificate)
        session = Session(self._parameters(url, login), self._reactor)
        try:
            await self._within(HANDSHAKE_TIMEOUT, self._handshake(url, session, login))
            await self._within(PREPARE_TIMEOUT, self._prepare(session))
            if not session.is_open:
                raise await session.when_lost()
        except BaseException:
            # BaseException: a cancelled attempt (GeneratorExit included) must not leave a socket open.
            session.abort()
            raise
        return session

    async def _handshake(self, url: BrokerURL, session: Session, login: Login) -> None:
        endpoint = host_endpoint(self._reactor, url.host, url.port, HANDSHAKE_TIMEOUT)
        if url.tls:
            assert self._tls is not None
            endpoint = TLSClientEndpoint(self._tls(url.host), endpoint, self._reactor)
        await endpoint.connect(_OneProtocol(session))
        try:
            await session.open()
        except ConnectionLost:
            objection = login.objection(session.offered)
            if objection is None:
                raise
            raise ConnectionLost(objection) from None

    def _within(self, seconds: float, coroutine: Awaitable[None]) -> Deferred[None]:
        attempt: Deferred[None] = Deferred.fromCoroutine(coroutine)  # type: ignore[arg-type] # async defs all
        # A cancelled attempt ends with one of several errors. Each of them means that the time is over.
        return attempt.addTimeout(
            seconds, self._reactor, lambda _, limit: Failure(ConnectionLost(f"no answer within {limit:g} s"))
        )

    def _parameters(self, url: BrokerURL, login: Login) -> pika.ConnectionParameters:
        return pika.ConnectionParameters(
            host=url.host,
            port=url.port,
            virtual_host=url.virtual_host,
            credentials=login.credentials,
            heartbeat=lambda _connection, offered: int(min(offered, url.heartbeat)) or url.heartbeat,
            client_properties={
                "connection_name": f"{self._instance} {self._name}",
                "product": "provider-gateway",
                "version": __version__,
            },
        )


class _OneProtocol(Factory):
    """A factory of one protocol, which exists already."""

    noisy = False

    def __init__(self, protocol: Session) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Session:  # noqa: ARG002 - Twisted's signature
        """Return the session (twisted.internet.interfaces.IProtocolFactory)."""
        return self._protocol
