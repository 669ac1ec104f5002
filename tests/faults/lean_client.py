"""An HTTP client for much load: kept connections, one request at a time on each, and errors that say what is known."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import Protocol, connectionDone

from tests.faults.kept_ledger import Reply

if TYPE_CHECKING:
    from twisted.python.failure import Failure

#: Seconds for a connection with its handshake.
_CONNECT = 5


class NotSent(Exception):
    """No connection could be made: the request was certainly not sent."""


class NoResponse(Exception):
    """The connection was lost, or no response came in time: the outcome is unknown."""


class _Connection(Protocol):
    """A connection that is idle, or waits for one response."""

    transport: Any

    def __init__(self) -> None:
        self.is_open = True
        self._data = b""
        self._waiting: Deferred[Reply] | None = None
        self._has_body = True

    def ask(self, data: bytes, *, has_body: bool) -> Deferred[Reply]:
        self._waiting, self._has_body = Deferred(), has_body
        self.transport.write(data)
        return self._waiting

    def abort(self) -> None:
        if self.is_open:
            self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        while self._waiting is not None and (reply := self._take()) is not None:
            if reply.headers.get("connection", "").lower() == "close":
                self.transport.loseConnection()
                self.is_open = False
            waiting, self._waiting = self._waiting, None
            waiting.callback(reply)

    def _take(self) -> Reply | None:
        head, end, rest = self._data.partition(b"\r\n\r\n")
        if not end:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split(" ")[1])
        size = 0 if status in (204, 304) or not self._has_body else int(headers["content-length"])
        if len(rest) < size:
            return None
        self._data = rest[size:]
        return Reply(status, headers, rest[:size])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_open = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(NoResponse(f"the connection was lost: {reason.value}"))


class LeanClient:
    """Sends requests to ports on loopback.

    Args:
        tls: Twisted's options of a client's TLS.
        patience: seconds to wait for a response.
    """

    def __init__(self, tls: Any, patience: float = 60) -> None:
        self._tls = tls
        self._patience = patience
        self._idle: dict[int, deque[_Connection]] = {}
        self._all: set[_Connection] = set()

    async def ask(self, port: int, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Reply:
        """Send a request and wait for its response.

        Raises:
            NotSent: the request was certainly not sent.
            NoResponse: nobody knows what became of it.
        """
        connection = await self._connection(port)
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{name}: {headers[name]}" for name in headers)]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        data = "\r\n".join([*lines, "", ""]).encode() + body
        waiting = connection.ask(data, has_body=method != "HEAD")
        timer = reactor.callLater(self._patience, connection.abort)
        try:
            reply = await waiting
        finally:
            if timer.active():
                timer.cancel()
            if not connection.is_open:
                self._all.discard(connection)
        if connection.is_open:
            self._idle.setdefault(port, deque()).append(connection)
        return reply

    def close(self) -> None:
        """End all connections."""
        for each in self._all:
            each.abort()
        self._all.clear()
        self._idle.clear()

    async def _connection(self, port: int) -> _Connection:
        idle = self._idle.setdefault(port, deque())
        while idle:
            connection = idle.pop()
            if connection.is_open:
                return connection
            self._all.discard(connection)
        endpoint = wrapClientTLS(self._tls, HostnameEndpoint(reactor, b"127.0.0.1", port, _CONNECT))
        made = _Connection()
        try:
            await connectProtocol(endpoint, made).addTimeout(_CONNECT, reactor)
        except Exception as error:
            raise NotSent(str(error)) from error
        self._all.add(made)
        return made
