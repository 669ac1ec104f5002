"""The client at the other end of a connection: what is known of it, and the frames that are sent to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika import frame, spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.devbroker.faults import Faults

#: Bytes of a frame without its payload.
OVERHEAD = spec.FRAME_HEADER_SIZE + spec.FRAME_END_SIZE


class Client:
    """A client. Faults may delay what is sent, or cut the connection in a frame.

    Args:
        transport: TCP, or TLS over it.
        end: called after a cut; closes the connection when everything is written.

    Attributes:
        user: its login; "" before.
        capabilities: those that it has announced.
        frame_max: the most bytes of a frame that it takes.
        is_full: True while the transport's buffer is full; no deliveries are sent then.
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
        #: When everything so far is written, in seconds of the clock.
        self._idle_at = clock.seconds()

    def send(self, channel: int, method: Any, properties: Any = None, body: bytes = b"") -> None:
        """Send a method; with a message if there are properties."""
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
        """Call a function after everything so far, and not before the delay that faults ask for."""
        now = self._clock.seconds()
        self._idle_at = max(self._idle_at, now + self._faults.delay)
        if self._idle_at > now:
            self._clock.callLater(self._idle_at - now, call, *arguments)
        else:
            call(*arguments)
