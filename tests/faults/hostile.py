"""A model in the test's own process that misbehaves towards the requests that a test chooses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.task import LoopingCall

from tests.support.model_server import ModelServer

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two bytes of a slow response.
TRICKLE = 0.1
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
_BLOCK = b"x" * 65536


class HostileModel(ModelServer):
    """A model that answers normally, unless a misdeed is chosen for the request.

    Attributes:
        misdeed: chooses the misdeed for a request by its body; None for a normal response.
        seconds: name of the misdeed and duration of each request that the caller ended.
        taken: bytes that callers have read of the responses of :func:`floods`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.misdeed: Callable[[bytes], Callable[[HostileModel, Any], None] | None] = lambda _body: None
        self.seconds: list[tuple[str, float]] = []
        self.taken = 0

    async def _answer(self, request: Any, body: bytes) -> None:
        misdeed = self.misdeed(body)
        if misdeed is None:
            await super()._answer(request, body)
            return
        started = reactor.seconds()
        name = misdeed.__name__
        request.notifyFinish().addErrback(lambda _: self.seconds.append((name, reactor.seconds() - started)))
        misdeed(self, request)


def hangs(_model: HostileModel, _request: Any) -> None:
    """Never answer."""


def trickles(_model: HostileModel, request: Any) -> None:
    """Send the headers at once, and the body byte by byte."""
    request.transport.write(_HEAD)
    _trickle(request, b"[")


def trickles_headers(_model: HostileModel, request: Any) -> None:
    """Send even the status line byte by byte."""
    _trickle(request, _HEAD)


def resets(_model: HostileModel, request: Any) -> None:
    """Reset the connection instead of responding."""
    request.transport.abortConnection()


def resets_within(_model: HostileModel, request: Any) -> None:
    """Reset the connection in the middle of the response."""
    request.transport.write(_HEAD + b'{"half": ')
    reactor.callLater(TRICKLE, request.transport.abortConnection)


def resets_without_length(_model: HostileModel, request: Any) -> None:
    """Reset the connection in the middle of a response that would end with it."""
    request.transport.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"half": ')
    reactor.callLater(TRICKLE, request.transport.abortConnection)


def babbles(_model: HostileModel, request: Any) -> None:
    """Answer with bytes that are not HTTP."""
    request.transport.write(b"\x00\xff\r\n\r\n: \r\n{}")
    request.transport.loseConnection()


def answers(status: int) -> Callable[[HostileModel, Any], None]:
    """Answer with this status, and a body that is not the request's."""

    def answers_with(_model: HostileModel, request: Any) -> None:
        request.setResponseCode(status)
        request.write(b'{"said": "by the model"}')
        request.finish()

    answers_with.__name__ = str(status)
    return answers_with


def answers_at_length(headers: int = 0, body: int = 0) -> Callable[[HostileModel, Any], None]:
    """Answer with a header, and with a body, of so many bytes."""

    def answers_so(_model: HostileModel, request: Any) -> None:
        request.setHeader("X-Large", "x" * headers)
        request.write(b'"%b"' % (b"x" * body))
        request.finish()

    return answers_so


def floods(size: int) -> Callable[[HostileModel, Any], None]:
    """Answer with this many bytes as fast as the caller reads, without a Content-Length."""

    def floods_with(model: HostileModel, request: Any) -> None:
        _Flood(model, request, size)

    return floods_with


class _Flood:
    """A pull producer of many bytes."""

    def __init__(self, model: HostileModel, request: Any, size: int) -> None:
        self._model = model
        self._request = request
        self._left = size
        request.registerProducer(self, False)

    def resumeProducing(self) -> None:
        self._left -= len(_BLOCK)
        self._model.taken += len(_BLOCK)
        self._request.write(_BLOCK)
        if self._left <= 0:
            self._request.unregisterProducer()
            self._request.finish()

    def stopProducing(self) -> None:
        pass


def _trickle(request: Any, data: bytes) -> None:
    """Send data byte by byte, again and again, until the caller closes the connection."""
    sent = 0

    def send() -> None:
        nonlocal sent
        request.transport.write(data[sent % len(data) :][:1])
        sent += 1

    sending = LoopingCall(send)
    request.notifyFinish().addErrback(lambda _: sending.stop())
    sending.start(TRICKLE)
