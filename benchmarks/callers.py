"""The HTTPS load generator: callers in one process, each with a connection and one request at a time.

``ab`` would not do: it speaks HTTP/1.0, after which uvicorn closes the connection, so the peer's figures would include
its handshakes. This program calls OpenSSL and does little else. It costs no more than ``ab`` (its CPU time is in the
result). All connections are made before the clock starts: the program then writes a line to standard output, and begins
when it reads a line from standard input.

    python -m benchmarks.callers URL CONCURRENCY COUNT ROUTING_KEY [--body FILE] [HEADER …]
    python -m benchmarks.callers URL CONCURRENCY COUNT --get FILE

A header is a line: ``Prefer: respond-async``. The file of ``--get`` has paths, one a line, which are taken in turn.
With a count of 0, the callers go on until the program reads another line.
"""

from __future__ import annotations

import gc
import itertools
import json
import math
import resource
import select
import sys
import time
from array import array
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.bodies import BODY
from benchmarks.caller import CLOSED, TIMEOUT, connect, post

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.caller import Caller

PERCENTILES = (50, 95, 99, 99.9, 100)


class ClosedLoad:
    """Callers that send their next request when the last one is answered.

    Args:
        requests: at least ``count`` of them.
        count: requests to send, by all callers together; 0 to go on until there is a line on standard input.

    Attributes:
        statuses: the number of responses by status.
        taken: the seconds of each, in the order of the responses.
    """

    def __init__(self, callers: list[Caller], requests: Iterator[bytes], count: int) -> None:
        self.statuses: Counter[str] = Counter()
        self.taken: array[float] = array("d")
        self._by_number = {caller.socket.fileno(): caller for caller in callers}
        self._requests = requests
        self._left = count or sys.maxsize
        self._waiting: set[int] = set()
        self._poll = select.epoll()
        for number in self._by_number:
            self._poll.register(number, select.EPOLLIN)
        if not count:
            self._poll.register(sys.stdin, select.EPOLLIN)

    def call(self) -> None:
        """Send all requests and wait for the responses, or until all connections are closed."""
        for number in self._by_number:
            self._go_on(number)
        while self._waiting:
            events = self._poll.poll(TIMEOUT)
            if not events:
                self.statuses["timeout"] += len(self._waiting)
                break
            for number, event in events:
                if number not in self._by_number:
                    sys.stdin.readline()
                    self._poll.unregister(sys.stdin)
                    self._left = 0
                    continue
                if event & select.EPOLLOUT:
                    self._send_rest(number)
                if event != select.EPOLLOUT:
                    self._receive(number)

    def _go_on(self, number: int) -> None:
        """Send the next request, if there is one."""
        if not self._left:
            self._waiting.discard(number)
            return
        self._left -= 1
        self._waiting.add(number)
        caller = self._by_number[number]
        caller.began = time.perf_counter()
        caller.send(next(self._requests))
        if caller.unsent:
            self._poll.modify(number, select.EPOLLIN | select.EPOLLOUT)

    def _send_rest(self, number: int) -> None:
        caller = self._by_number[number]
        caller.send_rest()
        if not caller.unsent:
            self._poll.modify(number, select.EPOLLIN)

    def _receive(self, number: int) -> None:
        caller = self._by_number[number]
        status = caller.receive()
        if status is None:
            return
        if number in self._waiting:
            self.statuses[status] += 1
            self.taken.append(time.perf_counter() - caller.began)
        if status == CLOSED:
            self._waiting.discard(number)
            self._poll.unregister(number)
        else:
            self._go_on(number)


def at(ordered: list[float], percent: float) -> float:
    """The percentile: the value that this many percent of the values do not exceed."""
    return ordered[max(0, math.ceil(round(len(ordered) * percent / 100, 6)) - 1)]


def posts(path: str, routing_key: str, headers: list[str], body: bytes = BODY) -> Iterator[bytes]:
    """The same request again and again: JSON, if no header says otherwise."""
    lines = [f"routing-key: {routing_key}", *headers]
    if not any(line.lower().startswith("content-type:") for line in headers):
        lines.insert(0, "Content-Type: application/json")
    return itertools.repeat(post(path, lines, body))


def gets(paths: list[str]) -> Iterator[bytes]:
    """A request for each path in turn, without end."""
    return itertools.cycle([f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in paths])


def requests_of(url: str, what: str, more: list[str]) -> Iterator[bytes]:
    """The requests that the command line asks for."""
    if what == "--get":
        return gets(Path(more[0]).read_text().split())
    body = BODY
    if more[:1] == ["--body"]:
        body = Path(more[1]).read_bytes()
        more = more[2:]
    return posts(urlsplit(url).path, what, more, body)


def prepare() -> None:
    """Let this process open as many files as it may."""
    soft_and_hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft_and_hard[1], soft_and_hard[1]))


def wait_for_start() -> tuple[float, float]:
    """Say that all is prepared, and wait for the start; returns the time, and the CPU time until now."""
    gc.collect()
    gc.disable()  # its pauses would count as latency
    print("connected", flush=True)
    sys.stdin.readline()
    return time.perf_counter(), time.process_time()


def report(start: tuple[float, float], statuses: Counter[str], taken: array[float], **more: int) -> None:
    """Print the result as JSON, and keep the connections open until the subject's memory has been measured."""
    ordered = sorted(taken)
    result = {
        "seconds": time.perf_counter() - start[0],
        "cpu": time.process_time() - start[1],
        "statuses": statuses,
        "milliseconds": {percent: at(ordered, percent) * 1000 for percent in PERCENTILES if taken},
        **more,
    }
    print(json.dumps(result), flush=True)
    sys.stdin.readline()


def main() -> None:
    """Connect, wait for the start, call, and print the result."""
    url, concurrency, count, what, *more = sys.argv[1:]
    prepare()
    callers, requests = connect(url, int(concurrency)), requests_of(url, what, more)
    load = ClosedLoad(callers, requests, int(count))
    start = wait_for_start()
    load.call()
    report(start, load.statuses, load.taken)


if __name__ == "__main__":
    main()
