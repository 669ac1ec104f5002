"""A channel that carries messages: publishes, confirms, returns, deliveries, acknowledgements.

pika opens and closes the channel. The frames of messages bypass pika: they are written and read here. For each message,
pika makes objects for methods and frames, looks up callbacks by name, and puts a Deferred into a queue. That took 17 %
of a request's CPU time.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from pika.exceptions import UnexpectedFrameError

from provider_gateway.amqp.frames import BODY, END, END_MARK, HEADER, METHOD, START, frame
from provider_gateway.message.properties import short_string
from provider_gateway.net.pieces import Pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.twisted_connection import TwistedChannel

    from provider_gateway.amqp.frames import Frame
    from provider_gateway.amqp.outbox import Outbox

#: Class and method numbers (AMQP 0-9-1, 1.8). Nack is RabbitMQ's extension.
_PUBLISH, _RETURN, _DELIVER, _ACK, _NACK = (struct.pack(">HH", 60, number) for number in (40, 50, 60, 80, 120))
_WITH_CONTENT, _CONFIRMS = frozenset({_RETURN, _DELIVER}), frozenset({_ACK, _NACK})
_MANDATORY = b"\x01"
_MULTIPLE = 1

_ack_frame = struct.Struct(">BHI4sQBc")
_confirm = struct.Struct(">QB")
_tag = struct.Struct(">QB")
_content_head = struct.Struct(">HHQ")
_BASIC = 60
_frame_head = struct.Struct(">BHI")
#: Bytes of a header frame before the properties.
_HEADER_BYTES = START + _content_head.size
_MARK = END_MARK[0]
#: The header of a message without body and properties.
_EMPTY = _content_head.pack(_BASIC, 0, 0) + b"\0\0"


class Content(NamedTuple):
    """A message that was delivered or returned.

    Attributes:
        tag: the delivery tag; 0 for a returned message.
        redelivered: True if the broker delivered it before.
        properties: its encoded properties.
    """

    tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    properties: bytes
    body: bytes


@lru_cache(1024)
def _known_text(data: bytes) -> str:
    # There are few exchanges and keys. Waiting messages share their texts, which saves 110 bytes each.
    return data.decode("utf-8", "replace")


def _text(data: bytes, start: int) -> tuple[str, int]:
    """The short string at a position, and where it ends. Bytes that are not UTF-8 are replaced."""
    end = start + 1 + data[start]
    return _known_text(data[start + 1 : end]), end


@lru_cache(1024)
def _known_texts(data: bytes) -> tuple[str, str] | None:
    """The two short strings that these bytes are; None if they are something else."""
    if not data:
        return None
    first, at = _text(data, 0)
    if at >= len(data):
        return None
    second, at = _text(data, at)
    return (first, second) if at == len(data) else None


@lru_cache(1024)
def _publish_method(exchange: str, routing_key: str) -> bytes:
    return b"%b\0\0%b%b%b" % (_PUBLISH, short_string(exchange), short_string(routing_key), _MANDATORY)


class MessageChannel:
    """The messages of one channel.

    Args:
        channel: pika's channel.
        outbox: takes what is to be sent.

    Attributes:
        max_properties: bytes of encoded properties that a frame has room for (AMQP 0-9-1, 4.2.3 and 4.2.6).
        on_delivery: called with each delivered message.
        on_return: called with each returned message.
        on_confirm: called with each confirm: the tag of a publish; True if it is for all earlier tags, too; True for an
            ack, False for a nack.
    """

    def __init__(self, channel: TwistedChannel, outbox: Outbox) -> None:
        self.channel = channel
        self._outbox = outbox
        self._write = outbox.write
        self._number: int = channel.channel_number
        self._max_piece: int = channel.connection.params.frame_max - START - END
        self.max_properties = self._max_piece - _content_head.size
        self._published = 0
        self.on_delivery: Callable[[Content], object] = lambda _: None
        self.on_return: Callable[[Content], object] = lambda _: None
        self.on_confirm: Callable[[int, bool, bool], object] = lambda *_: None
        # The message that is arriving: its method, its properties, how many bytes of its body are missing.
        self._method: bytes | None = None
        self._properties: bytes | None = None
        self._missing = 0
        #: The body, or the beginning of one that needs several frames.
        self._body = b""
        self._begun: Pieces | None = None

    @property
    def is_open(self) -> bool:
        """True until it is closed, by either side."""
        return bool(self.channel.is_open)

    def publish(self, exchange: str, routing_key: str, properties: bytes, body: bytes) -> int:
        """Publish a message as mandatory: the broker returns it if it is unrouted.

        The frames of a message go out in one write, unless its body needs several: these are made when they are sent.

        Args:
            properties: the encoded properties, of at most ``max_properties`` bytes.

        Returns:
            The tag of its confirm.

        Raises:
            pika.exceptions.ShortStringTooLong: the exchange or the key is longer than 255 bytes.
        """
        number, size = self._number, len(body)
        head = frame(METHOD, number, _publish_method(exchange, routing_key)) + frame(
            HEADER, number, _content_head.pack(_BASIC, 0, size) + properties
        )
        if size <= self._max_piece:
            self._write(frame(BODY, number, body, head) if body else head)
        else:
            count = -(-size // self._max_piece)
            self._outbox.write_pieces(self._pieces_of(head, body, count), len(head) + size + count * (START + END))
        self._published += 1
        return self._published

    def notify(self, exchange: str, routing_key: str) -> None:
        """Publish an empty, transient message. If it is unrouted, the broker drops it.

        Raises:
            pika.exceptions.ShortStringTooLong: as above.
        """
        # Not _publish_method: each key is used once, and would push out one that is used often.
        method = b"%b\0\0%b%b\0" % (_PUBLISH, short_string(exchange), short_string(routing_key))
        number = self._number
        self._write(frame(METHOD, number, method) + frame(HEADER, number, _EMPTY))
        self._published += 1

    def _pieces_of(self, head: bytes, body: bytes, count: int) -> Iterator[bytes]:
        """The frames. The body's first one is shorter if there is room in the last, so that TLS records are full."""
        view, most = memoryview(body), self._max_piece
        end = max(most - len(head), len(body) - (count - 1) * most)
        yield frame(BODY, self._number, view[:end], head)
        for start in range(end, len(body), most):
            yield frame(BODY, self._number, view[start : start + most])

    def ack(self, tag: int, *, is_urgent: bool = True) -> None:
        """Acknowledge a delivery: now, or with the next write on the connection if it is not urgent."""
        write = self._write if is_urgent else self._outbox.write_along
        write(_ack_frame.pack(METHOD, self._number, 13, _ACK, tag, 0, END_MARK))

    def take_whole(self, data: bytes, at: int, length: int) -> int:
        """Take a delivery that is there as a whole (:class:`.TakesMessages`): half the work of its three frames.

        Whatever else there is, :meth:`take` takes, or refuses.
        """
        size, begin, number = len(data), at + START, self._number
        at = begin + length
        # The next frame, if there is one, begins behind the end mark.
        head = at + END
        if self._method is not None or data[begin : begin + 4] != _DELIVER or size - head < _HEADER_BYTES:
            return 0
        kind, channel, properties_size = _frame_head.unpack_from(data, head)
        properties_end: int = head + START + properties_size
        after = properties_end + END
        if (
            (kind, channel) != (HEADER, number)
            or not head + _HEADER_BYTES <= properties_end < size
            or data[at] != _MARK
            or data[properties_end] != _MARK
        ):
            return 0
        _, _, missing = _content_head.unpack_from(data, head + START)
        body = b""
        if missing:
            start = after + START
            # Its size comes first: there may be less than a frame's head.
            if (
                size - start <= missing
                or data[start + missing] != _MARK
                or _frame_head.unpack_from(data, after) != (BODY, number, missing)
            ):
                return 0
            after = start + missing + END
            body = data[start : after - END]
        tag_at = begin + 5 + data[begin + 4]  # skip the consumer tag: there is one consumer
        texts = _known_texts(data[tag_at + _tag.size : at])
        if texts is None:
            return 0
        tag, redelivered = _tag.unpack_from(data, tag_at)
        properties = data[head + _HEADER_BYTES : properties_end]
        self.on_delivery(Content(tag, bool(redelivered), *texts, properties, body))
        return after

    def take(self, arrived: Frame) -> bool:
        """Take a frame, if it belongs to a message.

        Returns:
            False if the frame is for pika.

        Raises:
            UnexpectedFrameError: the frame cannot follow the one before it.
        """
        kind, _, data = arrived
        if self._method is None:
            if kind != METHOD:
                return False
            method = data[START : START + 4]
            if method in _WITH_CONTENT:
                self._method = bytes(data)
            elif method in _CONFIRMS:
                tag, bits = _confirm.unpack_from(data, START + 4)
                self.on_confirm(tag, bool(bits & _MULTIPLE), method == _ACK)
            else:
                return False
        elif self._properties is None and kind == HEADER:
            _, _, self._missing = _content_head.unpack_from(data, START)
            self._properties = bytes(data[START + _content_head.size : -END])
            if not self._missing:
                self._complete()
        elif self._properties is not None and kind == BODY:
            size = len(data) - START - END
            self._missing -= size
            if self._missing <= 0 and self._begun is None:
                self._body = bytes(data[START:-END])
            else:
                self._begun = self._begun or Pieces()
                self._begun.add(memoryview(data)[START:-END])
            if self._missing <= 0:
                self._complete()
        else:
            raise UnexpectedFrameError(data[: START + 4])
        return True

    def _complete(self) -> None:
        method, properties, body, begun = self._method, self._properties, self._body, self._begun
        assert method is not None
        assert properties is not None
        if self._missing:
            raise UnexpectedFrameError("the body is longer than its header says")
        self._method = self._properties = None
        self._body, self._begun = b"", None
        if begun is not None:
            body = begun.take()
        at = START + 4
        if method[START:at] == _RETURN:
            on_content, tag, redelivered = self.on_return, 0, False
            _, at = _text(method, at + 2)  # skip the reply code and the reply text
        else:
            on_content = self.on_delivery
            at += 1 + method[at]  # skip the consumer tag: there is one consumer
            tag, redelivered = _tag.unpack_from(method, at)
            at += _tag.size
        exchange, at = _text(method, at)
        routing_key, _ = _text(method, at)
        on_content(
            Content(
                tag=tag,
                redelivered=bool(redelivered),
                exchange=exchange,
                routing_key=routing_key,
                properties=properties,
                body=body,
            )
        )
