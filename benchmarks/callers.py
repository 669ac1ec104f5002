"""The HTTPS load generator: callers in one process, each with a connection and one request at a time.

``ab`` would not do: it speaks HTTP/1.0, after which uvicorn closes the connection, so the peer's figures would include
its handshakes. This program calls OpenSSL and does little else. It costs no more than ``ab`` (its CPU time is in the
result). All connections are made before the clock starts: the program then writes a line to standard output, and begins
when it reads a line from standard input.

    python -m benchmarks.callers URL CONCURRENCY COUNT ROUTING_KEY [HEADER …]
    python -m benchmarks.callers URL CONCURRENCY COUNT --get FILE

A header is a line: ``Prefer: respond-async``. The file has paths to get, one a line, which are taken in turn.
"""

from __future__ import annotations

import gc
import itertools
import json
import re
import resource
import select
import socket
import ssl
import sys
import time
from array import array
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.initiator import BODY
from devtools.processes import CERTS

if TYPE_CHECKING:
    from collections.abc import Iterator

PERCENTILES = (50, 95, 99, 100)
#: Handshakes at a time.
_CONNECTING = 8
#: Seconds to wait for a response.
_TIMEOUT = 180
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_CLOSED = "closed"


class Caller:
    """One connection, on which requests follow each other."""

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext) -> None:
        connection = socket.create_connection(address, timeout=_TIMEOUT)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(connection, server_hostname="localhost")
        self.socket.setblocking(False)
        self._answer = b""
        self._length: int | None = None
        self.sent = 0.0

    def send(self, request: bytes) -> None:
        """Send a request; it is small enough for every socket buffer."""
        self._answer = b""
        self.sent = time.perf_counter()
        self.socket.send(request)

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
            return _CLOSED
        if not data:
            return _CLOSED
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or length is None or len(body) < int(length[1]):
            return None
        return head[9:12].decode()


def connect(url: str, concurrency: int) -> list[Caller]:
    """Connect callers and finish their handshakes."""
    # With a CA to trust, OpenSSL would send the CA's certificate along with ours, and the server would keep it: 5 KB.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(CERTS / "client_cert.pem", CERTS / "client_key.pem")
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 443)
    with ThreadPoolExecutor(_CONNECTING) as pool:
        return list(pool.map(lambda _: Caller(address, context), range(concurrency)))


def call(callers: list[Caller], requests: Iterator[bytes], count: int) -> tuple[Counter[str], array[float]]:
    """Send requests until ``count`` of them are answered, or all connections are closed.

    Args:
        requests: at least ``count`` of them.

    Returns:
        The number of responses by status, and the seconds of each, in the order of the responses.
    """
    poll = select.epoll()
    by_number = {caller.socket.fileno(): caller for caller in callers}
    statuses: Counter[str] = Counter()
    taken: array[float] = array("d")
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    left = count
    waiting = set()
    for caller in callers[:count]:
        caller.send(next(requests))
        waiting.add(caller.socket.fileno())
        left -= 1
    while waiting:
        events = poll.poll(_TIMEOUT)
        if not events:
            statuses["timeout"] += len(waiting)
            break
        for number, _ in events:
            caller = by_number[number]
            status = caller.receive()
            if status is None:
                continue
            if number in waiting:
                statuses[status] += 1
                taken.append(time.perf_counter() - caller.sent)
            if status == _CLOSED:
                waiting.discard(number)
                poll.unregister(number)
            elif left:
                caller.send(next(requests))
                left -= 1
            else:
                waiting.discard(number)
    return statuses, taken


def at(ordered: list[float], percent: int) -> float:
    """The percentile: the value that this many percent of the values do not exceed."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def posts(path: str, routing_key: str, headers: list[str]) -> Iterator[bytes]:
    """The same request again and again."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"routing-key: {routing_key}",
    ]
    lines += [*headers, f"Content-Length: {len(BODY)}", "", ""]
    return itertools.repeat("\r\n".join(lines).encode() + BODY)


def gets(paths: list[str]) -> Iterator[bytes]:
    """A request for each path in turn, without end."""
    return itertools.cycle([f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in paths])


def main() -> None:
    """Connect, wait for the start, call, and print the result as JSON."""
    url, concurrency, count, what, *more = sys.argv[1:]
    soft_and_hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft_and_hard[1], soft_and_hard[1]))
    callers = connect(url, int(concurrency))
    requests = gets(Path(more[0]).read_text().split()) if what == "--get" else posts(urlsplit(url).path, what, more)
    gc.collect()
    gc.disable()  # its pauses would count as latency
    print("connected", flush=True)
    sys.stdin.readline()
    started, cpu = time.perf_counter(), time.process_time()
    statuses, taken = call(callers, requests, int(count))
    result = {
        "seconds": time.perf_counter() - started,
        "cpu": time.process_time() - cpu,
        "statuses": statuses,
        "milliseconds": {percent: at(sorted(taken), percent) * 1000 for percent in PERCENTILES if taken},
    }
    print(json.dumps(result), flush=True)
    # The connections stay open until the subject's memory has been measured.
    sys.stdin.readline()


if __name__ == "__main__":
    main()
