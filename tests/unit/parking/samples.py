"""Parked messages to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pika

from provider_gateway.parking.reading import message_of

if TYPE_CHECKING:
    from provider_gateway.parking.parked_message import ParkedMessage

#: A morning in 2026, in seconds since 1970.
MORNING = 1_769_850_000.0


def encoded(headers: dict[str, Any] | None = None, **properties: Any) -> bytes:
    """The properties of a message."""
    return b"".join(pika.BasicProperties(headers=headers, **properties).encode())


def parked(
    body: bytes = b"{}", headers: dict[str, Any] | None = None, *, position: int = 0, **properties: Any
) -> ParkedMessage:
    """A parked message: after a time limit, in the morning, unless its headers say something else."""
    ours = {"pg-reason": "timeout", "pg-queue": "fib", "pg-parked-at": int(1000 * MORNING), **(headers or {})}
    return message_of(position, "fib.parking", encoded(ours, **properties), body)
