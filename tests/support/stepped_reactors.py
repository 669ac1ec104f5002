"""Two reactors on real sockets that a test lets run in turn: one is counted, the other one has everybody else.

So that the same work always makes the same system calls, whatever the machine is doing:

- The counted reactor gets one event at a time, as on a machine on which nothing comes together; and it is quiet only
  when it has read everything that was sent to it.
- The others send at most 64 KB at a time. A counted socket takes all that is sent, however long the others need.
- The clocks stand still, until a test moves them.
"""

from __future__ import annotations

import select
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from twisted.internet import epollreactor
from twisted.internet.epollreactor import EPollReactor
from twisted.trial.unittest import SynchronousTestCase

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.large_blocks import LargeBlocks

#: What is counted: turns of the reactor, which are calls of epoll_wait, and other system calls.
CALLS = ("epoll_ctl", "recv", "send", "turns")
#: Bytes that the others send at a time: as many as Twisted reads at a time.
_PIECE = 65536
#: Turns of both after which a test fails.
_PATIENCE = 20_000
#: Seconds in which bytes arrive that were sent on this machine.
_ARRIVES = 5.0
#: Ways to send and receive that would go uncounted; so nobody may use them.
_UNCOUNTED = ("sendall", "sendto", "recv_into", "recvmsg", "recvfrom")


class SystemCalls:
    """Counts the system calls of one of two reactors.

    Attributes:
        counts: by name, of :data:`CALLS`.
        blocks: counts what the counted side allocates; None if nobody wants to know.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.blocks: LargeBlocks | None = None
        self._is_counted = False
        #: Bytes that were sent to each side, and not read: to the counted one, and to the others.
        self._unread = {True: 0, False: 0}

    @property
    def is_counted(self) -> bool:
        """True while the counted reactor runs."""
        return self._is_counted

    def switch(self, *, is_counted: bool) -> bool:
        """Let one side run; returns the former one."""
        was, self._is_counted = self._is_counted, is_counted
        if self.blocks is not None:
            self.blocks.count(on=is_counted)
        return was

    def count(self, name: str) -> None:
        """Count a call, if it is the counted side's."""
        if self._is_counted:
            self.counts[name] += 1

    def note_sent(self, size: int) -> None:
        """Bytes are on their way to the other side."""
        self._unread[not self._is_counted] += size

    def note_read(self, size: int) -> None:
        """Bytes have been read."""
        self._unread[self._is_counted] -= size

    @property
    def is_expecting(self) -> bool:
        """True if there are bytes to be read by the side that runs."""
        return self._unread[self._is_counted] > 0


class SteppedPoller:
    """The ``epoll`` of a reactor, which has one event at a time, and never waits for one that will not come.

    Attributes:
        is_quiet: True if the reactor would have waited.
    """

    def __init__(self, calls: SystemCalls) -> None:
        self._calls = calls
        self._epoll = select.epoll()
        self.is_quiet = False

    def poll(self, timeout: float = -1, maxevents: int = -1) -> list[tuple[int, int]]:
        """One event, or none (select.epoll)."""
        found = self._epoll.poll(_ARRIVES if timeout and self._calls.is_expecting else 0, 1)
        self.is_quiet = bool(timeout and not found)
        if not self.is_quiet:
            self._calls.count("turns")
        return found

    def register(self, *what: Any) -> None:
        """Watch a socket (select.epoll)."""
        self._calls.count("epoll_ctl")
        self._epoll.register(*what)

    def modify(self, *what: Any) -> None:
        """Watch a socket for something else (select.epoll)."""
        self._calls.count("epoll_ctl")
        self._epoll.modify(*what)

    def unregister(self, *what: Any) -> None:
        """Watch a socket no more (select.epoll)."""
        self._calls.count("epoll_ctl")
        self._epoll.unregister(*what)

    def close(self) -> None:
        """Close (select.epoll)."""
        self._epoll.close()


