"""The Deferred of a request, from its call until the headers of its response have arrived."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.web.iweb import IResponse


class Cancels(Protocol):
    """Ends a request: a connection does."""

    def cancel(self, expected: Expected) -> object:
        """End the request that this is the Deferred of."""


class Expected(Deferred[IResponse]):
    """Fires with the response. One for the attempt to connect and one behind it would take 300 bytes more.

    Attributes:
        connecting: the attempt to connect; None without one, and when it has ended.
        connection: sends the request; None while there is none.
    """

    connecting: Deferred[Any] | None = None
    connection: Cancels | None = None

    def __init__(self) -> None:
        super().__init__(_cancel)


def _cancel(expected: Any) -> None:
    if expected.connection is not None:
        expected.connection.cancel(expected)
    elif expected.connecting is not None:
        expected.connecting.cancel()
