"""The limits that the broker tells its clients, or holds them to; a test may change them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Limits:
    """RabbitMQ's settings of these names, with its defaults.

    Attributes:
        frame_max: bytes of a frame; 0 for no limit. For new connections.
        channel_max: channels of a connection; 0 for no limit. For new connections.
        max_message_size: bytes of a body.
    """

    frame_max: int = 131_072
    channel_max: int = 2047
    max_message_size: int = 134_217_728
