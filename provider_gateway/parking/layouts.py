"""Where the values stand in encoded properties: the messages of a queue look alike, so one is read as the last one was.

To find the headers of a message takes three times as long as to read them. A layout is what all messages have in common
that differ in values alone: names and types of headers, and lengths. Two operations tell whether another one fits.
"""

from __future__ import annotations

import hashlib
import struct

from pika import spec

from provider_gateway.message.properties import SIZES

_SHORT_STRING = 0
#: The properties in their order: the flag, the name, and the bytes of a value.
_PROPERTIES = (
    (spec.BasicProperties.FLAG_CONTENT_TYPE, "content_type", _SHORT_STRING),
    (spec.BasicProperties.FLAG_CONTENT_ENCODING, "content_encoding", _SHORT_STRING),
    (spec.BasicProperties.FLAG_HEADERS, "headers", -1),
    (spec.BasicProperties.FLAG_DELIVERY_MODE, "delivery_mode", 1),
    (spec.BasicProperties.FLAG_PRIORITY, "priority", 1),
    (spec.BasicProperties.FLAG_CORRELATION_ID, "correlation_id", _SHORT_STRING),
    (spec.BasicProperties.FLAG_REPLY_TO, "reply_to", _SHORT_STRING),
    (spec.BasicProperties.FLAG_EXPIRATION, "expiration", _SHORT_STRING),
    (spec.BasicProperties.FLAG_MESSAGE_ID, "message_id", _SHORT_STRING),
    (spec.BasicProperties.FLAG_TIMESTAMP, "timestamp", 8),
    (spec.BasicProperties.FLAG_TYPE, "type", _SHORT_STRING),
    (spec.BasicProperties.FLAG_USER_ID, "user_id", _SHORT_STRING),
    (spec.BasicProperties.FLAG_APP_ID, "app_id", _SHORT_STRING),
    (spec.BasicProperties.FLAG_CLUSTER_ID, "cluster_id", _SHORT_STRING),
)
_KNOWN_FLAGS = sum(flag for flag, _, _ in _PROPERTIES)
#: Types of values that begin with their length.
_LONG = frozenset(b"SxAF")
_TEXT, _NUMBER, _NUMBERS = ord("S"), ord("I"), frozenset(b"Il")
_length = struct.Struct(">I")

#: The span of what is not there.
NOWHERE: slice = slice(0, 0)


class _OddError(Exception):
    """Properties that have no layout."""


class Layout:
    """Where the values stand in encoded properties.

    Args:
        encoded: the properties of one message.
        without: names of headers that do not count for the digest.

    Attributes:
        properties: spans of the properties that are texts, by name.
        headers: type and span of each header's value, by name, in their order.
        entries: span of each header, with its name and type.

    Raises:
        Exception: the properties are odd: malformed, or a name stands twice.
    """

    __slots__ = ("_ends", "_fixed", "_hash", "_mask", "_spans", "entries", "headers", "properties")

    def __init__(self, encoded: bytes, without: tuple[bytes, ...]) -> None:
        self.properties: dict[str, slice] = {}
        self.headers: dict[bytes, tuple[int, slice]] = {}
        self.entries: dict[bytes, slice] = {}
        values = bytearray(b"\xff" * len(encoded))
        start, end = self._find(encoded, values)
        self._mask = int.from_bytes(values, "big")
        self._fixed = int.from_bytes(encoded, "big") & self._mask
        counted = [self.entries[name] for name in sorted(self.entries) if name not in without]
        table = sum(each.stop - each.start for each in counted)
        flags = int.from_bytes(encoded[:2], "big") & ~spec.BasicProperties.FLAG_HEADERS
        self._spans = _joined([*counted, slice(2, start), slice(end, len(encoded))])
        # What comparable() says, piece by piece.
        self._ends = b"%d" % flags
        before = b"%d." % table
        told = len(before) + sum(each.stop - each.start for each in self._spans) + len(self._ends)
        self._hash = hashlib.blake2b(b"%d.%b" % (told, before), digest_size=16)

    def _find(self, encoded: bytes, values: bytearray) -> tuple[int, int]:
        """Find all values, and erase them; returns the span of the header table with its length."""
        flags, at = encoded[0] << 8 | encoded[1], 2
        if flags & ~_KNOWN_FLAGS:
            raise _OddError
        table: tuple[int, int] | None = None
        for flag, name, size in _PROPERTIES:
            if flag == spec.BasicProperties.FLAG_HEADERS:
                start = at
                if flags & flag:
                    at = self._find_headers(encoded, values, at)
                table = start, at
            elif flags & flag:
                begin = at if size else at + 1
                at = begin + (size or encoded[at])
                self.properties[name] = slice(begin, at)
                values[begin:at] = bytes(at - begin)
        if table is None or at != len(encoded):
            raise _OddError
        return table

    def _find_headers(self, encoded: bytes, values: bytearray, at: int) -> int:
        end = at + 4 + _length.unpack_from(encoded, at)[0]
        at += 4
        while at < end:
            kind_at = at + 1 + encoded[at]
            name, kind = encoded[at + 1 : kind_at], encoded[kind_at]
            begin = kind_at + 1
            if kind in _LONG:
                begin += 4
                after = begin + _length.unpack_from(encoded, kind_at + 1)[0]
            else:
                after = begin + SIZES[encoded[kind_at : kind_at + 1]]
            if name in self.headers or after > end:
                raise _OddError
            self.headers[name] = kind, slice(begin, after)
            self.entries[name] = slice(at, after)
            values[begin:after] = bytes(after - begin)
            at = after
        return at

    def fits(self, encoded: bytes) -> bool:
        """True if other properties of the same length have this layout."""
        return int.from_bytes(encoded, "big") & self._mask == self._fixed

    def digest(self, encoded: bytes, body: bytes) -> str:
        """See :func:`.decoding.id_of`."""
        hashed = self._hash.copy()
        hashed.update(b"".join([encoded[each] for each in self._spans]) + self._ends)
        hashed.update(body)
        return hashed.hexdigest()

    def text_at(self, name: str) -> slice:
        """Where the text of a header stands; an empty span without it.

        Raises:
            Exception: it is no text.
        """
        kind, span = self.headers.get(name.encode(), (_TEXT, NOWHERE))
        if kind != _TEXT:
            raise _OddError
        return span

    def number_at(self, name: str) -> slice:
        """Where the whole number of a header stands. As :meth:`text_at`."""
        kind, span = self.headers.get(name.encode(), (_NUMBER, NOWHERE))
        if kind not in _NUMBERS:
            raise _OddError
        return span


def _joined(spans: list[slice]) -> list[slice]:
    """The same spans, with those that follow each other as one."""
    joined: list[slice] = []
    for each in spans:
        if joined and joined[-1].stop == each.start:
            joined[-1] = slice(joined[-1].start, each.stop)
        else:
            joined.append(each)
    return joined
