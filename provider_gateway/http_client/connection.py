"""One connection of our HTTP client: a request is written in one go, then its answer read; what is dirty is dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse
from zope.interface import implementer

from provider_gateway.http_client.errors import InvalidResponse, ResponseCutOff, UnrequestedCoding
from provider_gateway.http_client.response_reader import check_not_coded
from provider_gateway.net.eager_tcp import send_at_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.web.http_headers import Headers

    from provider_gateway.http_client.response_reader import Readers, ResponseReader

_DONE = Failure(ResponseDone("The body is complete."))
_ENDED = Failure(PotentialDataLoss())


@implementer(IResponse, IPushProducer)
class Response:
    """An answer whose headers are there, and its body as it comes. To whoever reads the body it is the transport.

    Attributes:
        code: the status.
        headers: without trailers.
    """

    __slots__ = ("_connection", "_end", "_pieces", "_protocol", "code", "headers", "previousResponse")

    version = (b"HTTP", 1, 1)
    phrase = b""
    request = None

    def __init__(self, code: int, headers: Headers, connection: Connection) -> None:
        self.code = code
        self.headers = headers
        self.previousResponse: IResponse | None = None
        self._connection = connection
        self._protocol: IProtocol | None = None
        self._pieces: list[bytes] = []
        self._end: Failure | None = None

    @property
    def length(self) -> Any:
        """Bytes of the body, if they were declared (twisted.web.iweb.IResponse)."""
        declared = self.headers.getRawHeaders(b"content-length")
        return int(declared[0]) if declared else UNKNOWN_LENGTH

    def setPreviousResponse(self, response: IResponse) -> None:
        """Note what was redirected here (twisted.web.iweb.IResponse)."""
        self.previousResponse = response

    def deliverBody(self, protocol: Any) -> None:
        """Hand what is there of the body to a protocol, and then the rest (twisted.web.iweb.IResponse)."""
        self._protocol = protocol
        protocol.makeConnection(self)
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            protocol.dataReceived(piece)
        if self._end is not None:
            protocol.connectionLost(self._end)
        else:
            self._connection.read_on()

    @property
    def is_read(self) -> bool:
        """True if the body is being delivered."""
        return self._protocol is not None

    def receive(self, pieces: list[bytes]) -> None:
        """Deliver pieces of the body, now or later."""
        if self._protocol is None:
            self._pieces += pieces
            return
        for piece in pieces:
            self._protocol.dataReceived(piece)

    def end(self, reason: Failure) -> None:
        """Deliver the end of the body, now or later."""
        self._end = reason
        if self._protocol is not None:
            self._protocol.connectionLost(reason)

    def loseConnection(self) -> None:
        """Receive no more of the body; its connection is dropped."""
        if self._end is None:
            self._connection.abort()

    def stopProducing(self) -> None:
        """Receive no more of the body (twisted.internet.interfaces.IPushProducer)."""
        self.loseConnection()

    def pauseProducing(self) -> None:
        """Read nothing for now (twisted.internet.interfaces.IPushProducer)."""
        if self._end is None:
            self._connection.pause()

    def resumeProducing(self) -> None:
        """Read on (twisted.internet.interfaces.IPushProducer)."""
        if self._end is None:
            self._connection.read_on()


@implementer(IProtocol, IPushProducer)
class Connection:
    """A connection to a server, for one request at a time.

    Towards its transport it is a producer that cannot be held up, for it hands over each request at once; so it knows
    when one is still not sent.

    Args:
        readers: of the answers.
        on_idle: is told the connection whenever another request may be sent on it.
        on_lost: is told it when none may any more, maybe twice.
    """

    __slots__ = (
        "_expected", "_is_dropped", "_is_paused", "_is_unsent", "_on_idle", "_on_lost", "_reader", "_readers",
        "_response", "transport",
    )  # fmt: skip

    def __init__(
        self, readers: Readers, on_idle: Callable[[Connection], object], on_lost: Callable[[Connection], object]
    ) -> None:
        self.transport: Any = None
        self._readers = readers
        self._on_idle = on_idle
        self._on_lost = on_lost
        #: From the first byte of an answer to the last.
        self._reader: ResponseReader | None = None
        #: Of the request that was sent, until the headers of its answer are there; then the answer, to its end.
        self._expected: Deferred[IResponse] | None = None
        self._response: Response | None = None
        self._is_dropped = False
        self._is_paused = False
        self._is_unsent = False

    def makeConnection(self, transport: Any) -> None:
        """Begin (twisted.internet.interfaces.IProtocol)."""
        self.transport = transport
        send_at_once(transport)
        transport.setTcpNoDelay(True)  # with Nagle's algorithm a request waits 40 ms for a delayed ACK
        transport.registerProducer(self, True)

    def connectionMade(self) -> None:
        """Nothing is left to do (twisted.internet.interfaces.IProtocol)."""

    def send(self, request: bytes) -> Deferred[IResponse]:
        """Send a request.

        Args:
            request: all of it, head and body.

        Returns:
            A Deferred that fires with the answer when its headers are there, or fails with ResponseError. Cancelling
            it drops the connection.
        """
        expected: Deferred[IResponse] = Deferred(self._cancel)
        self._expected = expected
        self.transport.write(request)
        return expected

    def dataReceived(self, data: bytes) -> None:
        """Read (twisted.internet.interfaces.IProtocol)."""
        if self._is_dropped:
            return
        if self._expected is None and self._response is None:
            self.abort()  # nothing was asked
            return
        reader = self._reader = self._reader or self._readers.take()
        try:
            pieces = reader.feed(data)
        except InvalidResponse:
            self.abort()
            self._fail(Failure())
            return
        if self._response is not None:
            self._response.receive(pieces)
            self._end_if_complete(reader, self._response)
        elif reader.status is not None:
            self._begin_response(reader, pieces)

    def _begin_response(self, reader: ResponseReader, pieces: list[bytes]) -> None:
        """Hand over an answer whose headers are there."""
        expected, self._expected = self._expected, None
        assert expected is not None
        try:
            check_not_coded(reader.headers)
        except UnrequestedCoding:
            self.abort()
            expected.errback(Failure())
            return
        response = self._response = self._new_response(reader)
        response.receive(pieces)
        self._end_if_complete(reader, response)
        expected.callback(response)
        if self._response is response and not response.is_read:
            self.pause()

    def _new_response(self, reader: ResponseReader) -> Response:
        assert reader.status is not None
        return Response(reader.status, reader.headers, self)

    def _end_if_complete(self, reader: ResponseReader, response: Response) -> None:
        if self._is_dropped or not reader.is_complete:
            return
        self._response = None
        if reader.is_persistent and not self._is_unsent:
            self._reader = None
            self._readers.give_back(reader)
            self._on_idle(self)
        else:
            self.close()
        response.end(_DONE)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End what is under way (twisted.internet.interfaces.IProtocol)."""
        self._is_dropped = True
        self._on_lost(self)
        if self._response is not None and self._reader is not None and self._reader.ends_with_connection:
            self._response.end(_ENDED)
            self._response = None
        else:
            self._fail(Failure(ResponseCutOff(reason)))

    def _fail(self, reason: Failure) -> None:
        """Fail the request, or the body of its answer if the headers are there.

        Args:
            reason: a ResponseError.
        """
        expected, self._expected = self._expected, None
        response, self._response = self._response, None
        if expected is None:
            if response is not None:
                response.end(reason)
        elif self._reader is None or self._reader.status is None:
            expected.errback(reason)
        else:
            response = self._new_response(self._reader)
            response.end(reason)
            expected.callback(response)

    def _cancel(self, _: Deferred[IResponse]) -> None:
        self._expected = None
        self.abort()

    def close(self) -> None:
        """Close the connection, on which nothing is under way."""
        if self._is_unsent:
            self.abort()
        elif not self._is_dropped:
            self._is_dropped = True
            self._on_lost(self)
            self.transport.unregisterProducer()  # or TLS would wait for it
            self.transport.loseConnection()

    def abort(self) -> None:
        """Drop the connection, whatever is under way; of the answer, nothing more is read."""
        if not self._is_dropped:
            self._is_dropped = True
            self._on_lost(self)
            self.transport.abortConnection()

    def pause(self) -> None:
        """Read nothing more for now."""
        if not self._is_dropped and not self._is_paused:
            self._is_paused = True
            self.transport.pauseProducing()

    def read_on(self) -> None:
        """Undo :meth:`pause`."""
        if not self._is_dropped and self._is_paused:
            self._is_paused = False
            self.transport.resumeProducing()

    def pauseProducing(self) -> None:
        """Know that the request is not sent (twisted.internet.interfaces.IPushProducer)."""
        self._is_unsent = True

    def resumeProducing(self) -> None:
        """Know that the request is sent (twisted.internet.interfaces.IPushProducer)."""
        self._is_unsent = False

    def stopProducing(self) -> None:
        """Know that the connection is lost, as :meth:`connectionLost` says, too (IPushProducer)."""
