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
#: Bytes of a payload that is not copied.
_LARGE = 16_384

_head = struct.Struct(">BHI")


class Frame(NamedTuple):
    """One frame.

    Attributes:
        kind: its type; 0 for bytes that are no frame.
        channel: its channel number.
        data: all its bytes, from the type to the end mark; those of a large body as a view of what arrived.
    """

    kind: int
    channel: int
    data: bytes | memoryview


class TakesMessages(Protocol):
    """A channel that takes whole messages."""

    def take_whole(self, data: bytes, at: int, length: int) -> int:
        """Take the message whose first frame begins here, if all of it is there.

        Args:
            length: bytes of the payload of this frame.

        Returns:
            Where the next frame begins; 0 if nothing was taken.
        """


def frame(kind: int, channel: int, payload: bytes | memoryview, before: bytes = b"") -> bytes:
    """The bytes of a frame, behind others."""
    return b"".join((before, _head.pack(kind, channel, len(payload)), payload, END_MARK))


class FrameBuffer:
    """Cuts a stream of bytes into frames, whatever pieces it arrives in."""

    def __init__(self) -> None:
        #: The beginning of a frame, in the pieces in which it arrived, and how many bytes it has.
        self._begun: list[bytes | memoryview] = []
        self._size = 0
        #: Bytes that _begun needs before it can hold a frame, or show the size of one.
        self._wanted = START

    def add(self, data: bytes, channels: Mapping[int, TakesMessages]) -> Iterator[Frame]:
        """Add bytes to the stream.

        Args:
            channels: by number; what one of them takes is not yielded.

        Yields:
            Each frame that is complete now. Bytes that cannot be a frame (a protocol header, or garbage) are yielded as
            one frame of kind 0, with everything after them.
        """
        at = 0
        if self._begun:
            # Wait for the whole of a large frame: to look at each piece would copy all of it each time.
            self._begun.append(data)
            self._size += len(data)
            if self._size < self._wanted:
                return
            behind = self._size - self._wanted
            if behind and self._wanted > _LARGE:
                # What is behind a large frame stays where it is: it may be the beginning of the next one.
                at = len(data) - behind
                self._begun[-1] = memoryview(data)[:at]
                whole = b"".join(self._begun)
                kind, channel, _ = _head.unpack_from(whole)
                yield Frame(kind, channel, memoryview(whole) if kind == BODY else whole)
                del whole
            else:
                data = b"".join(self._begun)
            self._begun.clear()
        size = len(data)
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
            is_large = kind == BODY and length >= _LARGE
            yield Frame(kind, channel, memoryview(data)[at:end] if is_large else data[at:end])
            at = end
        else:
            self._wanted = START
        self._size = size - at
        if self._size:
            self._begun.append(memoryview(data)[at:] if at else data)
