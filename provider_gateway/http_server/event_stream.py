"""Server-sent events (HTML standard, 9.2): responses that last, and carry events as they happen.

A client that does not read holds no memory: while its buffer is full, events are left out, and the time limit for
reading (``HTTP_WRITE_TIMEOUT``) ends its connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from provider_gateway.errors import Draining, Overloaded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provider_gateway.http_server.request import BoundedRequest

#: Milliseconds after which a client connects again when the stream ends.
_RETRY = 2000


def event(name: str, data: str) -> bytes:
    """One event as bytes.

    Args:
        name: its type; without line ends.
        data: any text. Each kind of line end becomes a line feed at the client.
    """
    lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    text = "".join([f"event: {name}\n", *(f"data: {line}\n" for line in lines), "\n"])
    return text.encode("utf-8", "backslashreplace")  # a lone surrogate has no UTF-8


class EventStream:
    """One response of events.

    Attributes:
        request: that the stream answers.
        ended: fires when the server ends the stream.
    """

    def __init__(self, request: Any) -> None:
        self.request: BoundedRequest = request
        self.ended: Deferred[None] = Deferred()

    def send(self, name: str, data: str) -> bool:
        """Send an event, unless the client has not read the events before.

        Returns:
            False if the event was left out.
        """
        if self.request.is_lost or self.ended.called or self.request.channel.is_congested:
            return False
        self.request.write(event(name, data))
        return True

    def end(self) -> None:
        """End the response. May be called twice."""
        if not self.ended.called:
            self.ended.callback(None)


class EventStreams:
    """The open streams of a listener.

    Args:
        most: streams at a time. They take no part of ``MAX_IN_FLIGHT``.
        most_of_identity: streams of one client certificate's identity at a time.
    """

    def __init__(self, *, most: int, most_of_identity: int) -> None:
        self._most = most
        self._most_of_identity = most_of_identity
        self._open: dict[EventStream, str | None] = {}
        self._is_draining = False

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[EventStream]:
        """The open streams. Streams may end meanwhile."""
        return iter(list(self._open))

    def open(self, request: Any) -> EventStream:
        """Begin a stream as the response to a request: the head is sent.

        Raises:
            Draining: the process is stopping.
            Overloaded: too many streams are open.
        """
        if self._is_draining:
            msg = "This instance is stopping; another one, or this one after its restart, has the events."
            raise Draining(msg)
        identity = None if request.identity is None else str(request.identity)
        yours = sum(each == identity for each in self._open.values())
        if len(self._open) >= self._most or (identity is not None and yours >= self._most_of_identity):
            msg = f"{len(self._open)} pages with live figures are open, {yours} of them yours. Close some."
            raise Overloaded(msg)
        request.setHeader("Content-Type", "text/event-stream; charset=utf-8")
        request.setHeader("Cache-Control", "no-store")
        request.setHeader("X-Accel-Buffering", "no")  # nginx passes each event on at once
        request.begin_without_length()
        stream = EventStream(request)
        self._open[stream] = identity
        request.write(b"retry: %d\n\n" % _RETRY)
        return stream

    async def until_end(self, stream: EventStream) -> bytes:
        """Wait until a stream ends, by whomever; returns what is left to send."""
        try:
            await stream.ended
        finally:
            self._open.pop(stream, None)
        return b""

    def drain(self) -> None:
        """Tell each client that the process stops, end the streams, and refuse new ones."""
        self._is_draining = True
        for stream in self:
            stream.send("stopping", "")
            stream.end()
