"""Calls the model: one POST through treq, with one deadline over answer and body, and a cap on the body.

Nothing that a message carries selects the host; redirects are not followed; cookies are not kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet.defer import CancelledError, Deferred, TimeoutError as DeferredTimeoutError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from provider_gateway.errors import HeadersTooLarge, ModelFailure
from provider_gateway.messages import RQUID, headers_from_http, headers_to_http, safe_content_type, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IConsumer, IProtocol, IProtocolFactory
    from twisted.web.client import URI
    from twisted.web.iweb import IPolicyForHTTPS, IResponse

    from provider_gateway.messages import Message

#: Seconds that an idle connection is kept: less than the 5 s after which common model servers close theirs.
_KEEP_ALIVE = 4.0
#: Seconds to connect; a busy model queues requests, not connections.
_CONNECT_TIMEOUT = 10.0
#: Statuses below 500 that a later attempt may turn into an answer (RFC 9110, 15.5.9; RFC 6585, 4).
_RETRIED_4XX = (408, 429)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said.

    Attributes:
        status: 2xx, or a 4xx that is the caller's error.
        headers: those that may travel on.
    """

    status: int
    body: bytes
    content_type: str
    headers: dict[str, str]


@implementer(IBodyProducer)
class _ImmediateBody:
    """A request body that is written in one go."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def stopProducing(self) -> None:
        pass

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass


class _CappedBody(Protocol):
    """Collects a response body up to a size; closes the connection beyond it, and when it is cancelled."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._chunks: list[bytes] = []
        self._size = 0
        self.done: Deferred[bytes] = Deferred(lambda _: self._abort())

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._max_bytes:
            self._chunks.clear()
            if not self.done.called:
                msg = f"The model's answer is larger than {self._max_bytes} bytes (MAX_BODY_BYTES)."
                self.done.errback(ModelFailure(msg, "body"))
                self._abort()
            return
        self._chunks.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(b"".join(self._chunks))
        else:
            msg = "The model's answer broke off before its end."
            self.done.errback(ModelFailure(msg, "body"))

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


