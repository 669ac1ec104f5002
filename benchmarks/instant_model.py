"""A model that costs almost nothing: it answers every HTTP request at once. Prints its URL.

At the beginning of a body, ``"size": N`` asks for a response body of N bytes, ``"delay": N`` for a delay of N seconds.
"""

from __future__ import annotations

import re
import sys

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol


def answer(body: bytes) -> bytes:
    """A complete HTTP response."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


ANSWER = answer(b'{"result": 42}')
_SIZE = re.compile(rb'"size": *(\d+)')
_DELAY = re.compile(rb'"delay": *(\d+)')
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class InstantModel(Protocol):
    """Answers when a request's last byte has arrived; understands only the HTTP that its clients here use."""

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self._received = b""
        self._pieces: list[bytes] = []
        self._missing = 0

    def dataReceived(self, data: bytes) -> None:
        self._missing -= len(data)
        if self._missing > 0:  # to look at each piece of a large body would take most of the time
            self._pieces.append(data)
            return
        self._received = b"".join((self._received, *self._pieces, data))
        self._pieces = []
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if end:
            found = _LENGTH.search(head)
            length = int(found[1]) if found else 0
            if len(rest) >= length:
                self._received = rest[length:]
                size = _SIZE.search(rest, 0, 100) if rest.find(b"size", 0, 100) >= 0 else None
                delay = _DELAY.search(rest, 0, 100) if rest.find(b"delay", 0, 100) >= 0 else None
                response = ANSWER if size is None else answer(b"7" * int(size[1]))
                if delay is None:
                    self.transport.write(response)
                else:
                    reactor.callLater(int(delay[1]), self.transport.write, response)
            else:
                self._missing = length - len(rest)


if __name__ == "__main__":
    port = reactor.listenTCP(0, Factory.forProtocol(InstantModel), interface="127.0.0.1")
    sys.stdout.write(f"http://127.0.0.1:{port.getHost().port}/predict\n")
    sys.stdout.flush()
    reactor.run()
