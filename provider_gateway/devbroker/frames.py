"""The way in of one connection: bytes to frames, by pika's decoder, and what is wrong with those that are none."""

from __future__ import annotations

import struct
from typing import Any

from pika import frame, spec

# The import makes pika decode properties with it.
from provider_gateway.amqp import properties  # noqa: F401
from provider_gateway.devbroker.refusals import Refused, not_implemented

#: What a client of this version begins with.
PROTOCOL_HEADER: bytes = frame.ProtocolHeader().marshal()
_HEADER = struct.Struct(">BHI")
_OVERHEAD = spec.FRAME_HEADER_SIZE + spec.FRAME_END_SIZE
_SHOWN = 16
_LEAST = {spec.FRAME_METHOD: 4, spec.FRAME_HEADER: 14, spec.FRAME_BODY: 0, spec.FRAME_HEARTBEAT: 0}
_BASIC = 60


def _octets(payload: bytes) -> str:
    """Bytes as RabbitMQ shows them."""
    shown = payload[:_SHOWN]
    printable = shown.isascii() and shown.decode("ascii").isprintable()
    inner = f'"{shown.decode("ascii")}"' if printable and shown else ",".join(map(str, shown))
    return f"{'all' if len(payload) <= _SHOWN else f'first {_SHOWN}'} octets = <<{inner}>>"


class FrameReader:
    """Cuts bytes into frames.

    Attributes:
        frame_max: bytes of a frame that were agreed on.
    """

    def __init__(self) -> None:
        self.frame_max = spec.FRAME_MAX_SIZE
        self._buffer = bytearray()
        self._is_lost = False

    def feed(self, data: bytes) -> None:
        """Take bytes of the client; :meth:`next_frame` has the frames."""
        if not self._is_lost:
            self._buffer += data

    def next_header(self) -> bytes | None:
        """The protocol header, or what stands in its place; None if it is not complete."""
        size = len(PROTOCOL_HEADER)
        if len(self._buffer) < size:
            return None
        header = bytes(self._buffer[:size])
        del self._buffer[:size]
        return header

    def next_frame(self) -> frame.Frame | None:
        """The next frame; None if it is not complete.

        Raises:
            Refused: it is none (501, 505), or its method does not exist (540). The next one may be right.
        """
        if len(self._buffer) < _HEADER.size:
            return None
        kind, channel, size = _HEADER.unpack_from(self._buffer)
        # RabbitMQ lets a payload have the size of a frame, and names another limit.
        if size > self.frame_max:
            self._is_lost = True
            self._buffer.clear()
            limit = self.frame_max - _OVERHEAD
            raise Refused(501, f"type {kind}, all octets = <<>>: {{frame_too_large,{size},{limit}}}")
        end = size + _OVERHEAD
        if len(self._buffer) < end:
            return None
        data = bytes(self._buffer[:end])
        del self._buffer[:end]
        payload = data[_HEADER.size : -1]
        self._check(kind, channel, payload, data[-1])
        return self._decoded(data, payload)

    @staticmethod
    def _check(kind: int, channel: int, payload: bytes, last: int) -> None:
        if last != spec.FRAME_END:
            raise Refused(501, f"type {kind}, {_octets(payload)}: {{invalid_frame_end_marker,{last}}}")
        if len(payload) < _LEAST.get(kind, len(payload) + 1):
            raise Refused(501, f"type {kind}, {_octets(payload)}: unknown_frame")
        if kind == spec.FRAME_HEARTBEAT and channel:
            raise Refused(505, f"type {kind}, {_octets(payload)}")
        if kind == spec.FRAME_METHOD:
            (index,) = struct.unpack_from(">I", payload)
            # pika decodes no Connection.UpdateSecret, as no client of its own is sent one.
            if index not in spec.methods or index == spec.Connection.UpdateSecret.INDEX:
                raise not_implemented(f"method {index >> 16},{index & 0xFFFF}")
        if kind == spec.FRAME_HEADER:
            (number,) = struct.unpack_from(">H", payload)
            if number != _BASIC:
                msg = f"expected content header for class 60, got one for class {number} instead"
                raise Refused(505, msg, spec.Basic.Publish.INDEX)

    @staticmethod
    def _decoded(data: bytes, payload: bytes) -> frame.Frame:
        try:
            _, value = frame.decode_frame(data)
        except Exception as error:
            # pika raises whatever its decoder stumbles on
            index = struct.unpack_from(">I", payload)[0] if data[0] == spec.FRAME_METHOD else spec.Basic.Publish.INDEX
            octets = _octets(payload[4:]).partition("= ")[2]
            raise Refused(501, f"cannot decode {octets}", index) from error
        decoded: Any = value
        assert isinstance(decoded, frame.Frame)
        return decoded
