"""Reads the frames of one connection with pika's decoder, and says what is wrong with malformed ones."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Self

from pika import frame, spec

from provider_gateway.devbroker.refusals import Refused
from provider_gateway.devbroker.wire import OVERHEAD
from provider_gateway.message.properties import CopiedProperties, ReceivedProperties

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The first bytes of a client of AMQP 0-9-1.
PROTOCOL_HEADER: bytes = frame.ProtocolHeader().marshal()
_HEADER = struct.Struct(">BHI")
_CONTENT = struct.Struct(">HHQ")
_SHOWN = 16
_LEAST = {spec.FRAME_METHOD: 4, spec.FRAME_HEADER: 14, spec.FRAME_BODY: 0, spec.FRAME_HEARTBEAT: 0}


class ExactProperties(ReceivedProperties):
    """Properties that are sent with the bytes that were received."""

    @classmethod
    def decoded(cls, encoded: bytes) -> Self:
        """Properties from their bytes."""
        exact = cls()
        exact.decode(encoded)
        return exact

    def encode(self) -> list[bytes]:
        """The bytes of the properties (pika.amqp_object.Properties)."""
        return [self.encoded]

    def with_headers(self, headers: Mapping[str, Any], expiration: str | bytes | None) -> ExactProperties:
        """A copy with other headers and another expiration.

        Args:
            headers: replace headers of the same name, which is in lower case, or are added.
            expiration: milliseconds; None for none.
        """
        gone = headers.keys() & (self.headers or {}).keys()
        copy = CopiedProperties(self, self.message_id, headers, self.headers_that(lambda name: name not in gone))
        copy.delivery_mode, copy.user_id, copy.cluster_id = self.delivery_mode, self.user_id, self.cluster_id
        copy.expiration = expiration
        return self.decoded(b"".join(copy.encode()))


def _octets(payload: bytes) -> str:
    """Bytes as RabbitMQ shows them."""
    shown = payload[:_SHOWN]
    printable = shown.isascii() and shown.decode("ascii").isprintable()
    inner = f'"{shown.decode("ascii")}"' if printable and shown else ",".join(map(str, shown))
    return f"{'all' if len(payload) <= _SHOWN else f'first {_SHOWN}'} octets = <<{inner}>>"


class FrameReader:
    """Splits bytes into frames.

    Attributes:
        frame_max: the most bytes of a frame, as agreed on in the handshake.
    """

    def __init__(self) -> None:
        self.frame_max = spec.FRAME_MAX_SIZE
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take bytes of the client; :meth:`next_frame` returns the frames."""
        self._buffer += data

    def _next(self, size: int) -> bytes | None:
        if len(self._buffer) < size:
            return None
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def next_header(self) -> bytes | None:
        """The protocol header, or the bytes in its place; None if it is not complete."""
        return self._next(len(PROTOCOL_HEADER))

    def next_frame(self) -> frame.Frame | None:
        """The next frame; None if it is not complete.

        Raises:
            Refused: the frame is malformed (501, 505), or its method is unknown (540). The next frame may be valid.
        """
        if len(self._buffer) < _HEADER.size:
            return None
        kind, channel, size = _HEADER.unpack_from(self._buffer)
        # RabbitMQ takes a payload of up to frame_max bytes, though its error text names a lower limit.
        if size > self.frame_max:
            self._buffer.clear()
            limit = self.frame_max - OVERHEAD
            raise Refused(501, f"type {kind}, all octets = <<>>: {{frame_too_large,{size},{limit}}}")
        data = self._next(size + OVERHEAD)
        return None if data is None else _decoded(kind, channel, data)


def _decoded(kind: int, channel: int, data: bytes) -> frame.Frame:
    payload = data[_HEADER.size : -1]
    shown = f"type {kind}, {_octets(payload)}"
    if data[-1] != spec.FRAME_END:
        raise Refused(501, f"{shown}: {{invalid_frame_end_marker,{data[-1]}}}")
    if len(payload) < _LEAST.get(kind, len(payload) + 1) or (kind == spec.FRAME_HEARTBEAT and payload):
        raise Refused(501, f"{shown}: unknown_frame")
    if kind == spec.FRAME_HEARTBEAT if channel else kind in (spec.FRAME_HEADER, spec.FRAME_BODY):
        raise Refused(505, shown)
    index, size = spec.Basic.Publish.INDEX, 0
    if kind == spec.FRAME_METHOD:
        (index,) = struct.unpack_from(">I", payload)
        # pika has no decoder for Connection.UpdateSecret: clients do not receive it.
        if index not in spec.methods or index == spec.Connection.UpdateSecret.INDEX:
            raise Refused(540, f"method {index >> 16},{index & 0xFFFF}")
    if kind == spec.FRAME_HEADER:
        number, _, size = _CONTENT.unpack_from(payload)
        if number != spec.BasicProperties.INDEX:
            raise Refused(505, f"expected content header for class 60, got one for class {number} instead", index)
    decoded: Any
    try:
        if kind == spec.FRAME_HEADER:
            decoded = frame.Header(channel, size, ExactProperties.decoded(payload[_CONTENT.size :]))
        else:
            _, decoded = frame.decode_frame(data)
    except Exception as error:  # pika raises whatever its decoder stumbles on
        raise Refused(501, f"cannot decode {_octets(payload[4:]).partition('= ')[2]}", index) from error
    if kind == spec.FRAME_METHOD and index != spec.Basic.Publish.INDEX:
        # pika returns a short string that is not UTF-8 as bytes. The response to a login is a long string, and bytes.
        # RabbitMQ does not check the strings of a publish.
        values = {name: value for name, value in vars(decoded.method).items() if name != "response"}
        if any(isinstance(value, bytes) for value in values.values()):
            raise Refused(501, "Malformed UTF-8 in shortstr")
    assert isinstance(decoded, frame.Frame)
    return decoded
