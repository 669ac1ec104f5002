"""Reads parked messages with whatever properties: they are decoded, and each field gets the type that it has. Pure."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from provider_gateway.message.copies import PG_ATTEMPT, PG_QUEUE, PG_REDELIVERIES, PG_REPLAYS
from provider_gateway.message.ids import RQUID
from provider_gateway.message.message import (
    PG_IDENTITY,
    PG_MODEL_ERROR,
    PG_MODEL_STATUS,
    PG_PARKED_AT,
    PG_REASON,
    PG_ROUTING_KEY,
)
from provider_gateway.message.plain_properties import decode_properties
from provider_gateway.message.properties import comparable, user_id_of
from provider_gateway.parking.parked_message import HEAD_BYTES, UNKNOWN, Outline, ParkedMessage

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Headers that the broker counts deliveries in: they differ from one look to the next.
COUNTERS = (b"x-delivery-count", b"x-acquired-count")
#: Numbers beyond this one are no counts.
_MANY = 2**53


def decoded_message(position: int, routing_key: str, properties: bytes, body: bytes) -> ParkedMessage:
    """Read any message. As :func:`.reading.message_of`, which reads those faster that look alike."""
    told = decode_properties(properties)
    headers: dict[str, Any] = told.headers
    outline = decoded_outline(headers, len(body))
    status = headers.get(PG_MODEL_STATUS)
    return ParkedMessage(
        id=id_of(properties, body),
        position=position,
        reason=outline.reason,
        parked_at=outline.parked_at,
        owner=outline.owner,
        rquid=rquid_of(headers),
        message_id=text_of(told.message_id),
        correlation_id=text_of(told.correlation_id),
        reply_to=text_of(told.reply_to),
        identity=text_of(user_id_of(properties)) or text_of(headers.get(PG_IDENTITY)),
        routing_key=clean(routing_key) if (key := first_key(headers, outline)) is None else key,
        attempts=count(headers.get(PG_ATTEMPT)),
        redeliveries=count(headers.get(PG_REDELIVERIES)),
        replays=count(headers.get(PG_REPLAYS)),
        model_status=int(status) if isinstance(status, int) and 100 <= status <= 999 else None,
        model_error=text_of(headers.get(PG_MODEL_ERROR)) or "",
        content_type=text_of(told.content_type),
        content_encoding=text_of(told.content_encoding),
        size=outline.size,
        headers=headers,
        head=body[:HEAD_BYTES],
    )


def decoded_outline(headers: Mapping[str, Any], size: int) -> Outline:
    """What a message counts as, from its headers."""
    death = death_of(headers)
    if death is not None:
        return outline_of_death(death, size)
    reason, owner = text_of(headers.get(PG_REASON)), text_of(headers.get(PG_QUEUE))
    return Outline(reason or UNKNOWN, milliseconds(headers.get(PG_PARKED_AT)), owner, size)


def outline_of_death(death: Mapping[str, Any], size: int) -> Outline:
    """What a message counts as that the broker has dead-lettered."""
    # Our copies carry no record of the broker: the message was not parked by us, and our headers may be forged.
    reason, owner = text_of(death.get("reason")), text_of(death.get("queue"))
    return Outline(reason or UNKNOWN, seconds(death.get("time")), owner, size)


def first_key(headers: Mapping[str, Any], outline: Outline) -> str | None:
    """The key that a message had when it came; None if that is not known."""
    death = death_of(headers)
    if death is None:
        return text_of(headers.get(PG_ROUTING_KEY))
    keys = death.get("routing-keys")
    key = text_of(keys[0]) if isinstance(keys, list) and keys else None
    if death.get("exchange") == f"{outline.owner}.return":
        # It was a copy of ours, which came with the key of the retry queue.
        key = text_of(headers.get(PG_ROUTING_KEY)) or key
    return key


def id_of(properties: bytes, body: bytes) -> str:
    """The id of a message, from its encoded properties and its body; see :class:`ParkedMessage`."""
    told = comparable(properties, COUNTERS)
    digest = hashlib.blake2b(b"%d." % len(told), digest_size=16)
    digest.update(told)
    digest.update(body)
    return digest.hexdigest()


def death_of(headers: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The broker's record of the queue that a message was dead-lettered from last; None if it was not."""
    deaths = headers.get("x-death")
    newest = deaths[0] if isinstance(deaths, list) and deaths else None
    return newest if isinstance(newest, dict) else None


def clean(text: str) -> str:
    """A text without lone surrogates, which stand for bytes that are not UTF-8."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text


def text_of(value: object) -> str | None:
    """A text, or bytes as one; None if it is neither, or empty."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return clean(value) or None if isinstance(value, str) else None


def rquid_of(headers: Mapping[str, Any]) -> str | None:
    """The request id; None without one that is a text."""
    for name, value in headers.items():
        if len(name) == len(RQUID) and name.lower() == "rquid":
            return text_of(value)
    return None


def count(value: object) -> int:
    """A count; 0 for anything else."""
    # Not only int itself: pika has a type of its own for long ones.
    return int(value) if isinstance(value, int) and 0 <= value < _MANY else 0


def milliseconds(value: object) -> float | None:
    """Milliseconds since 1970 in seconds; None for anything else."""
    return value / 1000 if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MANY else None


def seconds(value: object) -> float | None:
    """Seconds since 1970 of a time as pika decodes it: without a time zone, in UTC."""
    return value.replace(tzinfo=UTC).timestamp() if isinstance(value, datetime) else None
