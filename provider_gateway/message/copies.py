"""Copies of a message for retry, redelivery and parking: what they carry, and what is believed of what they carry.

Bodies are never changed. Attempts are counted in headers of our own, which count only on messages that came back on
our own route; headers that the broker owns are stripped, so that it sees no dead-letter cycle in a retry.
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

#: Never copied (lower case): what the broker adds on dead-lettering and delivery, and what it routes by.
_BROKERS = frozenset({"x-death", "x-delivery-count", "x-acquired-count", "cc", "bcc"})
_NOT_COPIED_PREFIXES = ("pg-", "x-first-death-", "x-last-death-")
#: Bytes of the original's headers that surely fit into a frame of 131,072 bytes together with all else.
_MAX_KEPT = 128_000


def _copied(name: str) -> bool:
    return name not in _BROKERS and not name.startswith(_NOT_COPIED_PREFIXES)


@dataclass(frozen=True, slots=True)
class History:
    """What happened to a message before this delivery.

    Attributes:
        attempt: number of the attempt that this delivery is, from 1.
        redeliveries: how often it was delivered and came back without an acknowledgement, as when it killed us.
    """

    attempt: int = 1
    redeliveries: int = 0

    @classmethod
    def told_by(cls, headers: Mapping[str, Any]) -> History:
        """What the headers say; only for messages that came back on our own route."""
        return cls(_number(headers.get(PG_ATTEMPT), 1), _number(headers.get(PG_REDELIVERIES), 0))

    def headers(self) -> dict[str, int]:
        """For the copy that goes on from here."""
        return {PG_ATTEMPT: self.attempt, PG_REDELIVERIES: self.redeliveries}


def _number(value: object, least: int) -> int:
    # No count of ours gets near the end of AMQP's numbers, from where there would be no next one.
    return max(least, value) if isinstance(value, int) and value < 2**62 else least


@dataclass(slots=True)
class Copy(Message):
    """A copy of a message.

    Attributes:
        added: headers of our own.
    """

    added: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, message: Message, queue: str, history: History, reason: str, *, may_expire: bool = False) -> Copy:
        """A copy of a message that goes on with this history.

        Args:
            queue: the work queue that it was consumed from.
            reason: why it is copied, such as ``timeout``.
            may_expire: keep the deadline; without it, the copy is served whenever its turn comes.
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
        """What the publisher tells a return of this copy by: others may have the same message id."""
        return str(self.added[PG_COPY])

    def properties(self) -> bytes:
        """The AMQP properties to publish it with, encoded: those of the original, where they may be copied."""
        assert self.original is not None
        original = decoded(self.original)
        kept = original.headers_that(_copied)
        if len(kept) > _MAX_KEPT:
            kept = b""  # with ours they might not fit into a frame any more; better no headers than no copy
        assert self.message_id is not None
        return b"".join(CopiedProperties(original, self.message_id, self.added, kept).encode())
