"""Collects the body of a response, up to a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH

from provider_gateway.http_client.errors import BodyOverLimit
from provider_gateway.net.pieces import Pieces, added, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure


#: Bytes of a body for which no room is asked.
SMALL = 65_536


def _enough(_size: int) -> None:
    """There is room for everything."""


class CappedBody(Protocol):
    """Collects a response body up to a limit. Drops the connection beyond it, and when :attr:`done` is cancelled.

    Args:
        max_bytes: the limit.
        room: called with the size of a body of more than ``SMALL`` bytes (the limit, if it is not declared). Reading
            pauses until the Deferred fires that it returns, if it returns one. Called again with a negative number, if
            the body had fewer bytes.

    Attributes:
        transport: the response.
        done: fires with the body. Fails with BodyOverLimit, or with the reason why the body ended early.
    """

    transport: Any

    def __init__(self, max_bytes: int, room: Callable[[int], Deferred[None] | None] = _enough) -> None:
        self._max_bytes = max_bytes
        self._room = room
        #: The size that there is room for.
        self._reserved = SMALL
        self._waiting: Deferred[None] | None = None
        self._collected: Pieces | bytes = b""
        self._size = 0
        self.done: Deferred[bytes] = Deferred(self._cancel)

    def dataReceived(self, data: bytes) -> None:
        """Take a piece (twisted.internet.interfaces.IProtocol)."""
        self._size += len(data)
        if self._size > self._max_bytes:
            if not self.done.called:
                self._let_go()
                self.done.errback(BodyOverLimit(self._max_bytes))
                self._abort()
            return
        if self._size > self._reserved:
            self._reserve()
        self._collected = added(self._collected, data) if self._collected else data

    def _reserve(self) -> None:
        """Ask for room, and read no more until there is some."""
        declared: Any = self.transport.length
        self._reserved = self._max_bytes if declared is UNKNOWN_LENGTH else min(declared, self._max_bytes)
        self._waiting = self._room(self._reserved)
        if self._waiting is not None:
            self.transport.pauseProducing()
            self._waiting.addCallbacks(self._read_on, lambda _: None)

    def _read_on(self, _: None) -> None:
        self._waiting = None
        self.transport.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fire :attr:`done` (twisted.internet.interfaces.IProtocol)."""
        if self.done.called:
            return
        if self._waiting is not None:
            self._waiting.cancel()
        if self._reserved > max(self._size, SMALL) and self._waiting is None:
            self._room(self._size - self._reserved)
        collected = self._collected
        self._let_go()
        # A body without a declared length ends with its connection, which Twisted calls PotentialDataLoss.
        if isinstance(reason.value, (ResponseDone, PotentialDataLoss)):
            self.done.callback(whole(collected))
        else:
            self.done.errback(reason)

    def _cancel(self, _: Deferred[bytes]) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self._let_go()
        self._abort()

    def _let_go(self) -> None:
        """Forget what is large or leads to it. This object and :attr:`done` are a cycle, which ends late."""
        self._collected = b""
        self._room = _enough

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()
