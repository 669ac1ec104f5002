"""The tries that are under way: how many each endpoint may have, so that a slow one does not hold up the others."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from twisted.internet.defer import DeferredSemaphore

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.security.webhook_endpoints import Endpoint
    from provider_gateway.webhooks.endpoint_client import EndpointClient

#: Calls of one endpoint at a time.
CALLS = 10
#: Webhooks that are called or wait for a call, of all endpoints together.
HELD = 200


class Line:
    """The webhooks of one endpoint that are called, or wait for a call.

    Attributes:
        calls: each call takes one.
        held: how many there are.
        is_gone: the endpoint has answered 410: it is not called any more.
        is_failing: the last call failed.
    """

    def __init__(self, client: EndpointClient) -> None:
        self.client = client
        self.calls = DeferredSemaphore(CALLS)
        self.held = 0
        self.is_gone = False
        self.is_failing = False


class Tries:
    """The lines of all endpoints.

    Args:
        new_client: makes the client of an endpoint.
    """

    def __init__(self, new_client: Callable[[Endpoint], EndpointClient]) -> None:
        self._new_client = new_client
        #: An endpoint that is loaded anew is another one, with a line of its own.
        self._lines: WeakKeyDictionary[Endpoint, Line] = WeakKeyDictionary()
        self._held = 0

    def line(self, endpoint: Endpoint) -> Line:
        """The line of an endpoint."""
        line = self._lines.get(endpoint)
        if line is None:
            line = self._lines[endpoint] = Line(self._new_client(endpoint))
        return line

    def enter(self, line: Line) -> bool:
        """Take a place in a line. There is one for the first webhook, and while it has less than half of the free ones.

        So slow endpoints together never take all places (Choudhury and Hahne, "Dynamic queue length thresholds").

        Returns:
            False if there is no place.
        """
        if line.held and line.held >= (HELD - self._held) / 2:
            return False
        line.held += 1
        self._held += 1
        return True

    def leave(self, line: Line) -> None:
        """Give back a place."""
        line.held -= 1
        self._held -= 1
