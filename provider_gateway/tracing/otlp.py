"""Encodes spans for OTLP (opentelemetry-proto 1.x, ``ExportTraceServiceRequest``), as bytes of protobuf.

Written by hand, since every request has five spans: with OpenTelemetry's protobuf classes an encoded span takes 21 µs,
with its exporter 38 µs, and so 1.5 µs. The tests read the bytes back with OpenTelemetry's classes.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from provider_gateway import __version__
from provider_gateway.tracing.span import Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from provider_gateway.tracing.span import Span

#: Version of the semantic conventions that names and attributes follow. Those of messaging are in development.
SCHEMA_URL = "https://opentelemetry.io/schemas/1.38.0"
#: Characters of an attribute's text, and of a span's error.
_MAX_TEXT = 1000
#: Flags of a span or link: it is sampled; bit 9 is known; bit 9: the parent, or what is linked to, is remote.
_SAMPLED, _KNOWS_REMOTE, _IS_REMOTE = 1, 0x100, 0x200
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_ERROR = 2

#: Begin and end of a span, each after its tag.
_times = struct.Struct("<BQBQ")
_flags = struct.Struct("<I")


def _varint(number: int) -> bytes:
    """A number from 0 in the encoding of protobuf."""
    if number < 0x80:
        return bytes((number,))
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _tag(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


#: A part of an encoding: bytes that are always the same, or the size of a value.
_Part: TypeAlias = "bytes | int"


def _field(field: int, *parts: _Part) -> list[_Part]:
    """A field that is a text, bytes or a message."""
    size = sum(len(part) if isinstance(part, bytes) else part for part in parts)
    return [_tag(field, _BYTES) + _varint(size), *parts]


def _text_field(field: int, text: bytes) -> bytes:
    return b"%b%b%b" % (_tag(field, _BYTES), _varint(len(text)), text)


def _text(text: str) -> bytes:
    # A header's bytes that are not UTF-8 are lone surrogates (PEP 383), for which UTF-8 has no encoding.
    return text[:_MAX_TEXT].encode("utf-8", "replace")


#: A whole number. Sizes of bodies, statuses and numbers of attempts repeat.
_number = lru_cache(1024)(_varint)
#: The shape of a value: the size of a text; for a whole number, the negative of its size; of a boolean; of no value.
_BOOLEAN, _NOTHING = -64, -65


def _shape(value: object) -> tuple[int, bytes]:
    """A value's shape and its bytes."""
    if value is None:
        return _NOTHING, b""
    if isinstance(value, bool):
        return _BOOLEAN, _varint(value)
    if isinstance(value, int):
        encoded = _number(value & 0xFFFF_FFFF_FFFF_FFFF)
        return -len(encoded), encoded
    encoded = _text(str(value))
    return len(encoded), encoded


def _attribute(field: int, name: str, shape: int) -> list[_Part]:
    """A ``KeyValue`` with an ``AnyValue``."""
    if shape == _NOTHING:
        return []
    if shape == _BOOLEAN:
        value: list[_Part] = [_tag(2, _VARINT), 1]
    elif shape < 0:
        value = [_tag(3, _VARINT), -shape]
    else:
        value = _field(1, shape)
    return _field(field, _text_field(1, name.encode()), *_field(2, *value))


def _template(parts: Iterable[_Part]) -> bytes:
    """The parts for ``%``, which puts in the values."""
    return b"".join(part.replace(b"%", b"%%") if isinstance(part, bytes) else b"%b" for part in parts)


def _encoded(field: int, attributes: Mapping[str, object]) -> bytes:
    encoded = b""
    for name, value in attributes.items():
        shape, text = _shape(value)
        if shape != _NOTHING:
            encoded += _template(_attribute(field, name, shape)) % text
    return encoded


#: Fields of a span or link, each before its value of a known size.
_TRACE_ID, _SPAN_ID, _PARENT_ID = (_tag(number, _BYTES) + bytes((size,)) for number, size in ((1, 16), (2, 8), (4, 8)))
_START, _END = (number << 3 | _FIXED64 for number in (7, 8))
_BILLION = 1e9


