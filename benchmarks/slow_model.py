"""A model that answers after a delay, and can hold any number of calls: each costs a connection and a timer.

Prints its URL. A GET returns and resets the most calls that it held at a time: ``{"held": 10000}``.

    python -m benchmarks.slow_model SECONDS
"""

from __future__ import annotations

import re
import sys

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol, connectionDone

from benchmarks.instant_model import ANSWER, answer

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
#: Connections that may wait to be accepted; the kernel's own limit applies, too.
_BACKLOG = 20_000


class Holding(Factory):
    """State that the connections share.

    Args:
        seconds: delay until a call is answered.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.held = 0
        self.most = 0

    def begin(self) -> None:
        """Count a call."""
        self.held += 1
        self.most = max(self.most, self.held)

    def end(self) -> None:
        """Stop counting a call."""
        self.held -= 1

    def report(self) -> bytes:
        """The most calls held at a time since the last report."""
        most, self.most = self.most, self.held
        return answer(b'{"held": %d}' % most)


class SlowModel(Protocol):
    """Answers one request at a time; understands only the HTTP that its clients here use."""

    factory: Holding
    _received = b""
    _timer = None

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        found = _LENGTH.search(head)
        if head.startswith(b"GET "):
            self._received = b""
            self.transport.write(self.factory.report())
        elif found and len(rest) >= int(found[1]):
            self._received = b""
            self.factory.begin()
            self._timer = reactor.callLater(self.factory.seconds, self._answer)

    def _answer(self) -> None:
        self._timer = None
        self.factory.end()
        self.transport.write(ANSWER)

    def connectionLost(self, reason: object = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.factory.end()


if __name__ == "__main__":
    factory = Holding(float(sys.argv[1]))
    factory.protocol = SlowModel
    port = reactor.listenTCP(0, factory, backlog=_BACKLOG, interface="127.0.0.1")
    sys.stdout.write(f"http://127.0.0.1:{port.getHost().port}/predict\n")
    sys.stdout.flush()
    reactor.run()
