"""Collects the body of a response, up to a limit."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from provider_gateway.http_client.errors import BodyOverLimit

if TYPE_CHECKING:
    from twisted.python.failure import Failure


class CappedBody(Protocol):
    """Collects a response body up to a limit. Drops the connection beyond it, and when :attr:`done` is cancelled.

    Args:
        max_bytes: the limit.

    Attributes:
        done: fires with the body. Fails with BodyOverLimit, or with the reason why the body ended early.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._collected: BytesIO | bytes = b""
        self._size = 0
        self.done: Deferred[bytes] = Deferred(lambda _: self._abort())

    def dataReceived(self, data: bytes) -> None:
        """Take a piece (twisted.internet.interfaces.IProtocol)."""
        self._size += len(data)
        if self._size > self._max_bytes:
            self._collected = b""
            if not self.done.called:
                self.done.errback(BodyOverLimit(self._max_bytes))
                self._abort()
            return
        if not self._collected:
            self._collected = data
            return
        if isinstance(self._collected, bytes):
            first, self._collected = self._collected, BytesIO()  # hands its bytes over without a copy
            self._collected.write(first)
        self._collected.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fire :attr:`done` (twisted.internet.interfaces.IProtocol)."""
        if self.done.called:
            return
        # A body without a declared length ends with its connection, which Twisted calls PotentialDataLoss.
        if isinstance(reason.value, (ResponseDone, PotentialDataLoss)):
            collected, self._collected = self._collected, b""
            self.done.callback(collected if isinstance(collected, bytes) else collected.getvalue())
        else:
            self.done.errback(reason)

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()
