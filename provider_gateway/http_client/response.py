"""A response whose headers have arrived, while its body arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IPushProducer
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocol
    from twisted.python.failure import Failure
    from twisted.web.http_headers import Headers


class Source(Protocol):
    """What a response needs of its connection."""

    def abort(self) -> None:
        """Drop the connection."""

    def pause(self) -> None:
        """Stop reading."""

    def read_on(self) -> None:
        """Undo :meth:`pause`."""


@implementer(IResponse, IPushProducer)
class Response:
    """A response whose headers have arrived. For the protocol that receives its body it is the transport.

    Args:
        source: the connection that the body arrives on.

    Attributes:
        code: the status code.
        headers: the headers, without trailers.
    """

    __slots__ = ("_end", "_is_paused", "_pieces", "_protocol", "_source", "code", "headers", "previousResponse")

    version = (b"HTTP", 1, 1)
    phrase = b""
    request = None

    def __init__(self, code: int, headers: Headers, source: Source) -> None:
        self.code = code
        self.headers = headers
        self.previousResponse: IResponse | None = None
        self._source = source
        self._protocol: IProtocol | None = None
        self._pieces: list[bytes] = []
        self._end: Failure | None = None
        self._is_paused = False

    @property
    def length(self) -> Any:
        """The Content-Length in bytes, or UNKNOWN_LENGTH (twisted.web.iweb.IResponse)."""
        declared = self.headers.getRawHeaders(b"content-length")
        return int(declared[0]) if declared else UNKNOWN_LENGTH

    def setPreviousResponse(self, response: IResponse) -> None:
        """Note the response that redirected here (twisted.web.iweb.IResponse)."""
        self.previousResponse = response

    def deliverBody(self, protocol: Any) -> None:
        """Deliver the body to a protocol: what has arrived, and later the rest (twisted.web.iweb.IResponse)."""
        self._protocol = protocol
        protocol.makeConnection(self)
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            protocol.dataReceived(piece)
        if self._end is not None:
            protocol.connectionLost(self._end)
        elif not self._is_paused:
            self._source.read_on()

    @property
    def is_read(self) -> bool:
        """True if a protocol receives the body."""
        return self._protocol is not None

    def receive(self, pieces: list[bytes]) -> None:
        """Deliver pieces of the body, or keep them until a protocol receives it."""
        if self._protocol is None:
            self._pieces += pieces
            return
        for piece in pieces:
            self._protocol.dataReceived(piece)

    def end(self, reason: Failure) -> None:
        """Deliver the end of the body, or keep it until a protocol receives the body."""
        self._end = reason
        if self._protocol is not None:
            self._protocol.connectionLost(reason)

    def loseConnection(self) -> None:
        """Drop the connection, unless the body has ended: then it may serve another request."""
        if self._end is None:
            self._source.abort()

    def stopProducing(self) -> None:
        """As :meth:`loseConnection` (twisted.internet.interfaces.IPushProducer)."""
        self.loseConnection()

    def pauseProducing(self) -> None:
        """Stop reading from the connection (twisted.internet.interfaces.IPushProducer)."""
        self._is_paused = True
        if self._end is None:
            self._source.pause()

    def resumeProducing(self) -> None:
        """Read from the connection again (twisted.internet.interfaces.IPushProducer)."""
        self._is_paused = False
        if self._end is None:
            self._source.read_on()
