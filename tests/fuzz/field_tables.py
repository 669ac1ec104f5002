"""Message properties as bytes (AMQP 0-9-1, 4.2.5 and 4.2.6), with every field type in any combination."""

from __future__ import annotations

import struct
import sys
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator


_STRIPPED = ("x-death", "x-delivery-count", "x-acquired-count", "cc", "bcc")


def is_stripped(name: bytes) -> bool:
    """True for a header that copies do not keep."""
    lowered = name.decode("utf-8", "replace").lower()
    return lowered in _STRIPPED or lowered.startswith(("pg-", "x-first-death-", "x-last-death-"))


#: Sizes of the field types of fixed size, in bytes.
_FIXED = {
    **dict.fromkeys("tbB", 1),
    **dict.fromkeys("sUu", 2),
    **dict.fromkeys("Iif", 4),
    **dict.fromkeys("lLdT", 8),
    "D": 5,
    "V": 0,
}
#: Header names with a meaning for the gateway, the broker, or clients.
NAMES = (
    *(
        "pg-attempt",
        "pg-redeliveries",
        "pg-copy",
        "pg-queue",
        "pg-deadline",
        "pg-published",
        "pg-reason",
        "pg-status",
        "pg-parked-at",
        "pg-replays",
        "pg-identity",
        "pg-routing-key",
        "pg-model-status",
        "pg-model-error",
        "PG-Copy",
        "RqUID",
        "rquid",
    ),
    *(
        "x-death",
        "x-delivery-count",
        "x-first-death-queue",
        "x-last-death-reason",
        "x-acquired-count",
        "x-tenant",
        "a",
        "",
    ),
)
#: The properties in their order: flag and size of the value; None for a short string.
_PROPERTIES = (
    ("content_type", None),
    ("content_encoding", None),
    ("headers", 4),
    ("delivery_mode", 1),
    ("priority", 1),
    ("correlation_id", None),
    ("reply_to", None),
    ("expiration", None),
    ("message_id", None),
    ("timestamp", 8),
    ("type", None),
    ("user_id", None),
    ("app_id", None),
    ("cluster_id", None),
)


class Entry(NamedTuple):
    """A header: its name, and the bytes of name and value."""

    name: bytes
    data: bytes


class Encoded(NamedTuple):
    """Encoded properties.

    Attributes:
        data: all of their bytes.
        values: the bytes of each present property, without lengths, by name.
        headers: the entries of the header table.
    """

    data: bytes
    values: dict[str, bytes]
    headers: list[Entry]


def short(text: bytes) -> bytes:
    """A short string."""
    return bytes([len(text)]) + text


def long(data: bytes) -> bytes:
    """A long string, or the content of a table or an array."""
    return struct.pack(">I", len(data)) + data


@lru_cache
def nested(levels: int, kind: bytes = b"A") -> bytes:
    """Arrays in arrays, or tables in tables."""
    value = b"V"
    for _ in range(levels):
        value = b"A" + long(value) if kind == b"A" else b"F" + long(b"\x01a" + value)
    return value


@contextmanager
def room(calls: int) -> Iterator[None]:
    """Raise Python's recursion limit to this many calls beyond the current depth."""
    depth, frame, before = 0, sys._getframe(), sys.getrecursionlimit()
    while frame.f_back is not None:
        depth, frame = depth + 1, frame.f_back
    sys.setrecursionlimit(depth + calls)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _fixed(kind: str) -> st.SearchStrategy[bytes]:
    size = _FIXED[kind]
    odd = [
        bytes(size),
        b"\xff" * size,
        b"\x7f" + b"\xff" * (size - 1),
        b"\x7f\xf0" + bytes(size),
        b"\x7f\xf8\x01" + bytes(size),
        b"\x7e\x37\xe4\x3c" + bytes(size),
    ]
    return st.one_of(
        st.binary(min_size=size, max_size=size), st.sampled_from([each[:size].ljust(size, b"\1") for each in odd])
    ).map(lambda data: kind.encode() + data)