class SteppedReactorsTestCase(SynchronousTestCase):
    """A reactor that is counted, and one for everybody else.

    Attributes:
        calls: counts the system calls.
        counted: the reactor that is counted.
        others: the other one.
        now: what the clocks say.
    """

    def setUp(self) -> None:
        super().setUp()
        self.calls = SystemCalls()
        self.now = time.time()  # certificates are valid
        self._pollers: list[SteppedPoller] = []
        self.patch(epollreactor, "epoll", self._poller)
        self.others, self.counted = self._reactor(), self._reactor()
        send = socket.socket.send
        self.patch(socket.socket, "send", self._send(send))
        self.patch(socket.socket, "sendmsg", self._sendmsg(send))
        self.patch(socket.socket, "recv", self._recv(socket.socket.recv))
        for name in _UNCOUNTED:
            self.patch(socket.socket, name, self._uncounted(name))

    def _poller(self, _: int) -> SteppedPoller:
        self._pollers.append(SteppedPoller(self.calls))
        return self._pollers[-1]

    def _reactor(self) -> Any:
        reactor: Any = EPollReactor()
        reactor.seconds = lambda: self.now
        reactor.startRunning(installSignalHandlers=False)
        self.addCleanup(self._end, reactor)
        return reactor

    @staticmethod
    def _end(reactor: Any) -> None:
        reactor.disconnectAll()
        reactor.fireSystemEvent("shutdown")

    def _send(self, send: Callable[..., int]) -> Callable[..., int]:
        def counted_send(of: socket.socket, data: Any) -> int:
            if not self.calls.is_counted:
                sent = send(of, data[:_PIECE])
                self.calls.note_sent(sent)
                return sent
            self.calls.count("send")
            self._send_all(send, of, data)
            return len(data)

        return counted_send

    def _sendmsg(self, send: Callable[..., int]) -> Callable[..., int]:
        def counted_sendmsg(of: socket.socket, pieces: Any) -> int:
            self.calls.count("send")
            for piece in pieces:
                self._send_all(send, of, piece)
            return sum(map(len, pieces))

        return counted_sendmsg

    def _send_all(self, send: Callable[..., int], of: socket.socket, data: Any) -> None:
        left = memoryview(data)
        while left:
            try:
                sent = send(of, left)
                self.calls.note_sent(sent)
                left = left[sent:]
            except BlockingIOError:
                self.let_others_run()

    def _recv(self, recv: Callable[..., bytes]) -> Callable[..., bytes]:
        def counted_recv(of: socket.socket, size: int) -> bytes:
            self.calls.count("recv")
            data = recv(of, size)
            self.calls.note_read(len(data))
            return data

        return counted_recv

    @staticmethod
    def _uncounted(name: str) -> Callable[..., Any]:
        def uncounted(*_: Any) -> Any:
            msg = f"the code under test calls socket.{name}, which {__name__} does not count: add it there"
            raise AssertionError(msg)

        return uncounted

    def let_others_run(self) -> bool:
        """Let the others take a turn; returns False if there was nothing for them to do."""
        return self._turn(self.others, self._pollers[0], is_counted=False)

    def let_run(self) -> bool:
        """Let the counted reactor run until it is quiet; returns False if there was nothing to do."""
        turns = 0
        while self._turn(self.counted, self._pollers[1], is_counted=True):
            turns += 1
        return turns > 0

    def _turn(self, reactor: Any, poller: SteppedPoller, *, is_counted: bool) -> bool:
        was = self.calls.switch(is_counted=is_counted)
        reactor.runUntilCurrent()
        reactor.doIteration(reactor.timeout())
        self.calls.switch(is_counted=was)
        return not poller.is_quiet

    def until(self, condition: Callable[[], object]) -> None:
        """Let all run in turn until a condition holds."""
        for _ in range(_PATIENCE):
            if condition():
                return
            self.let_others_run()
            self.let_run()
        self.fail("It does not come to an end")

    def advance(self, seconds: float) -> None:
        """Move the clocks: what is due by then wakes the counted reactor up."""
        self.now += seconds
        if self.counted.timeout() == 0:
            self.calls.counts["turns"] += 1  # epoll_wait returned for a timer
        self.settle()

    def settle(self) -> None:
        """Let all run in turn until nothing is left to do."""
        self.until(lambda: not (self.let_others_run() | self.let_run()))
