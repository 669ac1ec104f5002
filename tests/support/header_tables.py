"""Header tables as bytes: a value of each field type, and values that Python cannot represent."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from decimal import Decimal

from pika import spec

from provider_gateway.message.properties import ReceivedProperties

#: A value of each field type: its bytes, and what pika decodes them to.
VALUES = {
    "bool": (b"t\x01", True),
    "int8": (b"b\xff", -1),
    "uint8": (b"B\xff", 255),
    "int16": (b"s\xff\xfe", -2),
    "int16 of the specification": (b"U\xff\xfe", -2),
    "uint16": (b"u\xff\xfe", 65534),
    "int32": (b"I\xff\xff\xff\xfd", -3),
    "uint32": (b"i\xff\xff\xff\xfd", 2**32 - 3),
    "int64": (b"l" + struct.pack(">q", -(2**60)), -(2**60)),
    "int64 of the specification": (b"L" + struct.pack(">q", -(2**60)), -(2**60)),
    "float": (b"f" + struct.pack(">f", 1.5), 1),
    "double": (b"d" + struct.pack(">d", -2.75), -2),
    "decimal": (b"D\x02" + struct.pack(">i", 314), Decimal("3.14")),
    "text": (b"S\x00\x00\x00\x03\xc3\xa4b", "äb"),
    "text that is not UTF-8": (b"S\x00\x00\x00\x02\xff\xfe", "\udcff\udcfe"),
    "bytes": (b"x\x00\x00\x00\x02\x00\x01", b"\x00\x01"),
    "array": (b"A\x00\x00\x00\x03t\x00V", [False, None]),
    "time": (b"T" + struct.pack(">Q", 86400), datetime(1970, 1, 2, tzinfo=UTC)),
    "table": (b"F\x00\x00\x00\x04\x01ab\x05", {"a": 5}),
    "void": (b"V", None),
}


def nested(levels: int) -> bytes:
    """Arrays in arrays."""
    value = b"V"
    for _ in range(levels):
        value = b"A" + struct.pack(">I", len(value)) + value
    return value


#: Values that Python cannot represent.
BAD = {
    "arrays nested beyond the recursion limit": nested(2000),
    "time beyond the year 9999": b"T" + struct.pack(">Q", 10**15),
    "greatest time": b"T" + b"\xff" * 8,
    "NaN": b"d" + struct.pack(">d", float("nan")),
    "infinite": b"d" + struct.pack(">d", float("inf")),
    "float NaN": b"f" + struct.pack(">f", float("nan")),
    "negative infinite float": b"f" + struct.pack(">f", float("-inf")),
    "nested in an array": b"A\x00\x00\x00\x0bt\x01T" + b"\xff" * 8,
    "nested in a table": b"F\x00\x00\x00\x0b\x01ad" + struct.pack(">d", float("nan")),
}


def header(name: str | bytes, value: bytes) -> bytes:
    """One entry of a header table."""
    encoded = name.encode() if isinstance(name, str) else name
    return bytes([len(encoded)]) + encoded + value


def encoded(table: bytes | None, **properties: object) -> bytes:
    """Encoded properties with this header table, inserted behind pika's codec."""
    if table is None:
        return b"".join(spec.BasicProperties(**properties).encode())
    data = b"".join(spec.BasicProperties(headers={"@": None}, **properties).encode())
    before, found, after = data.partition(b"\x00\x00\x00\x03\x01@V")
    assert found
    return before + struct.pack(">I", len(table)) + table + after


def decoded(table: bytes | None, **properties: object) -> ReceivedProperties:
    """Properties with this header table, as a consumer receives them."""
    return ReceivedProperties().decode(encoded(table, **properties))


class Raw(spec.BasicProperties):
    """Properties with this header table, which pika sends as they are."""

    def __init__(self, table: bytes, **properties: object) -> None:
        super().__init__()
        self._data = encoded(table, **properties)

    def encode(self) -> list[bytes]:
        return [self._data]


def table_of(data: bytes) -> bytes:
    """The header table of encoded properties without content type and encoding."""
    (size,) = struct.unpack_from(">I", data, 2)
    return data[6 : 6 + size]
