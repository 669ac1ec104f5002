"""Frames that a client may send: valid ones of every method, with any arguments, and bytes that are no frames."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import strategies as st
from pika import spec

from tests.fuzz.field_tables import long, nested, properties, short, values

if TYPE_CHECKING:
    from collections.abc import Callable

_END = b"\xce"
_HEADER = struct.Struct(">BHI")
#: The negotiated frame_max; RabbitMQ, and so the embedded broker, accepts a payload of this size.
FRAME_MAX = 131_072

_names = st.sampled_from(
    (
        b"",
        b"q",
        b"q",
        b"other",
        b"amq.topic",
        b"amq.direct",
        b"amq.rabbitmq.reply-to",
        b"amq.gen-x",
        b"\xff",
        b"a.b",
        b"x" * 255,
    )
)
_keys = st.sampled_from((b"", b"q", b"a.b", b"#", b"*.b", b"\xff", b"k" * 255))
_kinds = st.sampled_from((b"topic", b"direct", b"fanout", b"headers", b"nonsense", b""))
_flags = st.integers(0, 255).map(lambda bits: bytes([bits]))
_rarely = st.one_of(st.just(0), st.just(0), st.integers(0, 31)).map(lambda bits: bytes([bits]))
_numbers = st.sampled_from((0, 0, 1, 1, 2, 2**31, 2**63, 2**64 - 1)).map(lambda number: struct.pack(">Q", number))
_argument_names = st.sampled_from(
    (
        b"x-message-ttl",
        b"x-expires",
        b"x-max-length",
        b"x-max-length-bytes",
        b"x-overflow",
        b"x-dead-letter-exchange",
        b"x-queue-type",
        b"x-dead-letter-routing-key",
        b"x-delivery-limit",
        b"x-max-priority",
        b"x-single-active-consumer",
        b"alternate-exchange",
        b"x-match",
        b"x-priority",
        b"x-queue-mode",
        b"x-dead-letter-strategy",
        b"\xff",
        b"a",
    )
)
_argument_values = st.one_of(
    st.sampled_from((0, 1, 5, -1, 2**31 - 1, 2**62)).map(lambda number: b"l" + struct.pack(">q", number)),
    st.sampled_from(
        (b"", b"q", b"quorum", b"classic", b"stream", b"drop-head", b"reject-publish", b"at-least-once", b"\xff")
    ).map(lambda text: b"S" + long(text)),
    values,
    st.builds(nested, st.sampled_from((900, 1900)), st.sampled_from((b"A", b"F"))),
)
_tables = st.lists(
    st.builds(lambda name, value: short(name) + value, _argument_names, _argument_values), max_size=3
).map(lambda table: long(b"".join(table)))
_none = st.just(long(b""))
_arguments = st.one_of(_none, _none, _tables)


class Frame(NamedTuple):
    """A frame with valid framing and any payload."""

    kind: int
    channel: int
    payload: bytes

    @property
    def data(self) -> bytes:
        """The bytes of the frame."""
        return _HEADER.pack(self.kind, self.channel, len(self.payload)) + self.payload + _END


def _method(kind: type, *parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(*parts).map(lambda drawn: struct.pack(">I", kind.INDEX) + b"".join(drawn))


_two = st.just(b"\0\0")
_short_names = _names.map(short)
_short_keys = _keys.map(short)
_METHODS = (
    _method(spec.Channel.Open, st.just(b"\0")),
    _method(spec.Channel.Flow, _flags),
    _method(spec.Channel.Close, st.just(b"\0\xc8\0\0\0\0\0")),
    _method(spec.Channel.CloseOk),
    _method(spec.Exchange.Declare, _two, _short_names, _kinds.map(short), _rarely, _arguments),
    _method(spec.Exchange.Delete, _two, _short_names, _rarely),
    _method(spec.Exchange.Bind, _two, _short_names, _short_names, _short_keys, _rarely, _none),
    _method(spec.Queue.Declare, _two, _short_names, _rarely, _arguments),
    _method(spec.Queue.Declare, _two, _short_names, _rarely, _arguments),
    _method(spec.Queue.Bind, _two, _short_names, _short_names, _short_keys, _rarely, _arguments),
    _method(spec.Queue.Unbind, _two, _short_names, _short_names, _short_keys, _arguments),
    _method(spec.Queue.Purge, _two, _short_names, _rarely),
    _method(spec.Queue.Delete, _two, _short_names, _rarely),
    _method(spec.Basic.Qos, st.sampled_from((b"\0\0\0\0", b"\0\0\0\1")), _two, _rarely),
    _method(spec.Basic.Consume, _two, _short_names, _short_keys, _rarely, _arguments),
    _method(spec.Basic.Cancel, _short_keys, _rarely),
    _method(spec.Basic.Publish, _two, _short_names, _short_keys, _rarely),
    _method(spec.Basic.Publish, _two, st.just(b"\0"), _short_names, _rarely),
    _method(spec.Basic.Get, _two, _short_names, _rarely),
    _method(spec.Basic.Ack, _numbers, _rarely),
    _method(spec.Basic.Nack, _numbers, _rarely),
    _method(spec.Basic.Reject, _numbers, _rarely),
    _method(spec.Basic.Recover, _rarely),
    _method(spec.Confirm.Select, _rarely),
    _method(spec.Tx.Select),
    _method(spec.Connection.Close, st.just(b"\0\xc8\0\0\0\0\0")),
    _method(spec.Connection.TuneOk, _numbers),
    _method(spec.Basic.Deliver, _short_names, _numbers, _rarely, _short_names, _short_keys),
    st.builds(
        lambda index, more: struct.pack(">I", index) + more,
        st.sampled_from(sorted(spec.methods)),
        st.binary(max_size=20),
    ),
)
_channels = st.sampled_from((*[1] * 12, 2, 0, 65535))
_methods = st.builds(Frame, st.just(spec.FRAME_METHOD), _channels, st.one_of(*_METHODS))
_bodies = st.builds(Frame, st.just(spec.FRAME_BODY), _channels, st.binary(max_size=6))


def _header(size: int, encoded: bytes) -> bytes:
    return struct.pack(">HHQ", 60, 0, size) + encoded


_headers = st.builds(
    Frame,
    st.just(spec.FRAME_HEADER),
    _channels,
    st.builds(_header, st.sampled_from((0, 0, 3, 2**40, 2**63)), properties().map(lambda encoded: encoded.data)),
)


@st.composite
def _publishes(draw: st.DrawFn) -> list[Frame]:
    """The frames of a complete message."""
    body, encoded = draw(st.binary(max_size=3)), draw(properties(without=("user_id",)))
    method = struct.pack(">I", spec.Basic.Publish.INDEX) + b"\0\0" + short(b"") + draw(_short_names) + draw(_rarely)
    frames = [Frame(spec.FRAME_METHOD, 1, method), Frame(spec.FRAME_HEADER, 1, _header(len(body), encoded.data))]
    return [*frames, Frame(spec.FRAME_BODY, 1, body)] if body else frames


@st.composite
def _changed(draw: st.DrawFn) -> Frame:
    """A frame whose payload is cut, or changed in one place."""
    frame = draw(st.one_of(_methods, _headers))
    payload = bytearray(frame.payload)
    at = draw(st.integers(0, len(payload)))
    payload[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    if draw(st.booleans()):
        del payload[draw(st.integers(0, len(payload))) :]
    return frame._replace(payload=bytes(payload))


_heartbeat = st.just(Frame(spec.FRAME_HEARTBEAT, 0, b""))
frames = st.one_of(
    _methods.map(lambda frame: [frame]),
    _methods.map(lambda frame: [frame]),
    _publishes(),
    _publishes(),
    _headers.map(lambda frame: [frame]),
    _bodies.map(lambda frame: [frame]),
    _changed().map(lambda frame: [frame]),
    _heartbeat.map(lambda frame: [frame]),
)
conversations = st.lists(frames, max_size=7).map(lambda groups: [frame for group in groups for frame in group])

_DECLARE = struct.pack(">I", spec.Queue.Declare.INDEX) + b"\0\0\1q\0"


def _bad(code: int, make: Callable[..., bytes], *parts: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[bytes, int]]:
    return st.tuples(st.builds(make, *parts), st.just(code))


def _but(*right: int, most: int = 255) -> st.SearchStrategy[int]:
    return st.integers(0, most).filter(lambda number: number not in right)


#: Invalid frames, and the reply code for each.
bad_frames = st.one_of(
    _bad(
        501,
        lambda frame, end: frame.data[:-1] + bytes([end]),
        st.sampled_from((Frame(1, 1, _DECLARE + long(b"")), Frame(2, 1, _header(0, b"\0\0")), Frame(3, 1, b"x"))),
        _but(0xCE),
    ),
    _bad(501, lambda kind, data: Frame(kind, 1, data).data, _but(1, 2, 3, 8), st.binary(max_size=9)),
    _bad(501, lambda data: Frame(1, 1, data).data, st.binary(max_size=3)),
    _bad(501, lambda data: Frame(2, 1, data).data, st.binary(max_size=13)),
    _bad(501, lambda more: Frame(1, 1, _DECLARE + long(b"\1a?" + more)).data, st.binary(max_size=5)),
    _bad(501, lambda size: _HEADER.pack(3, 1, size) + b"x", st.integers(FRAME_MAX + 1, 2**32 - 1)),
    _bad(505, lambda channel: Frame(8, channel, b"").data, st.integers(1, 65535)),
    _bad(505, lambda number: Frame(2, 1, struct.pack(">HHQH", number, 0, 0, 0)).data, _but(60, most=65535)),
    _bad(540, lambda index: Frame(1, 1, struct.pack(">I", index)).data, _but(*spec.methods, most=2**32 - 1)),
)


def deep_frames(place: str, levels: int, kind: bytes) -> list[Frame]:
    """Frames with a deeply nested value: an argument of a queue or a consumer, or a header of a message for ``q``."""
    value = nested(levels, kind)
    if place == "argument":
        table = long(short(b"x-message-ttl") + value)
        return [Frame(1, 1, struct.pack(">I", spec.Queue.Declare.INDEX) + b"\0\0" + short(b"deep") + b"\0" + table)]
    if place == "consume":
        return [
            Frame(
                1, 1, struct.pack(">I", spec.Basic.Consume.INDEX) + b"\0\0\1q\0\0" + long(short(b"x-priority") + value)
            )
        ]
    name = b"x-death" if place == "x-death" else b"a"
    if place == "x-death":
        value = b"A" + long(b"F" + long(short(b"queue") + value))
    return message_frames(short(name) + value)


#: A header ``x-death`` in the broker's form, with other values.
_reasons = st.sampled_from((b"rejected", b"rejected", b"expired", b"maxlen", b"\xff"))
_counts = st.one_of(
    st.sampled_from((b"l" + b"\x7f" + b"\xff" * 7, b"I\x7f\xff\xff\xff", b"L\x7f" + b"\xff" * 7, b"t\1")), values
)
_death = st.builds(
    lambda queue, reason, count, more: (
        b"F" + long(b"\5queueS" + long(queue) + b"\6reasonS" + long(reason) + b"\5count" + count + more)
    ),
    st.sampled_from((b"q", b"q", b"other", b"\xff")),
    _reasons,
    _counts,
    st.one_of(
        st.just(b""),
        st.builds(lambda name, value: short(name) + value, st.sampled_from((b"time", b"exchange", b"\xff")), values),
    ),
)
deaths = st.lists(_death, min_size=1, max_size=3).map(lambda items: short(b"x-death") + b"A" + long(b"".join(items)))


def message_frames(table: bytes) -> list[Frame]:
    """An empty message with these headers for the queue ``q``."""
    publish = struct.pack(">I", spec.Basic.Publish.INDEX) + b"\0\0\0\1q\0"
    return [Frame(1, 1, publish), Frame(2, 1, _header(0, b"\x20\0" + long(table)))]
