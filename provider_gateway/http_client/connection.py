"""One connection of the HTTP client.

A request is written in one call, a large body in pieces as the transport takes them. A connection that may have bytes
of another response left on it is never used again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from OpenSSL.SSL import Error as TLSError
from twisted.internet.error import ConnectingCancelledError, ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, IProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from zope.interface import implementer

from provider_gateway.http_client.errors import (
    ClosedBeforeResponse,
    HandshakeFailed,
    InvalidResponse,
    ResponseCutOff,
    UnrequestedCoding,
)
from provider_gateway.http_client.expected import Expected
from provider_gateway.http_client.response import Response
from provider_gateway.http_client.response_reader import checked_for_codings
from provider_gateway.net.arrivals import descriptor_of, has_arrivals
from provider_gateway.net.eager_tcp import send_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from provider_gateway.http_client.response_reader import Readers, ResponseReader

#: Bytes of a body that are written in one call.
PIECE = 131_072
#: Alerts, as OpenSSL names them, with which a server ends a handshake over our certificate (RFC 8446, 6.2).
_REFUSAL = re.compile("alert .*(certificate|unknown ca|access denied|decrypt error|handshake failure)")
_DONE = Failure(ResponseDone("The body is complete."))
_ENDED = Failure(PotentialDataLoss())


@implementer(IProtocol, IHandshakeListener, IPushProducer)
class Connection:
    """A connection to a server, for one request at a time.

    Registers with its transport as a push producer, to learn when the transport still holds unsent bytes of a request.

    Args:
        readers: lends a reader for each response.
        on_idle: called with the connection whenever it can take another request, and with the number of seconds for
            which the server keeps it, if the server has said so.
        on_lost: called with the connection when it can take no more requests. May be called twice.
        is_secure: True if the connection begins with a TLS handshake.

    Attributes:
        is_dropped: True if the connection takes no more requests.
    """

    __slots__ = (
        "_codings", "_descriptor", "_expected", "_is_connected", "_is_paused", "_is_reused", "_is_unsent", "_on_idle",
        "_on_lost", "_reader", "_readers", "_response", "_rest", "is_dropped", "transport",
    )  # fmt: skip

    def __init__(
        self,
        readers: Readers,
        on_idle: Callable[[Connection, int | None], object],
        on_lost: Callable[[Connection], object],
        *,
        is_secure: bool,
    ) -> None:
        self.transport: Any = None
        self._descriptor: int | None = None
        self._readers = readers
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._codings: Collection[str] = ()
        #: Reads the response. Set from its first byte to its last.
        self._reader: ResponseReader | None = None
        #: The Deferred of the request, until the response's headers have arrived.
        self._expected: Expected | None = None
        self._response: Response | None = None  # from its headers to its end
        self._is_connected = not is_secure  # False until the TLS handshake is complete on our side
        self.is_dropped = self._is_paused = self._is_reused = self._is_unsent = False
        self._rest: memoryview | None = None  # is not written yet, of a large body

    def makeConnection(self, transport: Any) -> None:
        """Prepare the transport (twisted.internet.interfaces.IProtocol)."""
        self.transport = transport
        self._descriptor = descriptor_of(transport)
        send_at_once(transport)
        transport.setTcpNoDelay(True)  # with Nagle's algorithm a request waits 40 ms for a delayed ACK
        transport.registerProducer(self, True)

    def has_arrivals(self) -> bool:
        """True if an idle connection must not be used: it is closed, or has sent something unasked, which is unread."""
        return has_arrivals(self._descriptor)

    def connectionMade(self) -> None:
        """Do nothing: makeConnection did it (twisted.internet.interfaces.IProtocol)."""

    def handshakeCompleted(self) -> None:
        """Note the end of the TLS handshake (twisted.internet.interfaces.IHandshakeListener)."""
        self._is_connected = True

    def send(
        self, request: bytes, body: bytes = b"", codings: Collection[str] = (), expected: Expected | None = None
    ) -> Expected:
        """Send a request.

        Args:
            request: the whole request, or its head.
            body: a large body, which is written piece by piece, without a copy.
            codings: content codings that the request asks for; a response with another one is an error.
            expected: what to return, if it exists already.

        Returns:
            A Deferred that fires with the response when its headers have arrived, or fails with ResponseError.
            Cancelling it drops the connection; it fails with ConnectingCancelledError if the TLS handshake was not
            complete, so that nothing was sent.
        """
        expected = expected or Expected()
        expected.connection = self
        self._expected, self._codings = expected, codings
        if body:
            self._rest = memoryview(body)[PIECE:]
            self.transport.writeSequence((request, memoryview(body)[:PIECE]))
            self._write_rest()
        else:
            self.transport.write(request)
        return expected

    def _write_rest(self) -> None:
        """Write as much of the body as the transport takes now."""
        while self._rest and not self._is_unsent and not self.is_dropped:
            piece, self._rest = self._rest[:PIECE], self._rest[PIECE:]
            self.transport.writeSequence((piece,))
        self._rest = self._rest or None  # an empty view would hold the body

    def dataReceived(self, data: bytes) -> None:
        """Read bytes of the response (twisted.internet.interfaces.IProtocol)."""
        if self.is_dropped:
            return
        if self._expected is None and self._response is None:
            self.abort()  # no request is under way
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
        """Fire the Deferred of the request: the response's headers have arrived."""
        expected, self._expected = self._expected, None
        assert expected is not None
        assert reader.status is not None
        try:
            reader.headers = checked_for_codings(reader.status, reader.headers, self._codings)
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
        if self.is_dropped or not reader.is_complete:
            return
        self._response = None
        if reader.is_persistent and not self._is_unsent and not self._rest:
            self._reader = None
            self._is_reused = True
            if self._is_paused:  # the reader of the body has not resumed: its end came with the bytes before it
                self.read_on()
            seconds = reader.keep_alive
            self._readers.give_back(reader)
            self._on_idle(self, seconds)
        else:
            self.close()
        response.end(_DONE)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End the response, or fail it (twisted.internet.interfaces.IProtocol).

        A response that ends with its connection is complete only if the connection ended in order: with a FIN, or with
        TLS's ``close_notify`` (RFC 9112, 8 and 9.8). After a reset, or a FIN without ``close_notify``, the rest of it
        may be missing.
        """
        self.is_dropped = True
        self._rest = None
        self._on_lost(self)
        response, reader = self._response, self._reader
        if response is not None and reader is not None and reader.ends_with_connection and reason.check(ConnectionDone):
            response.end(_ENDED)
            self._response = None
        elif reader is None:
            self._fail(Failure(self._without_response(reason)))
        else:
            self._fail(Failure(ResponseCutOff(reason, "" if reader.status is None else reader.missing)))

    def _without_response(self, reason: Failure) -> ResponseCutOff:
        """The error of a connection that ended before the first byte of a response.

        With TLS 1.3 our handshake is complete before the server has seen our certificate. A server that refuses it says
        so with an alert (RFC 8446, 4.4.2.4), which comes in place of the response.
        """
        if self._is_reused:
            return ClosedBeforeResponse(reason)
        if not self._is_connected or (reason.check(TLSError) and _REFUSAL.search(str(reason.value))):
            return HandshakeFailed(reason)
        return ResponseCutOff(reason)

    def _fail(self, reason: Failure) -> None:
        """Fail the request, or the body of its response if the headers have arrived.

        Args:
            reason: holds a ResponseError.
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

    def cancel(self, expected: Expected) -> None:
        """Drop the connection, since its request is cancelled."""
        self._expected = None
        self.abort()
        if not self._is_connected:
            expected.errback(ConnectingCancelledError(self.transport.getPeer()))

    def close(self) -> None:
        """Close the connection. No request may be under way."""
        if self._is_unsent or self._rest:
            self.abort()
        elif not self.is_dropped:
            self.is_dropped = True
            self._on_lost(self)
            self.transport.unregisterProducer()  # else TLS would wait for the producer
            self.transport.loseConnection()

    def abort(self) -> None:
        """Drop the connection. Nothing more of the response is read."""
        if not self.is_dropped:
            self.is_dropped = True
            self._rest = None
            self._on_lost(self)
            self.transport.abortConnection()

    def pause(self) -> None:
        """Stop reading."""
        if not self.is_dropped and not self._is_paused:
            self._is_paused = True
            self.transport.pauseProducing()

    def read_on(self) -> None:
        """Undo :meth:`pause`."""
        if not self.is_dropped and self._is_paused:
            self._is_paused = False
            self.transport.resumeProducing()

    def pauseProducing(self) -> None:
        """Note that the request is not sent yet (twisted.internet.interfaces.IPushProducer)."""
        self._is_unsent = True

    def resumeProducing(self) -> None:
        """Write on, or note that the request is sent (twisted.internet.interfaces.IPushProducer)."""
        self._is_unsent = False
        self._write_rest()

    def stopProducing(self) -> None:
        """Do nothing: connectionLost follows (twisted.internet.interfaces.IPushProducer)."""
