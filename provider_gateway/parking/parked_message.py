"""A parked message as operators see it: all but its whole body. Whatever it says was written by strangers. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
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

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Bytes of the body that are kept.
HEAD_BYTES = 1024
#: Reason of a message of which none is known.
UNKNOWN = "unknown"
#: Headers that the broker counts deliveries in: they differ from one look to the next.
_COUNTERS = (b"x-delivery-count", b"x-acquired-count")
#: Numbers beyond this one are no counts.
_MANY = 2**53


# Not frozen: with so many attributes that costs 5 µs. No code changes one.
@dataclass(slots=True)
class Outline:
    """What a message counts as: see :class:`ParkedMessage`, which has these, too."""

    reason: str
    parked_at: float | None
    owner: str | None
    size: int


@dataclass(slots=True, kw_only=True)
class ParkedMessage:
    """A parked message, without its whole body.

    All texts may hold anything: other programs wrote them. None has lone surrogates.

    Attributes:
        id: 32 hexadecimal digits: a hash of properties and body, without the broker's counts of deliveries. It is the
            same in each look, and cannot be forged. Messages that are alike to the last byte share it.
        position: place in the queue, from 0 at its head.
        reason: why it was parked, such as ``timeout``; of a message that the broker dead-lettered, the broker's reason,
            such as ``delivery_limit``; ``unknown`` if there is none.
        parked_at: seconds since 1970; None if that is not known.
        owner: the work queue that it comes from, as far as that is known.
        identity: the identity of the caller. It is a claim, unless the broker has checked it (``user_id``).
        routing_key: the key that the message had when it came; without a record of it, that of the delivery.
        attempts: model calls for it.
        redeliveries: times that it was delivered and not acknowledged before it was parked.
        replays: times that it was sent again.
        model_status: HTTP status of the model's answer.
        model_error: what the model said about its error; empty if nothing is known.
        size: bytes of the body.
        headers: decoded; without those that have no Python value.
        head: the first 1,024 bytes of the body.
    """

    id: str
    position: int
    reason: str
    parked_at: float | None
    owner: str | None
    rquid: str | None
    message_id: str | None
    correlation_id: str | None
    reply_to: str | None
    identity: str | None
    routing_key: str
    attempts: int
    redeliveries: int
    replays: int
    model_status: int | None
    model_error: str
    content_type: str | None
    content_encoding: str | None
    size: int
    headers: Mapping[str, object]
    head: bytes

    @classmethod
    def of(cls, position: int, routing_key: str, properties: bytes, body: bytes) -> ParkedMessage:
        """Read a delivery of a parking queue.

        Args:
            position: place in the queue.
            routing_key: of the delivery.
            properties: encoded, as they arrived.
        """
        told = decode_properties(properties)
        headers: dict[str, Any] = told.headers
        outline = _outline(headers, len(body))
        status = headers.get(PG_MODEL_STATUS)
        return cls(
            id=id_of(properties, body),
            position=position,
            reason=outline.reason,
            parked_at=outline.parked_at,
            owner=outline.owner,
            rquid=_rquid(headers),
            message_id=_text(told.message_id),
            correlation_id=_text(told.correlation_id),
            reply_to=_text(told.reply_to),
            identity=_text(user_id_of(properties)) or _text(headers.get(PG_IDENTITY)),
            routing_key=_clean(routing_key) if (key := _first_key(headers, outline)) is None else key,
            attempts=_count(headers.get(PG_ATTEMPT)),
            redeliveries=_count(headers.get(PG_REDELIVERIES)),
            replays=_count(headers.get(PG_REPLAYS)),
            model_status=int(status) if isinstance(status, int) and 100 <= status <= 999 else None,
            model_error=_text(headers.get(PG_MODEL_ERROR)) or "",
            content_type=_text(told.content_type),
            content_encoding=_text(told.content_encoding),
            size=outline.size,
            headers=headers,
            head=body[:HEAD_BYTES],
        )


def outline_of(properties: bytes, size: int) -> Outline:
    """What a message counts as: a third of the work of :meth:`ParkedMessage.of`.

    Args:
        properties: encoded, as they arrived.
        size: bytes of the body.
    """
    return _outline(decode_properties(properties).headers, size)


def _outline(headers: Mapping[str, Any], size: int) -> Outline:
    death = _death(headers)
    if death is None:
        reason, owner = _text(headers.get(PG_REASON)), _text(headers.get(PG_QUEUE))
        return Outline(reason or UNKNOWN, _milliseconds(headers.get(PG_PARKED_AT)), owner, size)
    # Our copies carry no record of the broker: the message was not parked by us, and our headers may be forged.
    reason, owner = _text(death.get("reason")), _text(death.get("queue"))
    return Outline(reason or UNKNOWN, _seconds(death.get("time")), owner, size)


def _first_key(headers: Mapping[str, Any], outline: Outline) -> str | None:
    """The key that a message had when it came; None if that is not known."""
    death = _death(headers)
    if death is None:
        return _text(headers.get(PG_ROUTING_KEY))
    keys = death.get("routing-keys")
    key = _text(keys[0]) if isinstance(keys, list) and keys else None
    if death.get("exchange") == f"{outline.owner}.return":
        # It was a copy of ours, which came with the key of the retry queue.
        key = _text(headers.get(PG_ROUTING_KEY)) or key
    return key


def id_of(properties: bytes, body: bytes) -> str:
    """The id of a message, from its encoded properties and its body; see :class:`ParkedMessage`."""
    told = comparable(properties, _COUNTERS)
    digest = hashlib.blake2b(b"%d." % len(told), digest_size=16)
    digest.update(told)
    digest.update(body)
    return digest.hexdigest()


def _death(headers: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The broker's record of the queue that a message was dead-lettered from last; None if it was not."""
    deaths = headers.get("x-death")
    newest = deaths[0] if isinstance(deaths, list) and deaths else None
    return newest if isinstance(newest, dict) else None


def _clean(text: str) -> str:
    """A text without lone surrogates, which stand for bytes that are not UTF-8."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text


def _text(value: object) -> str | None:
    """A text, or bytes as one; None if it is neither, or empty."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return _clean(value) or None if isinstance(value, str) else None


def _rquid(headers: Mapping[str, Any]) -> str | None:
    for name, value in headers.items():
        if len(name) == len(RQUID) and name.lower() == "rquid":
            return _text(value)
    return None


def _count(value: object) -> int:
    # Not only int itself: pika has a type of its own for long ones.
    return int(value) if isinstance(value, int) and 0 <= value < _MANY else 0


def _milliseconds(value: object) -> float | None:
    return value / 1000 if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MANY else None


def _seconds(value: object) -> float | None:
    """Seconds since 1970 of a time as pika decodes it: without a time zone, in UTC."""
    return value.replace(tzinfo=UTC).timestamp() if isinstance(value, datetime) else None
