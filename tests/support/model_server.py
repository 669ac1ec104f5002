"""A model: an HTTP server in the test's own process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

if TYPE_CHECKING:
    from collections.abc import Callable


class ModelServer(Resource):
    """A model that keeps its requests.

    Attributes:
        requests: body and headers (lower case) of each request.
        answer: makes status and body of the response from the request's body, or a Deferred of both; a table of
            headers may follow them.
        ready_status: status of the response to each GET: every path is a ready URL.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[bytes, dict[str, str]]] = []
        self.answer: Callable[[bytes], Any] = lambda body: (200, body)
        self.ready_status = 200
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def render_GET(self, request: Any) -> bytes:
        request.setResponseCode(self.ready_status)
        return b"the body does not matter"

    def render_POST(self, request: Any) -> int:
        body = request.content.read()
        headers = {
            name.decode().lower(): values[0].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        self.requests.append((body, headers))
        for count, waiting in self._waiting:
            if len(self.requests) == count:
                waiting.callback(None)
        Deferred.fromCoroutine(self._answer(request, body)).addErrback(lambda _: None)
        return NOT_DONE_YET

    def asked(self, count: int = 1) -> Deferred[None]:
        """A Deferred that fires when this many requests have come."""
        waiting: Deferred[None] = Deferred()
        if len(self.requests) >= count:
            waiting.callback(None)
        else:
            self._waiting.append((count, waiting))
        return waiting

    async def _answer(self, request: Any, body: bytes) -> None:
        answer = self.answer(body)
        status, content, *more = await answer if isinstance(answer, Deferred) else answer
        request.setResponseCode(status)
        request.setHeader("Content-Type", "application/json")
        request.setHeader("X-Model", "test")
        for name, value in (more[0] if more else {}).items():
            request.setHeader(name, value)
        request.write(content)
        request.finish()
