"""The frames of AMQP 0-9-1 (4.2.3) in a stream of bytes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
_KINDS = frozenset({METHOD, HEADER, BODY, HEARTBEAT})
#: Bytes of a frame before and after its payload.
START, END = 7, 1
END_MARK = b"\xce"

_head = struct.Struct(">BHI")


class Frame(NamedTuple):
    """One frame.

    Attributes:
        kind: its type; 0 for bytes that are no frame.
        channel: its channel number.
        data: all its bytes, from the type to the end mark.
    """

    kind: int
    channel: int
    data: bytes


class TakesMessages(Protocol):
    """A channel that takes whole messages."""

    def take_whole(self, data: bytes, at: int, length: int) -> int:
        """Take the message whose first frame begins here, if all of it is there.

        Args:
            length: bytes of the payload of this frame.

        Returns:
            Where the next frame begins; 0 if nothing was taken.
        """


def frame(kind: int, channel: int, payload: bytes | memoryview) -> bytes:
    """The bytes of a frame."""
    return b"".join((_head.pack(kind, channel, len(payload)), payload, END_MARK))


class FrameBuffer:
    """Cuts a stream of bytes into frames, whatever pieces it arrives in."""

    def __init__(self) -> None:
        self._begun = bytearray()
        #: Size that _begun needs before it can hold a frame, or show the size of one.
        self._wanted = START

    def add(self, data: bytes, channels: Mapping[int, TakesMessages]) -> Iterator[Frame]:
        """Add bytes to the stream.

        Args:
            channels: by number; what one of them takes is not yielded.

        Yields:
            Each frame that is complete now. Bytes that cannot be a frame (a protocol header, or garbage) are yielded as
            one frame of kind 0, with everything after them.
        """
        if self._begun:
            # Wait for the whole of a large frame: to look at each piece would copy all of it each time.
            self._begun += data
            if len(self._begun) < self._wanted:
                return
            data = bytes(self._begun)
            self._begun.clear()
        at, size = 0, len(data)
        while size - at >= START:
            kind, channel, length = _head.unpack_from(data, at)
            if kind not in _KINDS:
                yield Frame(0, 0, data[at:])
                return
            if kind == METHOD and channel in channels and (after := channels[channel].take_whole(data, at, length)):
                at = after
                continue
            end = at + START + length + END
            if end > size:
                self._wanted = end - at
                break
            yield Frame(kind, channel, data[at:end])
            at = end
        else:
            self._wanted = START
        self._begun += data[at:]
