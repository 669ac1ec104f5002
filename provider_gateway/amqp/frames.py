"""The frames of AMQP 0-9-1 (4.2.3) in a stream of bytes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
_KINDS = frozenset({METHOD, HEADER, BODY, HEARTBEAT})
#: Bytes of a frame before its payload, and after.
START, END = 7, 1
END_MARK = b"\xce"

_head = struct.Struct(">BHI")


class Frame(NamedTuple):
    """One frame.

    Attributes:
        data: all of its bytes.
    """

    kind: int
    channel: int
    data: bytes


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """The bytes of a frame."""
    return b"%b%b%b" % (_head.pack(kind, channel, len(payload)), payload, END_MARK)


class FrameBuffer:
    """Cuts a stream into frames, however it arrives."""

    def __init__(self) -> None:
        self._begun = bytearray()
        #: Bytes after which there is something to be done again.
        self._wanted = START

    def add(self, data: bytes) -> Iterator[Frame]:
        """Take bytes.

        Yields:
            The frames that are complete now. What cannot be a frame (a protocol header, or garbage) comes with all
            that is behind it as one of kind 0.
        """
        if self._begun:
            # Without copying all of a large frame for each piece of it.
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
            end = at + START + length + END
            if end > size:
                self._wanted = end - at
                break
            yield Frame(kind, channel, data[at:end])
            at = end
        else:
            self._wanted = START
        self._begun += data[at:]
