"""Both ends of an HTTP connection in memory: a strict client, and an application that keeps its requests."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provider_gateway.http_server.site import GatewaySite

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2}) [\x20-\x7e]*")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([^\0-\x08\x0a-\x1f\x7f]*)")
_NO_BODY = (204, 304)
#: Bytes that differ between two responses to the same request.
_VARIES = re.compile(rb"Date: [^\r]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Answer(NamedTuple):
    """A response; header names in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    was_told_to_go_on: bool


class Asked(NamedTuple):
    """A request as the application received it."""

    method: bytes
    target: bytes
    path: bytes
    host: bytes | None
    body: bytes


class Echo(Resource):
    """Answers each request with its body: at once, or, below ``/slow``, when :meth:`go_on` is called.

    Attributes:
        asked: the requests so far.
        headers: the headers of each request.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Asked] = []
        self.headers: list[list[tuple[bytes, list[bytes]]]] = []
        self._waiting: list[Any] = []

    def render(self, request: Any) -> Any:
        host, body = request.getHeader(b"Host"), request.content.read()
        self.asked.append(Asked(request.method, request.uri, request.path, host, body))
        self.headers.append([(name, list(values)) for name, values in request.requestHeaders.getAllRawHeaders()])
        request.setHeader("Content-Length", str(len(self.asked[-1].body)))
        if request.path != b"/slow":
            return self.asked[-1].body
        self._waiting.append((request, self.asked[-1].body))
        request.notifyFinish().addErrback(lambda _: self._waiting.clear())
        return NOT_DONE_YET

    def go_on(self) -> bool:
        """Answer a request that waits; False if none does."""
        if self._waiting:
            request, body = self._waiting.pop(0)
            request.write(body)
            request.finish()
            return True
        return False


class Connection(StringTransport):
    """A client's connection to a site. It behaves like TCP, or like TLS over TCP.

    Args:
        tls: after the server has closed, what the client sends is read, and what the server writes is dropped. With
            TCP it is the other way round.
    """

    def __init__(self, site: GatewaySite, *, tls: bool) -> None:
        super().__init__(lenient=True)
        self._tls = tls
        self._unread: list[bytes] = []
        self._is_lost = self._has_ended = False
        self.protocol: Any = site.buildProtocol(None)
        self.protocol.makeConnection(self)

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802 - Twisted's name
        pass

    def write(self, data: bytes) -> None:
        if not (self.disconnecting and self._tls) and not self.disconnected:
            super().write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def send(self, data: bytes) -> None:
        """Send a segment; it is read as soon as the server reads."""
        self._unread.append(data)
        self.carry()

    def carry(self) -> None:
        """Deliver what was sent, as long as the server reads."""
        while self._unread and self.producerState == "producing" and not self.disconnected:
            if self.disconnecting and not self._tls:
                break
            self.protocol.dataReceived(self._unread.pop(0))
        if self._has_ended and not self._unread and self.producerState == "producing" and not self.disconnecting:
            self._has_ended = False
            self.protocol.readConnectionLost()

    def end(self) -> None:
        """Half-close the connection, once the server has read everything that was sent."""
        self._has_ended = True
        self.carry()

    def leave(self) -> None:
        """End the connection."""
        if not self._is_lost:
            self._is_lost = True
            self.protocol.connectionLost(Failure(ConnectionDone()))

    def transcript(self) -> bytes:
        """The bytes of all responses, without those that differ each time."""
        return _VARIES.sub(b"", self.value())

    def answers(self, methods: Iterable[bytes | None] = (), *, all_ours: bool = True) -> list[Answer]:
        """The responses.

        Args:
            methods: methods of the requests, as far as known: the response to HEAD has no body. None for a request that
                cannot be read, and may have been HEAD.
            all_ours: True if all errors must be problem documents. Those of a model need not be.

        Raises:
            AssertionError: the bytes are not HTTP.
        """
        data, found, known, told = self.value(), [], list(methods), False
        while data:
            head, end, data = data.partition(b"\r\n\r\n")
            first, *lines = head.split(b"\r\n")
            status_line = _STATUS_LINE.fullmatch(first)
            assert status_line, head
            assert end, head
            status, headers = int(status_line[1]), _headers(lines)
            if status == 100:
                assert (told, headers) == (False, {}), head
                told = True
                continue
            method = known[len(found)] if len(found) < len(known) else b""
            size = 0 if method == b"HEAD" or status in _NO_BODY else int(headers[b"content-length"])
            if method is None and not data:
                method, size = b"HEAD", 0
            assert len(data) >= size, f"{size} bytes were to come: {data!r}"
            found.append(Answer(status, headers, data[:size], told))
            told, data = False, data[size:]
            assert status < 400 or not all_ours or method == b"HEAD" or _is_problem(found[-1]), found[-1]
        return found


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        assert header, line
        name = header[1].lower()
        assert name not in headers, f"{name!r} stands twice"
        headers[name] = header[2]
    assert b"transfer-encoding" not in headers
    return headers


def _is_problem(answer: Answer) -> bool:
    problem = json.loads(answer.body)
    return bool(
        answer.headers[b"content-type"] == b"application/problem+json"
        and problem["status"] == answer.status
        and problem["rquid"].encode() == answer.headers[b"rquid"]
        and problem["type"].startswith("urn:provider-gateway:problem:")
    )
