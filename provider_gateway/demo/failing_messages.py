"""A few messages that fail, so that the demo's parking queue has something to see. Pure.

Several kinds: the sample model fails for some, for a while or each time; a reply has no queue to go to; a reply address
is not allowed. JSON, text, an image, bytes, and texts that would break a page which does not escape them.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from provider_gateway.message.ids import fresh_id, fresh_rquid
from provider_gateway.topology.routing import matching_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provider_gateway.config.queue_file import QueueEntry

#: Seconds after which the sample model has recovered from its first error: a replay then succeeds.
RECOVERS_AFTER = 20
#: A queue that does not exist.
_NOWHERE = "worker-7.replies"
_HOSTILE = "<script>alert(1)</script>"
_JSON = "application/json"
_TEXT = "The delivery to 12 Elm Street was late again.\nIs this customer going to leave?\n"


class FailingMessage(NamedTuple):
    """A request message, as an initiator publishes it."""

    routing_key: str
    content_type: str
    body: bytes
    headers: dict[str, str]
    reply_to: str | None
    message_id: str


def failing_messages(entry: QueueEntry, now: float) -> Iterator[FailingMessage]:
    """The messages, for one entry of the queue file.

    Args:
        now: seconds since 1970.
    """
    # Without attempts to come, the model's failure would become a reply, and nothing would be parked.
    unanswered = None if entry.dle or entry.reply_to is None else _NOWHERE
    key = matching_key(entry) or "any"
    hostile_key = next((key.replace("*", _HOSTILE, 1) for key in entry.taken_keys if "*" in key), key)

    def message(
        body: bytes, content_type: str = _JSON, *, to: str | None = unanswered, key: str = key, **headers: str
    ) -> FailingMessage:
        named = {"RqUID": fresh_rquid(), **{name.replace("_", "-"): value for name, value in headers.items()}}
        return FailingMessage(key, content_type, body, named, to, fresh_id())

    def failing(error: str, numbers: list[int], **more: object) -> bytes:
        return json.dumps({"data": numbers, "status": 500, "error": error, **more}).encode()

    for number in range(5):
        memory = "CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 15.90 GiB total; 14.76 GiB in use)"
        until = int(now) + RECOVERS_AFTER
        yield message(failing(memory, [29, 20 + number], until=until), customer=f"C-{1041 + number}")
    for number in range(2):
        features = "feature store: no features for this customer"
        yield message(failing(features, [number]), customer=f"C-{2001 + number}")
    yield message(_TEXT.encode(), "text/plain; charset=utf-8", to=_NOWHERE, customer="C-3001")
    yield message(_image(96, 64), "image/png", to=_NOWHERE, customer="C-3002")
    yield message(bytes(range(256)) * 2, "application/octet-stream", to=_NOWHERE, customer="C-3003")
    yield message(b'{"data": [29, 29]}', to=entry.parking, customer="C-4001")
    hostile = failing(_HOSTILE, [1], note=f'"><img src=x onerror=alert(1)>{_HOSTILE}')
    yield message(hostile, key=hostile_key[:255], RqUID=_HOSTILE, customer=f"'\"/>{_HOSTILE}\u202e{{{{7*7}}}}")


def _image(width: int, height: int) -> bytes:
    """A picture, as PNG: a sun above a field."""

    def color(x: int, y: int) -> bytes:
        if (x - 70) ** 2 + (y - 20) ** 2 < 144:
            return b"\xff\xd2\x4d"
        return bytes((70 + y, 150 + y, 230)) if y < 44 + (x // 12) % 3 else bytes((60, 140 - y // 2, 60))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"".join(color(x, y) for x in range(width)) for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pieces = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)
