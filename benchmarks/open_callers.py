"""The load generator whose requests are due at times that are fixed beforehand, whatever became of those before.

Callers in the field do not wait for each other. A request that is due goes out on any connection that is free, and its
time is counted from when it was due: if the answer before it is slow, or if this program itself is late, the delay
counts (otherwise the slowest seconds would have the fewest requests: coordinated omission). Requests that this program
sent late are counted. Times between two requests are exponentially distributed (a Poisson process), by a fixed seed.

    python -m benchmarks.open_callers URL CONNECTIONS RATE SECONDS SEED ROUTING_KEY [HEADER …]

Start and result are those of :mod:`benchmarks.callers`.
"""

from __future__ import annotations

import random
import select
import sys
import time
from array import array
from collections import Counter, deque
from typing import TYPE_CHECKING

from benchmarks.caller import CLOSED, TIMEOUT, connect
from benchmarks.callers import prepare, report, requests_of, wait_for_start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.caller import Caller

#: Seconds after which a request was sent late.
_LATE = 0.001


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """When requests are due, in seconds from the start."""
    draw = random.Random(seed)
    due: list[float] = []
    at = draw.expovariate(rate)
    while at < seconds or not due:
        due.append(at)
        at += draw.expovariate(rate)
    return due


class OpenLoad:
    """Sends each request when it is due.

    Attributes:
        late: requests that were sent more than a millisecond after they were due.
    """

    def __init__(self, callers: list[Caller], requests: Iterator[bytes], due: list[float]) -> None:
        self.statuses: Counter[str] = Counter()
        self.taken: array[float] = array("d")
        self.late = 0
        self._idle = deque(callers)
        self._by_number = {caller.socket.fileno(): caller for caller in callers}
        self._requests = requests
        self._due = deque(due)
        self._in_flight = 0
        self._poll = select.epoll()
        for number in self._by_number:
            self._poll.register(number, select.EPOLLIN)

    def call(self) -> None:
        """Send all requests, and wait for the responses."""
        began = time.perf_counter()
        while self._due or self._in_flight:
            wait = self._send_due(began)
            # epoll counts in milliseconds, which would be late; select in microseconds.
            if wait > 0 and not select.select([self._poll], [], [], wait)[0]:
                if wait == TIMEOUT:
                    self.statuses["timeout"] += self._in_flight + len(self._due)
                    return
                continue
            for number, _ in self._poll.poll(0):
                self._receive(number)
                self._send_due(began)

    def _send_due(self, began: float) -> float:
        """Send what is due; returns the seconds until there may be more to send."""
        while self._due and self._idle:
            due = began + self._due[0]
            now = time.perf_counter()
            if due > now:
                return due - now
            self._due.popleft()
            self.late += now - due > _LATE
            caller = self._idle.popleft()
            caller.began = due
            caller.send(next(self._requests))
            self._in_flight += 1
        return TIMEOUT

    def _receive(self, number: int) -> None:
        caller = self._by_number[number]
        status = caller.receive()
        if status is None:
            return
        if caller.began:
            self.statuses[status] += 1
            self.taken.append(time.perf_counter() - caller.began)
            caller.began = 0.0
            self._in_flight -= 1
            if status != CLOSED:
                self._idle.append(caller)
        if status == CLOSED:
            self._poll.unregister(number)
            if caller in self._idle:
                self._idle.remove(caller)
            if self._due and not self._idle and not self._in_flight:
                raise SystemExit("all connections are closed")


def main() -> None:
    """Connect, wait for the start, send, and print the result."""
    url, connections, rate, seconds, seed, routing_key, *more = sys.argv[1:]
    prepare()
    callers = connect(url, int(connections))
    due = arrivals(float(rate), float(seconds), int(seed))
    load = OpenLoad(callers, requests_of(url, routing_key, more), due)
    start = wait_for_start()
    load.call()
    report(start, load.statuses, load.taken, late=load.late)


if __name__ == "__main__":
    main()