class SpanTemplate:
    """What many spans have in common.

    Args:
        kind: which side of which call they are.
        name: of few different ones: no ids.
        fixed: attributes by the semantic conventions: those that all have.
        names: of the attributes whose values differ.

    Attributes:
        has_link: they are linked to a parent that a header told of.
    """

    __slots__ = ("_after", "_names", "has_link")

    def __init__(self, kind: Kind, name: str, fixed: Mapping[str, object], names: tuple[str, ...] = ()) -> None:
        self.has_link = kind is Kind.CONSUMER
        self._names = names
        self._after = _text_field(5, name.encode()) + _tag(6, _VARINT) + bytes((kind,)) + _encoded(9, fixed)

    def encoding(self, remote: int, sizes: tuple[int, int, int, int], shapes: tuple[int, ...]) -> bytes:
        """What is the same for spans whose values have certain shapes, see :func:`encode_span`, for the values."""
        parent, state, error, error_type = sizes
        own = _flags.pack(_SAMPLED | _KNOWS_REMOTE | (remote & _IS_REMOTE))
        parts: list[_Part] = [_TRACE_ID, 16, _SPAN_ID, 8, _times.size]
        told = _field(3, state) if state else []
        parts += told
        if parent:
            parts += [_PARENT_ID, 8]
            if remote and self.has_link:
                link = _tag(6, _FIXED32) + _flags.pack(remote)
                parts += _field(13, _TRACE_ID, 16, _SPAN_ID, 8, *told, link)
        for each, shape in zip(self._names, shapes, strict=True):
            parts += _attribute(9, each, shape)
        if error >= 0:
            parts += _attribute(9, "error.type", error_type)
            parts += _field(15, *_field(2, error), _tag(3, _VARINT) + _varint(_ERROR))
        parts += [self._after, _tag(16, _FIXED32), own]
        return _template(_field(2, *parts))


# Few different ones: 10 µs for a span of another shape.
@lru_cache(1024)
def _encoding(
    template: SpanTemplate, remote: int, parent: int, state: int, error: int, error_type: int, *shapes: int
) -> tuple[bytes, bool]:
    """What is the same for many spans, and whether it has a link.

    Args:
        remote: flags of a parent that a header told of, or 0.
        parent, state, error, error_type: their sizes; 0 for none, and for an error -1.
        shapes: of the attributes.
    """
    encoding = template.encoding(remote, (parent, state, error, error_type), shapes)
    return encoding, bool(remote and template.has_link)


def encode_span(span: Span) -> bytes:
    """The encoding of a span that has ended, as a field of a request."""
    since, until, parent, remote, state = span.since, span.until, span.parent_id, span.remote, span.state
    assert until is not None
    texts: list[bytes] = []
    key: list[Any] = [span.template, 0, len(parent), 0, -1, 0]
    for value in span.values:
        if type(value) is str:
            try:
                text = value.encode()
            except UnicodeEncodeError:
                text = _text(value)
            if len(text) > _MAX_TEXT:
                text = _text(value)
            key.append(len(text))
        elif value is None:
            key.append(_NOTHING)
            continue
        elif type(value) is int and value >= 0:
            text = _number(value)
            key.append(-len(text))
        else:
            shape, text = _shape(value)
            key.append(shape)
        texts.append(text)
    if remote is not None:
        key[1] = _KNOWS_REMOTE | _IS_REMOTE | (_SAMPLED if remote.is_sampled else 0)
    if span.error is not None:
        texts += (_text(span.error_type), _text(span.error))
        key[4], key[5] = len(texts[-1]), len(texts[-2])
    began = int(_BILLION * (since + span.ahead))
    times = _times.pack(_START, began, _END, began + int(_BILLION * (until - since)))
    trace = bytes.fromhex(span.trace_id)
    if not state:
        encoding, has_link = _encoding(*key)
        if has_link:
            return encoding % (trace, span.id, times, parent, trace, parent, *texts)
        if parent:
            return encoding % (trace, span.id, times, parent, *texts)
        return encoding % (trace, span.id, times, *texts)
    told = state.encode()
    key[3] = len(told)
    encoding, has_link = _encoding(*key)
    link = (trace, parent, told) if has_link else ()
    return encoding % (trace, span.id, times, told, *((parent,) if parent else ()), *link, *texts)


class RequestEncoder:
    """Encodes the requests of one process.

    Args:
        resource: attributes of the process.
    """

    def __init__(self, resource: Mapping[str, object]) -> None:
        self._schema = _text_field(3, SCHEMA_URL.encode())
        self._resource = _text_field(1, _encoded(1, resource))
        scope = _text_field(1, b"provider_gateway") + _text_field(2, __version__.encode())
        self._scope = _text_field(1, scope)
        #: Of what is about the scope, without spans.
        self._size = len(self._scope) + len(self._schema)

    def encode(self, spans: Collection[bytes]) -> bytes:
        """The body of a request with these encoded spans."""
        size = self._size + sum(map(len, spans))
        # Joined once: each copy of a large body needs pages of memory that are new to the process.
        of_scope = _tag(2, _BYTES) + _varint(size)
        whole = _tag(1, _BYTES) + _varint(len(self._resource) + len(of_scope) + size + len(self._schema))
        return b"".join([whole, self._resource, of_scope, self._scope, *spans, self._schema, self._schema])
