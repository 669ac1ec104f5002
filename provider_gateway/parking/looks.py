"""What a look into a parking queue has found. Values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provider_gateway.parking.parked_message import ParkedMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The messages of one reason.

    Attributes:
        oldest: when the first one was parked, in seconds since 1970; None if that is known of none.
        newest: when the last one was.
        bytes: of all bodies.
    """

    reason: str
    count: int
    oldest: float | None
    newest: float | None
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The result of a look.

    Attributes:
        queue: the work queue's name.
        parking: the parking queue's name.
        total: messages that were in the parking queue when the look began. With a queue that several work queues share,
            those of the others count.
        looked_at: how many of them were looked at: fewer if they are too many bytes for one look.
        others: of those, the messages of other work queues that share the parking queue. They are not shown.
        matching: messages that match the filter.
        groups: these by reason, the largest group first.
        messages: these, as many as were asked for, in the order of the queue.
        next: ``after`` of the look that shows the next ones; None if there are none.
        at: when it ended, in seconds since 1970.
    """

    queue: str
    parking: str
    total: int
    looked_at: int
    others: int
    matching: int
    groups: tuple[Group, ...]
    messages: tuple[ParkedMessage, ...]
    next: int | None
    at: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a look is.

    Attributes:
        seen: messages that were looked at.
        total: messages that were in the queue when it began.
        matching: of those seen.
    """

    seen: int
    total: int
    matching: int