@implementer(IStreamClientEndpoint)
class _NoDelayEndpoint:
    """Switches Nagle's algorithm off on each connection: with it a request waits 40 ms for a delayed ACK."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        def no_delay(protocol: Any) -> Any:
            protocol.transport.setTcpNoDelay(True)
            return protocol

        return self._endpoint.connect(protocolFactory).addCallback(no_delay)


@implementer(IAgentEndpointFactory)
class ModelEndpoints:
    """Endpoints for the model's URL.

    Args:
        reactor: provides TCP, host names and time.
        tls: used for ``https``; checks the host name.
    """

    def __init__(self, reactor: Any, tls: IPolicyForHTTPS) -> None:
        self._reactor = reactor
        self._tls = tls

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """The endpoint for a URL (twisted.web.iweb.IAgentEndpointFactory)."""
        endpoint: IStreamClientEndpoint = HostnameEndpoint(
            self._reactor, uri.host.decode("ascii"), uri.port, timeout=_CONNECT_TIMEOUT
        )
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._tls.creatorForNetloc(uri.host, uri.port), endpoint)
        return _NoDelayEndpoint(endpoint)


@implementer(IAgent)
class PlainBodies:
    """An agent that asks for bodies without a content coding, and takes no others.

    treq asks for gzip by itself; Twisted's decoder turns a body that is broken into an empty success.
    """

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """Send a request (twisted.web.iweb.IAgent)."""
        headers = Headers() if headers is None else headers.copy()
        headers.setRawHeaders(b"Accept-Encoding", [b"identity"])
        return self._agent.request(method, uri, headers, bodyProducer).addCallback(self._refuse_coded)

    @staticmethod
    def _refuse_coded(response: IResponse) -> IResponse:
        codings = [text_of(value).lower() for value in response.headers.getRawHeaders(b"content-encoding", [])]
        if all(coding == "identity" for coding in codings):
            return response
        unwanted = _CappedBody(0)
        unwanted.done.addErrback(lambda _: None)
        response.deliverBody(unwanted)
        unwanted.done.cancel()
        msg = f"The model's answer has the Content-Encoding {', '.join(codings)}, which was not asked for."
        raise ModelFailure(msg, "body")


def model_client(reactor: Any, tls: IPolicyForHTTPS, connections: int) -> HTTPClient:
    """A treq client for the model.

    Args:
        connections: idle ones to keep: as many as there may be calls at a time, or bursts open thousands.
    """
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = connections
    pool.cachedConnectionTimeout = _KEEP_ALIVE  # type: ignore[assignment] # fractions work
    agent = PlainBodies(Agent.usingEndpointFactory(reactor, ModelEndpoints(reactor, tls), pool))
    no_cookies = IndexableCookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return HTTPClient(agent, no_cookies, data_to_body_producer=_ImmediateBody)


class Model:
    """The model behind one URL.

    Args:
        clock: times the deadline.
        url: the same for every call.
        max_body_bytes: larger answers are failures.
        on_unsafe_header: is called for each header of a message that must not be passed on.
    """

    def __init__(
        self,
        clock: Any,
        client: HTTPClient,
        url: str,
        max_body_bytes: int,
        on_unsafe_header: Callable[[], object] = lambda: None,
    ) -> None:
        self._clock = clock
        self._client = client
        self._url = url
        self._max_body_bytes = max_body_bytes
        self._on_unsafe_header = on_unsafe_header

    async def call(self, message: Message, rquid: str, timeout: float) -> Answer:
        """Have a message's body answered.

        Args:
            rquid: its request id.
            timeout: seconds over connecting, answer and body together.

        Returns:
            The answer: a result, or a 4xx that says what is wrong with the request.

        Raises:
            ModelFailure: timeout, no connection, 5xx (and 408, 429, 3xx), a broken or oversized body.
        """
        calling = Deferred.fromCoroutine(self._exchange(message, rquid)).addTimeout(timeout, self._clock)
        try:
            return await calling
        except DeferredTimeoutError:
            msg = f"The model did not answer within {timeout:g} s."
            raise ModelFailure(msg, "timeout") from None

    async def _exchange(self, message: Message, rquid: str) -> Answer:
        headers = headers_to_http(message.headers, self._on_unsafe_header)
        headers["Content-Type"] = safe_content_type(message.content_type)
        headers[RQUID] = rquid
        try:
            response = await self._client.post(
                self._url,
                data=message.body,
                headers=Headers({name.encode(): [value.encode()] for name, value in headers.items()}),
                allow_redirects=False,
                unbuffered=True,
                reactor=self._clock,
            )
        except ConnectingCancelledError:
            raise CancelledError from None  # ours: the deadline, or the end of the process
        except (ConnectError, DNSLookupError) as error:
            msg = "The model cannot be reached."
            raise ModelFailure(msg, "connection", error) from None
        except (ResponseNeverReceived, ResponseFailed, RequestTransmissionFailed) as error:
            self._reraise_cancellation(error)
            msg = "The model closed the connection without a valid HTTP answer."
            raise ModelFailure(msg, "connection", error) from None
        body = _CappedBody(self._max_body_bytes)
        response.deliverBody(body)
        return self._judge(response, await body.done)

    @staticmethod
    def _reraise_cancellation(error: Exception) -> None:
        """Twisted wraps our own cancellation of a request; it is no failure of the model."""
        for reason in getattr(error, "reasons", ()):
            if isinstance(reason, Failure) and reason.check(CancelledError):
                raise CancelledError from None

    @staticmethod
    def _judge(response: IResponse, body: bytes) -> Answer:
        status: int = response.code
        if not (200 <= status < 300 or (400 <= status < 500 and status not in _RETRIED_4XX)):
            msg = f"The model answered with HTTP status {status}."
            raise ModelFailure(msg, "status")
        content_type = text_of(response.headers.getRawHeaders(b"content-type", [b""])[0])
        try:
            headers = headers_from_http(response.headers.getAllRawHeaders())
        except HeadersTooLarge as error:
            msg = f"The model's answer cannot be passed on. {error}"
            raise ModelFailure(msg, "body") from None
        return Answer(status, body, safe_content_type(content_type), headers)
