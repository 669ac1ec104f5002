"""A parked message as operators see it: all but its whole body. Whatever it says was written by strangers. Values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Bytes of the body that are kept.
HEAD_BYTES = 1024
#: Reason of a message of which none is known.
UNKNOWN = "unknown"


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
