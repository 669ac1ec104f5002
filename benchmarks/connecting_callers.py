"""The load generator that opens a new TLS 1.3 connection, with its certificate, for each request.

    python -m benchmarks.connecting_callers URL CONCURRENCY COUNT resume|anew ROUTING_KEY [HEADER …]

With ``resume``, each caller keeps the newest session ticket that it got and offers it the next time, as browsers and
HTTP libraries do. The time of a request is from connect() to the end of its answer. The server closes the connection
(``Connection: close``); a caller goes on when it has. OpenSSL works on buffers in memory, so each turn of the handshake
takes one system call. Start and result are those of :mod:`benchmarks.callers`, with the number of connections that were
resumed.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from array import array
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from OpenSSL import SSL

from benchmarks.caller import CLOSED, TIMEOUT, Answer, address_of
from benchmarks.callers import prepare, report, requests_of, wait_for_start
from devtools.processes import CERTS

if TYPE_CHECKING:
    from OpenSSL.crypto import X509


def context() -> SSL.Context:
    """TLS 1.3 with the client certificate; the server's certificate is noticed, and not checked."""
    found = SSL.Context(SSL.TLS_CLIENT_METHOD)
    found.set_min_proto_version(SSL.TLS1_3_VERSION)
    found.use_certificate_file(CERTS / "client_cert.pem")
    found.use_privatekey_file(CERTS / "client_key.pem")
    found.set_verify(SSL.VERIFY_PEER, _presented)
    return found


def _presented(tls: SSL.Connection, certificate: X509, error: int, depth: int, result: int) -> bool:  # noqa: ARG001 - pyOpenSSL's signature
    # A server that resumes a session does not present its certificate.
    tls.get_app_data().resumed = False
    return True


class ConnectingCaller:
    """Connects, sends a request, reads the answer, is disconnected, and begins anew.

    Attributes:
        began: when the last connection was begun.
        resumed: True if it continues a session.
    """

    def __init__(self, address: tuple[str, int], tls: SSL.Context, request: bytes, *, resumes: bool) -> None:
        self._address = address
        self._context = tls
        self._request = request
        self._resumes = resumes
        self._session: SSL.Session | None = None
        self.began = 0.0
        self.resumed = False

    def connect(self) -> int:
        """Connect, and begin the handshake; returns the socket's number."""
        self.began = time.perf_counter()
        self.resumed = True
        self._answer = Answer()
        self._status: str | None = None
        self._is_connected = False
        self._socket = socket.create_connection(self._address)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls = SSL.Connection(self._context)
        self._tls.set_app_data(self)
        self._tls.set_connect_state()
        if self._session is not None:
            self._tls.set_session(self._session)
        self._go_on()
        return self._socket.fileno()

    def receive(self) -> str | None:
        """Read what has arrived; returns the status, or ``closed`` without one, when the connection is closed."""
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if data:
            self._tls.bio_write(data)
            if not self._go_on():
                return None
        self._socket.close()
        return self._status or CLOSED

    @property
    def is_answered(self) -> bool:
        """True if the answer is complete."""
        return self._status is not None

    def _go_on(self) -> bool:
        """Do what can be done; returns True if the server has ended the session, or it failed."""
        try:
            if not self._is_connected:
                self._tls.do_handshake()
                self._is_connected = True
                self._tls.send(self._request)
            while True:
                status = self._answer.add(self._tls.recv(65536))
                if status is not None:
                    self._status = status
                    if self._resumes:
                        self._session = self._tls.get_session()
                    self._tls.shutdown()  # OpenSSL does not resume a session that was just cut off
        except SSL.WantReadError:
            with suppress(SSL.WantReadError):  # there may be nothing to send
                self._socket.send(self._tls.bio_read(65536))
            return False
        except SSL.Error:
            return True


def call(callers: list[ConnectingCaller], count: int) -> tuple[Counter[str], array[float], int]:
    """Send requests until ``count`` of them are answered.

    Returns:
        The number of responses by status, the seconds of each, and the number of connections that were resumed.
    """
    poll = select.epoll()
    by_number: dict[int, ConnectingCaller] = {}
    statuses: Counter[str] = Counter()
    taken: array[float] = array("d")
    resumed = 0

    def begin(caller: ConnectingCaller) -> None:
        number = caller.connect()
        by_number[number] = caller
        poll.register(number, select.EPOLLIN)

    left = count
    for caller in callers[:count]:
        begin(caller)
        left -= 1
    while by_number:
        events = poll.poll(TIMEOUT)
        if not events:
            statuses["timeout"] += len(by_number)
            break
        for number, _ in events:
            caller = by_number[number]
            was_answered = caller.is_answered
            status = caller.receive()
            if caller.is_answered and not was_answered:
                taken.append(time.perf_counter() - caller.began)
            if status is None:
                continue
            statuses[status] += 1
            resumed += caller.resumed
            del by_number[number]  # a closed socket is not polled any more
            if left:
                begin(caller)
                left -= 1
    return statuses, taken, resumed


def main() -> None:
    """Wait for the start, call, and print the result."""
    url, concurrency, count, how, routing_key, *more = sys.argv[1:]
    prepare()
    tls, address = context(), address_of(url)
    request = next(requests_of(url, routing_key, ["Connection: close", *more]))
    callers = [ConnectingCaller(address, tls, request, resumes=how == "resume") for _ in range(int(concurrency))]
    start = wait_for_start()
    statuses, taken, resumed = call(callers, int(count))
    report(start, statuses, taken, resumed=resumed)


if __name__ == "__main__":
    main()