_texts = st.one_of(st.binary(max_size=6), st.sampled_from((b"back", b"work", b"expired", b"1", b"\xff", b"\xc3\xa4")))
_flat = st.one_of(
    *map(_fixed, _FIXED),
    st.builds(lambda kind, data: kind + long(data), st.sampled_from((b"S", b"S", b"x")), _texts),
    st.builds(nested, st.sampled_from((50, 300)), st.sampled_from((b"A", b"F"))),
)
names = st.one_of(st.sampled_from([each.encode() for each in NAMES]), st.binary(max_size=5))


def _table(value: st.SearchStrategy[bytes], inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(st.builds(lambda name, data: short(name) + data, inner, value), max_size=3).map(b"".join)


_inner_names = st.one_of(st.sampled_from((b"queue", b"reason", b"count", b"exchange", b"time")), names)
values = st.recursive(
    _flat,
    lambda value: st.one_of(
        st.lists(value, max_size=3).map(lambda items: b"A" + long(b"".join(items))),
        _table(value, _inner_names).map(lambda table: b"F" + long(table)),
    ),
    max_leaves=6,
)
#: Deeply nested arrays and tables, some deeper than Python's recursion limit.
deep = st.builds(nested, st.sampled_from((300, 900, 1900, 3000)), st.sampled_from((b"A", b"F")))
#: ``x-death`` headers as the broker writes them, or nearly so.
_deaths = _table(st.one_of(_flat, st.sampled_from((b"S\0\0\0\x07expired", b"S\0\0\0\x04work"))), _inner_names).map(
    lambda table: b"A" + long(b"F" + long(table))
)
entries = st.one_of(
    st.builds(lambda name, data: Entry(name, short(name) + data), names, values),
    st.builds(lambda name, data: Entry(name, short(name) + data), names, deep),
    _deaths.map(lambda data: Entry(b"x-death", short(b"x-death") + data)),
)

#: The gateway's headers, with values of any type.
ours = st.builds(
    lambda name, data: Entry(name, short(name) + data),
    st.sampled_from(
        (b"pg-attempt", b"pg-redeliveries", b"pg-copy", b"pg-deadline", b"pg-published", b"pg-status", b"RqUID")
    ),
    _flat,
)


@st.composite
def properties(draw: st.DrawFn, without: tuple[str, ...] = ()) -> Encoded:
    """Validly encoded properties.

    Args:
        without: names of properties to leave out.
    """
    there = draw(st.sets(st.sampled_from([name for name, _ in _PROPERTIES])))
    if draw(st.booleans()):
        there.add("headers")
    flags, data, found, headers = 0, [], {}, []
    for position, (name, size) in enumerate(_PROPERTIES):
        if name not in there or name in without:
            continue
        flags |= 1 << (15 - position)
        if name == "headers":
            headers = draw(st.lists(entries, max_size=4))
            found[name] = b"".join(each.data for each in headers)
            data.append(long(found[name]))
        elif size is None:
            found[name] = draw(st.one_of(_texts, st.sampled_from((b"x" * 255, b"back", b"1000"))))
            data.append(short(found[name]))
        else:
            found[name] = draw(st.binary(min_size=size, max_size=size))
            data.append(found[name])
    # RabbitMQ passes the last two flags on without a meaning; for pika, one of them says that more flags follow.
    flags |= draw(st.sampled_from((0, 0, 0, 0, 1, 2, 3)))
    return Encoded(struct.pack(">H", flags) + b"".join(data), found, headers)


def read(data: bytes) -> dict[str, bytes]:
    """The bytes of each property in encoded properties, by name."""
    (flags,) = struct.unpack_from(">H", data)
    at, found = 2, {}
    for position, (name, size) in enumerate(_PROPERTIES):
        if flags & 1 << (15 - position):
            start = at + {None: 1, 4: 4}.get(size, 0)
            length = data[at] if size is None else int.from_bytes(data[at:start]) if size == 4 else size
            found[name], at = data[start : start + length], start + length
    assert at == len(data), "there is more behind the properties"
    return found
