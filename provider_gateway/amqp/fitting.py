"""Makes the properties of a message fit the broker's frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from provider_gateway.message.copies import PG_DROPPED

if TYPE_CHECKING:
    from provider_gateway.message.message import Message

_log = Logger()


def fitted(message: Message, limit: int) -> bytes:
    """Encoded properties without headers that the message can do without. A line of the log says so.

    Args:
        limit: bytes that a frame has room for.

    Raises:
        HeadersTooLarge: the message may not lose what makes them too large.
    """
    properties = message.fitted(limit)
    _log.warn(
        "A copy has lost headers: all of them do not fit the broker's frames (frame_max); {header} names them",
        header=PG_DROPPED,
        message_id=message.message_id,
        correlation_id=message.correlation_id,
    )
    return properties
