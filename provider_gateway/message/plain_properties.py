"""A codec for plain message properties, twice as fast as pika's: 3 µs instead of 6, four times a request.

Plain means: the properties that we write ourselves, with headers that are texts or whole numbers. pika decodes
everything else.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pika import data, spec

from provider_gateway.message.properties import decoded, short_string

if TYPE_CHECKING:
    from collections.abc import Mapping


class Known(NamedTuple):
    """The properties that we use.

    A text that is not UTF-8 stays bytes. In a header's value, bytes that are not UTF-8 are lone surrogates (PEP 383).
    """

    content_type: Any
    headers: dict[Any, Any]
    correlation_id: Any
    reply_to: Any
    message_id: Any
    content_encoding: Any = None


_FLAGS, _LENGTH = struct.Struct(">H"), struct.Struct(">I")
_INT, _LONG = struct.Struct(">i"), struct.Struct(">q")
_TEXT_KIND, _INT_KIND, _LONG_KIND = b"SIl"
_PERSISTENT = b"\x02"
_CONTENT_TYPE, _HEADERS = spec.BasicProperties.FLAG_CONTENT_TYPE, spec.BasicProperties.FLAG_HEADERS
_CONTENT_ENCODING = spec.BasicProperties.FLAG_CONTENT_ENCODING
_DELIVERY_MODE, _CORRELATION_ID = spec.BasicProperties.FLAG_DELIVERY_MODE, spec.BasicProperties.FLAG_CORRELATION_ID
_REPLY_TO, _MESSAGE_ID = spec.BasicProperties.FLAG_REPLY_TO, spec.BasicProperties.FLAG_MESSAGE_ID
_PLAIN = _CONTENT_TYPE | _CONTENT_ENCODING | _HEADERS | _DELIVERY_MODE | _CORRELATION_ID | _REPLY_TO | _MESSAGE_ID

#: For names of headers and content types: few, and repeated.
_known_short_string = lru_cache(1024)(short_string)
#: For the same, and for reply addresses: waiting messages share one text, which saves 60 bytes each.
_known_text = lru_cache(1024)(bytes.decode)


def encode_properties(
    content_type: str | None,
    headers: Mapping[str, Any],
    correlation_id: str | None,
    reply_to: str | None,
    message_id: str | None,
    content_encoding: str | None = None,
) -> bytes:
    """Encode the properties of a persistent message.

    Raises:
        pika.exceptions.ShortStringTooLong: a text is longer than 255 bytes (values of headers may be).
        pika.exceptions.UnsupportedAMQPFieldException: AMQP has no type for the value of a header.
    """
    entries = []
    for name, value in headers.items():
        entries.append(_known_short_string(name))
        if type(value) is str:
            text = value.encode("utf-8", "surrogateescape")  # it may have come from HTTP in another charset
            entries.append(b"S%b%b" % (_LENGTH.pack(len(text)), text))
        elif type(value) is int:  # for a time, pika would raise and catch an error
            short = -(2**31) <= value < 2**31
            entries.append(b"I" + _INT.pack(value) if short else b"l" + _LONG.pack(value))
        else:
            data.encode_value(entries, value)
    table = b"".join(entries)
    flags = _HEADERS | _DELIVERY_MODE
    before = after = b""
    if content_type is not None:
        flags |= _CONTENT_TYPE
        before = _known_short_string(content_type)
    if content_encoding is not None:
        flags |= _CONTENT_ENCODING
        before += _known_short_string(content_encoding)
    if correlation_id is not None:
        flags |= _CORRELATION_ID
        after = short_string(correlation_id)
    if reply_to is not None:
        flags |= _REPLY_TO
        after += short_string(reply_to)
    if message_id is not None:
        flags |= _MESSAGE_ID
        after += short_string(message_id)
    return b"".join((_FLAGS.pack(flags), before, _LENGTH.pack(len(table)), table, _PERSISTENT, after))


def decode_properties(encoded: bytes) -> Known:
    """Decode the properties that we use of a received message.

    Raises:
        Exception: pika's decoder raises it on malformed properties.
    """
    try:
        return _decode_plain(encoded)
    except (_OddError, IndexError, UnicodeDecodeError, struct.error):
        odd = decoded(encoded)
        ids = (odd.correlation_id, odd.reply_to, odd.message_id)
        return Known(odd.content_type, odd.headers or {}, *ids, odd.content_encoding)


class _OddError(Exception):
    """The properties are not plain, or are cut off."""


def _decode_plain(encoded: bytes) -> Known:
    flags, at = encoded[0] << 8 | encoded[1], 2
    if flags & ~_PLAIN:
        raise _OddError
    content_type = content_encoding = correlation_id = reply_to = message_id = None
    headers: dict[Any, Any] = {}
    if flags & _CONTENT_TYPE:
        start, at = at + 1, at + 1 + encoded[at]
        content_type = _known_text(encoded[start:at])
    if flags & _CONTENT_ENCODING:
        start, at = at + 1, at + 1 + encoded[at]
        content_encoding = _known_text(encoded[start:at])
    if flags & _HEADERS:
        start, at = at + 4, at + 4 + _LENGTH.unpack_from(encoded, at)[0]
        headers = _decode_plain_table(encoded, start, at)
    if flags & _DELIVERY_MODE:
        at += 1
    if flags & _CORRELATION_ID:
        start, at = at + 1, at + 1 + encoded[at]
        correlation_id = encoded[start:at].decode()
    if flags & _REPLY_TO:
        start, at = at + 1, at + 1 + encoded[at]
        reply_to = _known_text(encoded[start:at])
    if flags & _MESSAGE_ID:
        start, at = at + 1, at + 1 + encoded[at]
        message_id = encoded[start:at].decode()
    if at != len(encoded):
        raise _OddError
    return Known(content_type, headers, correlation_id, reply_to, message_id, content_encoding)


def _decode_plain_table(encoded: bytes, at: int, end: int) -> dict[Any, Any]:
    headers: dict[Any, Any] = {}
    while at < end:
        start, at = at + 1, at + 1 + encoded[at]
        name = _known_text(encoded[start:at])
        kind = encoded[at]
        if kind == _TEXT_KIND:
            start = at + 5
            at = start + _LENGTH.unpack_from(encoded, at + 1)[0]
            headers[name] = encoded[start:at].decode("utf-8", "surrogateescape")
        elif kind == _INT_KIND:
            headers[name] = _INT.unpack_from(encoded, at + 1)[0]
            at += 5
        elif kind == _LONG_KIND:
            headers[name] = _LONG.unpack_from(encoded, at + 1)[0]
            at += 9
        else:
            raise _OddError
    if at != end:
        raise _OddError
    return headers
