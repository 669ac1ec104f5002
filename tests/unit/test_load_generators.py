"""What the benchmark's load generators send, and when, with callers on sockets."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.caller import Answer, Caller
from benchmarks.callers import ClosedLoad
from benchmarks.open_callers import OpenLoad

if TYPE_CHECKING:
    from collections.abc import Callable

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n42"
#: Ends a request.
_END = b"!"


class PlainCaller(Caller):
    """A caller without TLS; its server is a thread.

    Args:
        before: called in the thread before the first answer.
        after: called in the thread after each answer.
    """

    def __init__(self, before: Callable[[], object], after: Callable[[], object]) -> None:
        self.socket, self._server = socket.socketpair()  # type: ignore[assignment] # like a TLS socket, but for the TLS
        self.socket.setblocking(False)
        self.began, self.unsent = 0.0, b""
        self._answer = Answer()
        self._before = before
        self._after = after
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with self._server as server:
            while data := server.recv(65536):
                for _ in range(data.count(_END)):
                    before, self._before = self._before, bool
                    before()
                    server.sendall(_ANSWER)
                    self._after()

    def end(self) -> None:
        """Close the connection, and wait for the thread."""
        self.socket.close()
        self._thread.join()


class LoadGeneratorTests(SynchronousTestCase):
    """Loads on callers whose servers are told when to answer."""

    def caller(self, before: Callable[[], object] = bool, after: Callable[[], object] = bool) -> PlainCaller:
        """A caller that is ended with the test."""
        caller = PlainCaller(before, after)
        self.addCleanup(caller.end)
        return caller

    def test_time_counts_from_when_a_request_was_due(self) -> None:
        """A slow answer delays those that wait for its connection: that counts, and they are counted as sent late."""
        due = [0.0, 0.01, 0.02]
        load = OpenLoad([self.caller(before=lambda: time.sleep(0.2))], itertools.repeat(_END), due)
        load.call()
        self.assertEqual((load.statuses, load.late), ({"200": 3}, 2))
        for taken, at in zip(load.taken, due, strict=True):
            self.assertGreaterEqual(taken, 0.2 - at)

    def test_slow_answer_does_not_hold_up_the_next_request(self) -> None:
        """A request that is due goes out on another connection: the first one is answered when all others have been."""
        others, came = threading.Semaphore(0), list[bool]()

        def wait_for_others() -> None:
            came.extend(others.acquire(timeout=10) for _ in range(4))

        callers = [self.caller(before=wait_for_others), *(self.caller(after=others.release) for _ in range(2))]
        load = OpenLoad(callers, itertools.repeat(_END), [0.0, 0.001, 0.002, 0.003, 0.004])
        load.call()
        self.assertEqual((load.statuses, came), ({"200": 5}, 4 * [True]))

    def test_large_requests(self) -> None:
        """Each request is sent to its end, however little a socket takes at a time, and as many as are wanted."""
        callers = [self.caller(), self.caller()]
        load = ClosedLoad(callers, itertools.repeat(bytes(3_000_000) + _END), 5)
        load.call()
        self.assertEqual((load.statuses, len(load.taken)), ({"200": 5}, 5))
