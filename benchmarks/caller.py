"""One caller over HTTPS: a connection on which requests follow each other. The load generators are made of them."""

from __future__ import annotations

import re
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from devtools.processes import CERTS

#: Instead of the status of a response: there will be none.
CLOSED = "closed"
#: Seconds to wait for a response.
TIMEOUT = 180
#: Handshakes at a time.
_CONNECTING = 8
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Answer:
    """A response as it arrives: its head is read, its body is counted."""

    def __init__(self) -> None:
        self._head = b""
        self._missing: int | None = None

    def add(self, data: bytes) -> str | None:
        """Take what has arrived; returns the status if the response is complete."""
        if self._missing is None:
            self._head += data
            head, end, body = self._head.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            if not end or length is None:
                return None
            self._missing = int(length[1]) - len(body)
        else:
            self._missing -= len(data)
        return self._head[9:12].decode() if self._missing <= 0 else None


class Caller:
    """One connection, on which requests follow each other.

    Attributes:
        began: when the time of the request under way began, for whoever measures it.
        unsent: what the socket had no room for.
    """

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext) -> None:
        connection = socket.create_connection(address, timeout=TIMEOUT)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(connection, server_hostname="localhost")
        self.socket.setblocking(False)
        self.began = 0.0
        self.unsent: memoryview | bytes = b""
        self._answer = Answer()

    def send(self, request: bytes) -> None:
        """Begin a request: a small one is sent, of a large one as much as the socket has room for."""
        self._answer = Answer()
        self.unsent = memoryview(request)
        self.send_rest()

    def send_rest(self) -> None:
        """Go on with a request."""
        try:
            while self.unsent:  # OpenSSL takes a record of 16 KB at a time
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except (ssl.SSLWantWriteError, BlockingIOError):
            pass
        except OSError:  # what was answered before is still there to be read
            self.unsent = b""

    def receive(self) -> str | None:
        """Read what has arrived.

        Returns:
            The status if the response is complete, ``closed`` if the connection is closed, else None.
        """
        try:
            data = self.socket.recv(65536)
        except ssl.SSLWantReadError:
            return None
        except OSError:
            return CLOSED
        return self._answer.add(data) if data else CLOSED


def client_context() -> ssl.SSLContext:
    """TLS with the client certificate."""
    # With a CA to trust, OpenSSL would send the CA's certificate along with ours, and the server would keep it: 5 KB.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(CERTS / "client_cert.pem", CERTS / "client_key.pem")
    return context


def address_of(url: str) -> tuple[str, int]:
    """Host and port of an address."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 443


def connect(url: str, concurrency: int) -> list[Caller]:
    """Connect callers and finish their handshakes."""
    context, address = client_context(), address_of(url)
    with ThreadPoolExecutor(_CONNECTING) as pool:
        return list(pool.map(lambda _: Caller(address, context), range(concurrency)))


def post(path: str, headers: list[str], body: bytes) -> bytes:
    """A request."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body
