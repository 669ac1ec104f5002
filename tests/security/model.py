"""A model in a thread of the tests' process: keeps its requests, and answers as a test tells it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple

from tests.security.processes import PATIENCE

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable


class Asked(NamedTuple):
    """A request to the model; header names in lower case."""

    target: str
    headers: dict[str, str]
    body: bytes


def _raw_answer(status: int, body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 %d Any" % status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


def echo(asked: Asked) -> bytes:
    """The default response: the body of the request."""
    return _raw_answer(200, asked.body, b"Content-Type: application/json")


def says(status: int, body: bytes = b"{}", *headers: bytes) -> Callable[[Asked], bytes]:
    """A constant response; header lines are sent as they are."""
    return lambda _asked: _raw_answer(status, body, *headers)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors: tests make callers leave and handshakes fail."""


class Model:
    """A listening model.

    Args:
        tls: TLS of its listener; None for plain HTTP.

    Attributes:
        tls: TLS of future connections.
        asked: all requests since :meth:`forget`.
        peers: serial number of the client certificate of each connection.
        connections: the connections since :meth:`break_connections`.
        answer: makes all bytes of the response to a request.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        model = self
        self.tls = tls
        self.connections: list[socket.socket] = []

        class Connection(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                if model.tls is not None:
                    try:
                        self.request = model.tls.wrap_socket(self.request, server_side=True)
                    except OSError:
                        model.note_refusal()
                        raise
                    model.note_peer(self.request.getpeercert())
                super().setup()
                model.connections.append(self.request)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = model.take(Asked(self.path, headers, body))
                with suppress(OSError):
                    self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._changed = threading.Condition()
        self.forget()
        self.peers: list[int] = []
        self._refusals = 0
        self._server = _Server(("127.0.0.1", 0), Connection)
        self._scheme = "http" if tls is None else "https"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        """The model's URL."""
        return f"{self._scheme}://localhost:{self._server.server_port}/predict"

    @property
    def bodies(self) -> list[bytes]:
        """The bodies of all requests."""
        return [each.body for each in self.asked]

    def forget(self) -> None:
        """Forget all requests, and answer by default again."""
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], bytes] = echo

    def note_peer(self, certificate: dict[str, str] | None) -> None:
        """Record the client certificate of a connection."""
        self.peers.append(int((certificate or {}).get("serialNumber", "0"), 16))

    def note_refusal(self) -> None:
        """Count a handshake that has failed."""
        with self._changed:
            self._refusals += 1
            self._changed.notify_all()

    def wait_until_refused(self) -> None:
        """Wait until one more handshake has failed."""
        with self._changed:
            before = self._refusals
            if not self._changed.wait_for(lambda: self._refusals > before, PATIENCE):
                msg = "no handshake has failed"
                raise AssertionError(msg)

    def take(self, asked: Asked) -> bytes:
        """Record a request, and make its response."""
        with self._changed:
            self.asked.append(asked)
            self._changed.notify_all()
        return self.answer(asked)

    def wait_for(self, count: int = 1) -> list[Asked]:
        """Wait until this many requests have come; returns all of them."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.asked) >= count, PATIENCE):
                msg = f"the model was asked {len(self.asked)} times, not {count}"
                raise AssertionError(msg)
        return self.asked

    def break_connections(self) -> None:
        """End every connection: callers have to open new ones."""
        connections, self.connections = self.connections, []
        for each in connections:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
