"""The data types of the Open Inference Protocol: elements of a tensor as values, and as bytes in their raw form.

Pure. The raw form is little-endian, without gaps; each element of BYTES has its length before it, in four bytes.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_LENGTH = struct.Struct("<I")
#: The largest number that is not rounded to infinity. The largest one of FP32 is a bit less; written with as few digits
#: as it needs, as Go and Java do, it is 3.4028235e38, which is a bit more.
_FP32_MAX = math.nextafter(2.0**128 - 2.0**103, 0)


@dataclass(frozen=True, slots=True)
class Datatype:
    """A data type with elements of a fixed size.

    Attributes:
        name: as the protocol writes it.
        element: the type of an element in JSON.
        code: of ``struct``; that of FP32 for BF16, whose elements are the first halves of those.
        size: bytes of an element; 0 for BYTES, whose elements have any size.
        contents: the field of ``InferTensorContents`` for the elements; None if the raw form is the only one.
    """

    name: str
    element: type
    code: str
    size: int
    contents: str | None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The lowest and the highest number; None for elements that are no numbers, or any number of JSON."""
        if self.element is int:
            bits = 8 * self.size
            return (0, 2**bits - 1) if self.code.isupper() else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return (-_FP32_MAX, _FP32_MAX) if self.name == "FP32" else None


DATATYPES = {
    each.name: each
    for each in (
        Datatype("BOOL", bool, "?", 1, "bool_contents"),
        Datatype("UINT8", int, "B", 1, "uint_contents"),
        Datatype("UINT16", int, "H", 2, "uint_contents"),
        Datatype("UINT32", int, "I", 4, "uint_contents"),
        Datatype("UINT64", int, "Q", 8, "uint64_contents"),
        Datatype("INT8", int, "b", 1, "int_contents"),
        Datatype("INT16", int, "h", 2, "int_contents"),
        Datatype("INT32", int, "i", 4, "int_contents"),
        Datatype("INT64", int, "q", 8, "int64_contents"),
        Datatype("FP16", float, "e", 2, None),
        Datatype("BF16", float, "f", 2, None),
        Datatype("FP32", float, "f", 4, "fp32_contents"),
        Datatype("FP64", float, "d", 8, "fp64_contents"),
        Datatype("BYTES", str, "", 0, "bytes_contents"),
    )
}


def check_range(datatype: Datatype, values: Sequence[float]) -> None:
    """Check that numbers fit their type: protobuf would take 300 for INT8, and 1e39 as infinity for FP32.

    Raises:
        ValueError: one does not.
    """
    if values and (bounds := datatype.bounds) is not None:
        lowest, highest = min(values), max(values)
        if lowest < bounds[0] or highest > bounds[1]:
            msg = f"{lowest if lowest < bounds[0] else highest} is out of the range of {datatype.name}"
            raise ValueError(msg)


def to_raw(datatype: Datatype, values: Sequence[Any]) -> bytes:
    """Elements in their raw form.

    Raises:
        ValueError: one does not fit the type.
    """
    if datatype.name == "BYTES":
        return b"".join(chain.from_iterable((_LENGTH.pack(len(each)), each) for each in values))
    try:
        packed = struct.pack(f"<{len(values)}{datatype.code}", *values)
        return _halved(packed) if datatype.name == "BF16" else packed
    except (struct.error, OverflowError):
        msg = f"an element is out of the range of {datatype.name}"
        raise ValueError(msg) from None


def from_raw(datatype: Datatype, raw: bytes) -> list[Any]:
    """The elements of a raw form.

    Raises:
        ValueError: its length fits no number of elements.
    """
    if datatype.name == "BYTES":
        return _texts(raw)
    if len(raw) % datatype.size:
        msg = f"{len(raw)} bytes are no whole number of elements of {datatype.name}"
        raise ValueError(msg)
    if datatype.name == "BF16":
        raw = b"".join(chain.from_iterable((b"\0\0", raw[index : index + 2]) for index in range(0, len(raw), 2)))
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    return list(struct.unpack(f"<{len(raw) // datatype.size}{datatype.code}", raw))


def elements_in(datatype: Datatype, raw: bytes) -> int:
    """The number of elements in a raw form.

    Raises:
        ValueError: its length fits no number of elements.
    """
    if datatype.name == "BYTES":
        return len(_texts(raw))
    count, rest = divmod(len(raw), datatype.size)
    if rest:
        msg = f"{len(raw)} bytes are no whole number of elements of {datatype.name}"
        raise ValueError(msg)
    return count


def _texts(raw: bytes) -> list[bytes]:
    found, position = [], 0
    while position < len(raw):
        start = position + _LENGTH.size
        position = start + _LENGTH.unpack_from(raw, position)[0] if start <= len(raw) else start
        found.append(raw[start:position])
    if position > len(raw):
        msg = "the last element of BYTES is cut off"
        raise ValueError(msg)
    return found


def _halved(packed: bytes) -> bytes:
    """Numbers of FP32 as BF16: rounded to the nearest, of two to the even one, as IEEE 754 rounds.

    Raises:
        OverflowError: one is rounded to infinity.
    """
    words = array("I", packed)
    if sys.byteorder == "big":
        words.byteswap()
    halves = array("H", ((word + 0x7FFF + (word >> 16 & 1)) >> 16 for word in words))
    if any(half & 0x7FFF == 0x7F80 for half in halves):
        raise OverflowError
    if sys.byteorder == "big":
        halves.byteswap()
    return halves.tobytes()
