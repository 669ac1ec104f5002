"""Copies of a message for retry, redelivery and parking: what they carry, and which of their headers to believe.

A copy never changes the body. If its properties do not fit a frame of the broker, it loses headers, the largest first.
Our own headers count the attempts; they are believed only on messages that came back on our own route. Headers of the
broker are removed: with them it would see a dead-letter cycle and drop the copy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provider_gateway.message.ids import RQUID, fresh_id, rquid_of
from provider_gateway.message.message import (
    PG_ACCEPT_ENCODING,
    PG_COPY,
    PG_DEADLINE,
    PG_MODEL_ERROR,
    PG_PUBLISHED,
    PG_REASON,
    PG_ROUTING_KEY,
    Message,
    headers_too_large,
)
from provider_gateway.message.properties import CopiedProperties, decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pika.spec import BasicProperties


PG_ATTEMPT = "pg-attempt"
PG_QUEUE = "pg-queue"
PG_REDELIVERIES = "pg-redeliveries"
#: Times that somebody sent the message again after it was parked.
PG_REPLAYS = "pg-replays"
#: Milliseconds for which the message was held for a busy model, without an attempt.
PG_HELD = "pg-held"
#: Names of headers that a copy has lost, since they did not fit a frame of the broker.
PG_DROPPED = "pg-dropped"
#: On copies for the next attempt: milliseconds since 1970 until which the caller waits. Not ``pg-deadline``: with that
#: name, a copy that is not recognised as one would be dropped.
PG_REPLY_BY = "pg-reply-by"
#: 1 on copies of a message whose caller was told of a failure, and is to get no other reply.
PG_ANSWERED = "pg-answered"

#: Never copied (lower case): headers that the broker adds on dead-lettering and delivery, or routes by.
_BROKERS = frozenset({"x-death", "x-delivery-count", "x-acquired-count", "cc", "bcc"})
_NOT_COPIED_PREFIXES = ("pg-", "x-first-death-", "x-last-death-")
#: Of a message that is traced, these are replaced.
_TRACEPARENT = "traceparent"
_OF_TRACE = frozenset({_TRACEPARENT, "tracestate"})
#: Bytes of the value of pg-dropped, and of the whole header: name, type and two lengths.
_MAX_DROPPED, _DROPPED_SIZE = 255, 255 + 1 + len(PG_DROPPED) + 1 + 4
#: Bytes before a request id in its header: its name, and type and length of a text.
_BEFORE_RQUID = 1 + len(RQUID) + 1 + 4


def _copied(name: str) -> bool:
    return name not in _BROKERS and (not name.startswith(_NOT_COPIED_PREFIXES) or name == PG_ACCEPT_ENCODING)


def _copied_untraced(name: str) -> bool:
    return name not in _OF_TRACE and _copied(name)


@dataclass(frozen=True, slots=True)
class History:
    """What happened to a message before this delivery.

    Attributes:
        attempt: number of this attempt, from 1.
        redeliveries: times that it was delivered and not acknowledged, for example because it killed the process.
        held: milliseconds for which it was held for a busy model since the last attempt.
        dropped: names of headers that its copies have lost.
        reply_by: milliseconds since 1970 until which the caller waits for the reply; None if that is not known.
        is_answered: the caller was told of a failure, and is to get no other reply.
        replays: times that somebody sent it again after it was parked.
        routing_key: the key of its first delivery; None if this is it.
    """

    attempt: int = 1
    redeliveries: int = 0
    held: int = 0
    dropped: str = ""
    reply_by: int | None = None
    is_answered: bool = False
    replays: int = 0
    routing_key: str | None = None

    @classmethod
    def told_by(cls, headers: Mapping[str, Any]) -> History:
        """Read the history from headers; only for messages that came back on our own route."""
        dropped, key = headers.get(PG_DROPPED), headers.get(PG_ROUTING_KEY)
        return cls(
            _number(headers.get(PG_ATTEMPT), 1),
            _number(headers.get(PG_REDELIVERIES), 0),
            _number(headers.get(PG_HELD), 0),
            _listed([dropped]) if isinstance(dropped, str) else "",
            _number(headers.get(PG_REPLY_BY), 0) or None,
            _number(headers.get(PG_ANSWERED), 0) > 0,
            _number(headers.get(PG_REPLAYS), 0),
            key if isinstance(key, str) else None,
        )

    def headers(self) -> dict[str, Any]:
        """The headers that carry this history on a copy."""
        headers: dict[str, Any] = {PG_ATTEMPT: self.attempt, PG_REDELIVERIES: self.redeliveries}
        if self.held:
            headers[PG_HELD] = self.held
        if self.dropped:
            headers[PG_DROPPED] = self.dropped
        if self.reply_by is not None:
            headers[PG_REPLY_BY] = self.reply_by
        if self.is_answered:
            headers[PG_ANSWERED] = 1
        if self.replays:
            headers[PG_REPLAYS] = self.replays
        if self.routing_key is not None:
            headers[PG_ROUTING_KEY] = self.routing_key
        return headers


def _number(value: object, least: int) -> int:
    # A count near the largest AMQP integer is forged, and could not be counted on.
    return max(least, value) if isinstance(value, int) and value < 2**62 else least


def _listed(names: Sequence[str]) -> str:
    """Names in one text, which is cut if it is too long for pg-dropped."""
    text = ", ".join(names).encode(errors="replace")
    if len(text) <= _MAX_DROPPED:
        return text.decode()
    return text[: _MAX_DROPPED - 3].decode(errors="ignore") + "…"


def _request_id(kept: Sequence[bytes], headers: Mapping[str, Any]) -> int | None:
    """The number of the header with the request id; None without one. Names may stand several times in a table."""
    rquid = rquid_of(headers).encode()
    found = (number for number, entry in enumerate(kept) if entry[_BEFORE_RQUID:] == rquid)
    return next((number for number in found if kept[number][:6].lower() == b"\5rquid"), None)


@dataclass(slots=True)
class Copy(Message):
    """A copy of a message.

    Attributes:
        added: our own headers.
    """

    added: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        message: Message,
        queue: str,
        history: History,
        reason: str,
        *,
        may_expire: bool = False,
        kept: Mapping[str, Any] | None = None,
    ) -> Copy:
        """Make a copy of a message that continues with this history.

        Args:
            queue: the work queue that it was consumed from.
            reason: why it is copied, such as ``timeout``.
            may_expire: keep the deadline, and the time of publishing. A copy without a deadline is served however late
                it is; a reply to a copy without the other one tells nothing about the queue.
            kept: the headers of a message whose answer is kept; None for any other.
        """
        added = {**history.headers(), PG_QUEUE: queue, PG_REASON: reason, PG_COPY: fresh_id(), **(kept or {})}
        if may_expire and message.deadline is not None:
            added[PG_DEADLINE] = message.headers[PG_DEADLINE]
        if may_expire and message.published is not None:
            added[PG_PUBLISHED] = message.headers[PG_PUBLISHED]
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
        return self._encoded(original, original.entries_that(self._wanted), self.added)

    def fitted(self, limit: int) -> bytes:
        """Encode the properties in at most so many bytes: without headers of the original, the largest first.

        What the model said about its error is left out first. All else stays, and the request id. ``pg-dropped`` names
        the headers that are lost. The next copy is without them, too.

        Raises:
            HeadersTooLarge: there is no room even then.
        """
        assert self.original is not None
        original = decoded(self.original)
        kept = original.entries_that(self._wanted)
        request_id = _request_id(kept, original.headers or {})
        # What the model said goes before any header of the message.
        added = {name: value for name, value in self.added.items() if name != PG_MODEL_ERROR}
        size = len(self._encoded(original, kept, added))
        if len(added) < len(self.added) and size <= limit:
            return self._encoded(original, kept, added)
        excess = size + _DROPPED_SIZE - limit
        lost = []
        for number in sorted(range(len(kept)), key=lambda number: -len(kept[number])):
            if excess <= 0:
                break
            if number != request_id:
                lost.append(number)
                excess -= len(kept[number])
        names = [kept[number][1 : 1 + kept[number][0]].decode(errors="replace") for number in lost]
        earlier = added.get(PG_DROPPED)
        added = {**added, PG_DROPPED: _listed([*([earlier] if earlier else []), *names])}
        left = [entry for number, entry in enumerate(kept) if number not in frozenset(lost)]
        fitted = self._encoded(original, left, added)
        if len(fitted) > limit:
            raise headers_too_large(len(fitted), limit)
        return fitted

    @property
    def _wanted(self) -> Callable[[str], bool]:
        """Says which headers of the original are copied."""
        return _copied_untraced if _TRACEPARENT in self.added else _copied

    def _encoded(self, original: BasicProperties, kept: Sequence[bytes], added: Mapping[str, Any]) -> bytes:
        assert self.message_id is not None
        return b"".join(CopiedProperties(original, self.message_id, added, b"".join(kept)).encode())
