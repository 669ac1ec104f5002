"""A client of the HTTPS listener that sends any bytes and sees every byte that comes back."""

from __future__ import annotations

import json
import select
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from tests.security.certificates import trusted_file
from tests.security.processes import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.certificates import Holder


@dataclass(frozen=True)
class Response:
    """A response; header names in lower case.

    Attributes:
        head: status line and headers as they came.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    head: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document."""
        assert self.headers["content-type"] == "application/problem+json", self
        document: dict[str, Any] = json.loads(self.body)
        return document


class NoResponseError(Exception):
    """The connection ended before a response was complete; the text has the received bytes."""


def tls_for(
    holder: Holder | None,
    folder: Path,
    *,
    newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
    oldest: ssl.TLSVersion = ssl.TLSVersion.MINIMUM_SUPPORTED,
    ciphers: str | None = None,
    trusted: Path | None = None,
    is_trusting: bool = False,
) -> ssl.SSLContext:
    """TLS of a client with this certificate; it may choose old versions and weak ciphers.

    Args:
        holder: None for a client without a certificate.
        folder: where the certificate file for OpenSSL is written.
        trusted: CAs of the server.
        is_trusting: do not check the server, and know no CA. OpenSSL sends certificates of CAs that it knows along with
            the client's own; this client sends the chain of ``holder`` and no more.
    """
    if is_trusting:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    else:
        context = ssl.create_default_context(cafile=str(trusted or trusted_file()))
    context.set_ciphers(f"{ciphers or 'DEFAULT'}:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = oldest, newest
    if holder is not None:
        context.load_cert_chain(holder.write(folder / f"{holder.certificate.serial_number}.pem"))
    return context


def post(body: bytes, *headers: bytes, target: bytes = b"/v1/predict", length: int | None = None) -> bytes:
    """The bytes of a POST; a given header replaces the default one of its name.

    Args:
        length: a Content-Length other than the body's.
    """
    usual = [
        b"Host: localhost",
        b"Content-Type: application/json",
        b"routing-key: predict.now",
        b"Content-Length: %d" % (len(body) if length is None else length),
    ]
    given = {each.partition(b":")[0].lower() for each in headers}
    lines = [each for each in usual if each.partition(b":")[0].lower() not in given]
    return b"\r\n".join([b"POST %s HTTP/1.1" % target, *lines, *headers, b"", body])


def get(target: bytes, method: bytes = b"GET") -> bytes:
    """The bytes of a request without a body."""
    return b"%s %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % (method, target)


class Connection:
    """One connection to 127.0.0.1; each wait lasts at most :data:`PATIENCE` seconds.

    Args:
        tls: None for plain TCP.
        session: a TLS session to resume.
        receive_buffer: size of the kernel's receive buffer in bytes; None for the default.
    """

    def __init__(
        self,
        port: int,
        tls: ssl.SSLContext | None,
        *,
        session: ssl.SSLSession | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        raw = socket.socket()
        if receive_buffer is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(PATIENCE)
        self.socket: Any = raw
        self._received = b""
        try:
            raw.connect(("127.0.0.1", port))
            if tls is not None:
                self.socket = tls.wrap_socket(raw, server_hostname="localhost", session=session)
        except BaseException:
            raw.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def receive(self) -> bytes:
        """The next received bytes; other methods do not see them."""
        data = self._receive()
        self._received = b""
        return data

    def _receive(self) -> bytes:
        """The next received bytes; empty if the connection has ended, by a close or a reset."""
        try:
            data: bytes = self.socket.recv(65536)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""
        self._received += data
        return data

    def read_to_end(self) -> bytes:
        """All bytes until the server ends the connection."""
        while self._receive():
            pass
        data, self._received = self._received, b""
        return data

    def finish(self) -> bytes:
        """Half-close the connection, and return all bytes that still come; sent bytes still reach the server."""
        # Not the TLS socket's own method: it would end TLS, and no more could be read.
        socket.socket.shutdown(self.socket, socket.SHUT_WR)
        return self.read_to_end()

    def is_heard_within(self, seconds: float) -> bool:
        """True if bytes, or the end of the connection, come within this time; the bytes are kept."""
        self.socket.settimeout(seconds)
        try:
            self._receive()
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(PATIENCE)
        return True

    def is_ended_within(self, seconds: float) -> bool:
        """True if the server ends the connection within this time; bytes that come before are kept."""
        self.socket.settimeout(seconds)
        try:
            while self._receive():
                pass
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(PATIENCE)
        return True

    def is_reset_within(self, seconds: float) -> bool:
        """True if the server resets the connection within this time; reads nothing."""
        poll = select.poll()
        poll.register(self.socket, 0)  # poll() always reports errors
        return bool(poll.poll(1000 * seconds))

    def response(self, *, has_body: bool = True) -> Response:
        """The next response, which has a Content-Length.

        Args:
            has_body: false for an answer to HEAD.

        Raises:
            NoResponseError: the connection ended before.
        """
        while b"\r\n\r\n" not in self._received:
            self._more()
        head, _, rest = self._received.partition(b"\r\n\r\n")
        headers = _headers(head)
        length = int(headers.get("content-length", "0")) if has_body else 0
        while len(rest) < length:
            self._more()
            rest = self._received[len(head) + 4 :]
        self._received = rest[length:]
        return Response(int(head.split(b" ", 2)[1]), headers, rest[:length], head)

    def _more(self) -> None:
        if not self._receive():
            raise NoResponseError(repr(self._received[-500:]))

    def ask(self, request: bytes) -> Response:
        """Send a request and return its response."""
        self.send(request)
        return self.response()

    def close(self) -> None:
        """End the connection."""
        self.socket.close()


def responses(data: bytes) -> list[Response]:
    """The responses in these bytes; fails if there are other bytes."""
    found = []
    while data:
        assert data.startswith(b"HTTP/1.1 "), data[:200]
        head, _, rest = data.partition(b"\r\n\r\n")
        headers = _headers(head)
        length = int(headers.get("content-length", "0"))
        assert len(rest) >= length, data[:500]
        found.append(Response(int(head.split(b" ", 2)[1]), headers, rest[:length], head))
        data = rest[length:]
    return found


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
