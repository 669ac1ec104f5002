"""Copies of a message for retry, redelivery and parking: what they carry, and which of their headers to believe.

A copy never changes the body. Our own headers count the attempts; they are believed only on messages that came back
on our own route. Headers of the broker are removed: with them it would see a dead-letter cycle and drop the copy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provider_gateway.message.ids import fresh_id
from provider_gateway.message.message import PG_COPY, PG_DEADLINE, PG_REASON, Message
from provider_gateway.message.properties import CopiedProperties, decoded

if TYPE_CHECKING:
    from collections.abc import Mapping


PG_ATTEMPT = "pg-attempt"
PG_QUEUE = "pg-queue"
PG_REDELIVERIES = "pg-redeliveries"

#: Never copied (lower case): headers that the broker adds on dead-lettering and delivery, or routes by.
_BROKERS = frozenset({"x-death", "x-delivery-count", "x-acquired-count", "cc", "bcc"})
_NOT_COPIED_PREFIXES = ("pg-", "x-first-death-", "x-last-death-")
#: Bytes of the original's headers that fit a frame of 131,072 bytes together with our own.
_MAX_KEPT = 128_000


def _copied(name: str) -> bool:
    return name not in _BROKERS and not name.startswith(_NOT_COPIED_PREFIXES)


@dataclass(frozen=True, slots=True)
class History:
    """What happened to a message before this delivery.

    Attributes:
        attempt: number of this attempt, from 1.
        redeliveries: times that it was delivered and not acknowledged, for example because it killed the process.
    """

    attempt: int = 1
    redeliveries: int = 0

    @classmethod
    def told_by(cls, headers: Mapping[str, Any]) -> History:
        """Read the history from headers; only for messages that came back on our own route."""
        return cls(_number(headers.get(PG_ATTEMPT), 1), _number(headers.get(PG_REDELIVERIES), 0))

    def headers(self) -> dict[str, int]:
        """The headers that carry this history on a copy."""
        return {PG_ATTEMPT: self.attempt, PG_REDELIVERIES: self.redeliveries}


def _number(value: object, least: int) -> int:
    # A count near the largest AMQP integer is forged, and could not be counted on.
    return max(least, value) if isinstance(value, int) and value < 2**62 else least


@dataclass(slots=True)
class Copy(Message):
    """A copy of a message.

    Attributes:
        added: our own headers.
    """

    added: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, message: Message, queue: str, history: History, reason: str, *, may_expire: bool = False) -> Copy:
        """Make a copy of a message that continues with this history.

        Args:
            queue: the work queue that it was consumed from.
            reason: why it is copied, such as ``timeout``.
            may_expire: keep the deadline. A copy without one is served however late it is.
        """
        added = {**history.headers(), PG_QUEUE: queue, PG_REASON: reason, PG_COPY: fresh_id()}
        if may_expire and message.deadline is not None:
            added[PG_DEADLINE] = message.headers[PG_DEADLINE]
        return cls(
            body=message.body,
            correlation_id=message.correlation_id,
            message_id=message.message_id or fresh_id(),
            original=message.original if message.original is not None else message.properties(),
            added=added,
        )

    @property
    def publish_id(self) -> str:
        """The id by which the publisher matches a return; several copies may share a message id."""
        return str(self.added[PG_COPY])

    def properties(self) -> bytes:
        """Encode the AMQP properties to publish it with: the original's, as far as they may be copied, and our own."""
        assert self.original is not None
        original = decoded(self.original)
        kept = original.headers_that(_copied)
        if len(kept) > _MAX_KEPT:
            kept = b""  # they may not fit a frame together with ours: a copy without headers is better than none
        assert self.message_id is not None
        return b"".join(CopiedProperties(original, self.message_id, self.added, kept).encode())
