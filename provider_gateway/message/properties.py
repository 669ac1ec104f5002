"""Message properties beyond pika's codec: headers that it cannot decode, and copies that keep every byte.

pika raises an error on a header that has no Python value, such as a time stamp after the year 9999 or a decimal that
is not a number. The error would drop the connection, and the message would come back for ever. pika also drops the
fraction of decimals. Therefore decoding leaves such headers out, and copies carry each header's bytes as they arrived.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from pika import data, spec
from pika.exceptions import ShortStringTooLong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

#: Bytes of a value by its type, for types of fixed size (AMQP 0-9-1, 4.2.5, with RabbitMQ's errata). Values of other
#: types begin with their length.
SIZES = {
    b"t": 1, b"b": 1, b"B": 1, b"s": 2, b"U": 2, b"u": 2, b"I": 4, b"i": 4, b"f": 4,
    b"l": 8, b"L": 8, b"d": 8, b"T": 8, b"D": 5, b"V": 0,
}  # fmt: skip
_LONG_STRING = ord("S")
#: What pika's decoder raises on values that it cannot represent.
_UNDECODABLE = (ValueError, OverflowError, OSError, RecursionError)

#: Properties that a copy keeps. Not the expiration: the copy would expire in a queue where it is to stay. Not the user
#: id: the broker compares it with ours.
_COPIED = (
    "content_type", "content_encoding", "priority", "correlation_id", "reply_to", "timestamp", "type", "app_id"
)  # fmt: skip


def short_string(text: str | bytes) -> bytes:
    """Encode a short string (AMQP 0-9-1, 4.2.5.3): one byte of length, then the text.

    Args:
        text: bytes if it was received and is not UTF-8.

    Raises:
        pika.exceptions.ShortStringTooLong: it is longer than 255 bytes.
    """
    encoded = text.encode() if isinstance(text, str) else text
    if len(encoded) > 255:
        raise ShortStringTooLong(encoded)
    return b"%c%b" % (len(encoded), encoded)


def _bounds(encoded: bytes) -> tuple[int, int]:
    """Start and end of the header table in encoded properties; equal without one. It starts with its length field."""
    (flags,) = struct.unpack_from(">H", encoded)
    start = 2
    for flag in (spec.BasicProperties.FLAG_CONTENT_TYPE, spec.BasicProperties.FLAG_CONTENT_ENCODING):
        if flags & flag:
            start += 1 + encoded[start]
    if not flags & spec.BasicProperties.FLAG_HEADERS:
        return start, start
    return start, start + 4 + int(struct.unpack_from(">I", encoded, start)[0])


def _entries(table: bytes) -> Iterator[tuple[str, bytes]]:
    """Each header of a table: its name in lower case, and the bytes of name and value.

    Args:
        table: without the length field.
    """
    start = 0
    while start < len(table):
        end = start + 1 + table[start]
        name = table[start + 1 : end].decode("utf-8", "replace").lower()
        size = SIZES.get(table[end : end + 1])
        if size is None:
            size = 4 + struct.unpack_from(">I", table, end + 1)[0]
        end += 1 + size
        yield name, table[start:end]
        start = end


def _decoded(table: bytes) -> dict[Any, Any]:
    """The headers that pika can decode."""
    headers: dict[Any, Any] = {}
    for _, entry in _entries(table):
        try:
            headers.update(data.decode_table(struct.pack(">I", len(entry)) + entry, 0)[0])
        except _UNDECODABLE:
            continue  # a copy still carries it
    return headers


class ReceivedProperties(spec.BasicProperties):
    """Properties as they came from the broker. ``headers`` lacks those that have no Python value.

    Headers of the type "long string" are texts. Bytes in them that are not UTF-8 are lone surrogates (PEP 383). pika
    makes bytes of such a text, as of a byte array; but only a text becomes an HTTP header.

    Attributes:
        encoded: their bytes.
    """

    encoded = b"\x00\x00"

    def decode(self, encoded: bytes, offset: int = 0) -> ReceivedProperties:
        """Read properties (pika.amqp_object.Properties)."""
        self.encoded = encoded = encoded[offset:]
        # RabbitMQ hands on the last flag and gives it no meaning. pika would expect more flags after it.
        encoded = encoded[:1] + bytes([encoded[1] & 0xFE]) + encoded[2:]
        try:
            super().decode(encoded)
        except _UNDECODABLE:
            start, end = _bounds(encoded)
            (flags,) = struct.unpack_from(">H", encoded)
            flags &= ~spec.BasicProperties.FLAG_HEADERS
            super().decode(struct.pack(">H", flags) + encoded[2:start] + encoded[end:])
            self.headers = _decoded(encoded[start + 4 : end])
        if self.headers and any(isinstance(value, bytes) for value in self.headers.values()):
            self._read_texts()
        return self

    def _read_texts(self) -> None:
        """Make texts of the long strings that are not UTF-8."""
        start, end = _bounds(self.encoded)
        # Of names that stand twice, pika takes the last one.
        last = {entry[1 : 1 + entry[0]]: entry for _, entry in _entries(self.encoded[start + 4 : end])}
        for name, entry in last.items():
            key = name.decode("utf-8", "replace")
            if entry[1 + len(name)] == _LONG_STRING and isinstance(self.headers.get(key), bytes):
                self.headers[key] = entry[6 + len(name) :].decode("utf-8", "surrogateescape")

    def headers_that(self, wanted: Callable[[str], bool]) -> bytes:
        """The bytes of the wanted headers, as they were received.

        Args:
            wanted: called with a name in lower case; True takes the header.
        """
        return b"".join(self.entries_that(wanted))

    def entries_that(self, wanted: Callable[[str], bool]) -> list[bytes]:
        """The same, each header apart: length and bytes of its name, then its value with its type."""
        start, end = _bounds(self.encoded)
        return [entry for name, entry in _entries(self.encoded[start + 4 : end]) if wanted(name)]


class CopiedProperties(spec.BasicProperties):
    """Properties of a persistent copy.

    Args:
        original: the properties to copy from; ``_COPIED`` lists which.
        message_id: of the copy.
        added: headers of our own.
        kept: headers of the original, encoded.
    """

    def __init__(self, original: spec.BasicProperties, message_id: str, added: Mapping[str, Any], kept: bytes) -> None:
        same = {name: getattr(original, name) for name in _COPIED}
        super().__init__(headers=dict(added), delivery_mode=2, message_id=message_id, **same)
        self._kept = kept

    def encode(self) -> list[bytes]:
        """Write properties (pika.amqp_object.Properties)."""
        encoded = b"".join(super().encode())
        start, end = _bounds(encoded)
        table = encoded[start + 4 : end] + self._kept
        return [encoded[:start], struct.pack(">I", len(table)), table, encoded[end:]]


def decoded(encoded: bytes) -> ReceivedProperties:
    """Properties from their bytes."""
    return ReceivedProperties().decode(encoded)


def user_id_of(encoded: bytes) -> str | None:
    """The ``user_id`` of encoded properties, which the broker has checked; None without one that is UTF-8."""
    # Most messages have none, and are not decoded by pika.
    user = decoded(encoded).user_id if encoded[1] & spec.BasicProperties.FLAG_USER_ID else None
    return user if isinstance(user, str) else None


def comparable(encoded: bytes, without: Sequence[bytes]) -> bytes:
    """Bytes that stay the same when a broker adds its headers to encoded properties.

    RabbitMQ sorts the headers then, and keeps the first of several with one name.

    Args:
        without: names of headers that do not count.
    """
    start, end = _bounds(encoded)
    headers: dict[bytes, bytes] = {}
    at = start + 4
    while at < end:
        after = at + 1 + encoded[at]
        size = SIZES.get(encoded[after : after + 1])
        if size is None:
            size = 4 + int.from_bytes(encoded[after + 1 : after + 5], "big")
        name = encoded[at + 1 : after]
        after += 1 + size
        if name not in headers:
            headers[name] = encoded[at:after]
        at = after
    for name in without:
        headers.pop(name, None)
    table = b"".join([headers[name] for name in sorted(headers)])
    flags = int.from_bytes(encoded[:2], "big") & ~(spec.BasicProperties.FLAG_HEADERS | 1)
    return b"%d.%b%b%b%d" % (len(table), table, encoded[2:start], encoded[end:], flags)
