"""The headers and properties of a parked message, as names and values for people. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provider_gateway.parking.parked_message import ParkedMessage

#: Headers and properties that are shown; a message may have thousands.
_MOST = 300


def pairs_of(message: ParkedMessage) -> list[tuple[str, str]]:
    """Name and value of each property that is set, and of each header, in this order."""
    properties = {
        "id (as in --id)": message.id,
        "place in the queue": f"{message.position + 1:,}",
        "sent by": message.identity,
        "routing key": message.routing_key,
        "RqUID": message.rquid,
        "message_id": message.message_id,
        "correlation_id": message.correlation_id,
        "reply_to": message.reply_to,
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
    }
    pairs = [(name, value) for name, value in properties.items() if value is not None]
    pairs += [(f"header {name}", _text(value)) for name, value in message.headers.items()]
    left = len(pairs) - _MOST
    return pairs if left <= 0 else [*pairs[:_MOST], ("…", f"{left:,} more headers; the command line shows all")]


def _text(value: object) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return f"0x{value.hex()}"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
