"""The client at the other end of a connection: who it is, and the way out to it, which faults may cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika import frame, spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.devbroker.faults import Faults

#: Bytes of a frame around its payload.
OVERHEAD = spec.FRAME_HEADER_SIZE + spec.FRAME_END_SIZE


class Client:
    """A client; exclusive queues belong to it.

    Args:
        transport: TCP, or TLS over it.
        end: closes the connection when everything is written.

    Attributes:
        user: as whom it logged in.
        capabilities: what it says that it understands.
        frame_max: bytes of a frame that it takes.
        is_full: it does not read what is written to it, and gets no deliveries until it does.
    """

    def __init__(self, transport: Any, clock: IReactorTime, faults: Faults, end: Callable[[], None]) -> None:
        self._transport = transport
        self._clock = clock
        self._faults = faults
        self._end = end
        self.user = ""
        self.capabilities: dict[Any, Any] = {}
        self.frame_max = spec.FRAME_MIN_SIZE
        self.is_full = False
        self._is_cut = False
        #: When everything so far is written, in seconds.
        self._idle_at = clock.seconds()

    def send(self, channel: int, method: Any, properties: Any = None, body: bytes = b"") -> None:
        """Send a method, with a message if there are properties."""
        frames: list[frame.Frame] = [frame.Method(channel, method)]
        if properties is not None:
            frames.append(frame.Header(channel, len(body), properties))
            size = self.frame_max - OVERHEAD
            frames += [frame.Body(channel, body[start : start + size]) for start in range(0, len(body), size)]
        for each in frames:
            self.write(each.marshal())

    def write(self, data: bytes) -> None:
        """Write the bytes of a frame."""
        if self._is_cut:
            return
        self._is_cut = self._faults.take("cut")
        self._after_delay(self._transport.write, data[: len(data) // 2] if self._is_cut else data)
        if self._is_cut:
            self._end()

    def close(self) -> None:
        """Close the connection when everything is written."""
        self._after_delay(self._transport.loseConnection)

    def _after_delay(self, call: Callable[..., None], *arguments: Any) -> None:
        """Call what is behind everything so far, and as late as faults ask for."""
        now = self._clock.seconds()
        self._idle_at = max(self._idle_at, now + self._faults.delay)
        if self._idle_at > now:
            self._clock.callLater(self._idle_at - now, call, *arguments)
        else:
            call(*arguments)
