"""A message that is being served: its newest delivery, its history, and its fingerprint."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from provider_gateway.message.message import (
    MAX_IDENTITY,
    PG_ATTEMPTS,
    PG_COPY,
    PG_IDENTITY,
    PG_OWNER,
    PG_PARKED,
    PG_PUBLISHED,
    PG_RESULTS,
    PG_ROUTING_KEY,
)
from provider_gateway.message.properties import user_id_of

if TYPE_CHECKING:
    from collections.abc import Hashable

    from provider_gateway.amqp.consumer import Delivery
    from provider_gateway.message.copies import History
    from provider_gateway.message.message import Message
    from provider_gateway.tracing.span import AnySpan

#: Bytes at the beginning of a body that are part of the fingerprint.
_PART = 4096


class DeliveryLost(Exception):
    """The channel of a delivery closed before the delivery was settled. The broker delivers the message again."""


def _text(value: object) -> str:
    """A header's value if it is text, as ours are. Else the name of its type: an initiator may nest tables deeply."""
    return value if isinstance(value, str) else type(value).__name__


class Task:
    """One message that is being served.

    Attributes:
        delivery: the delivery to acknowledge: the newest, if the broker delivered the message again.
        history: earlier attempts and redeliveries.
        rquid: the request id.
        fingerprint: equal for all deliveries of the message; None without a message id: it cannot be recognised then.
        room_for_body: bytes of room that its body takes (:mod:`.room`).
        room_for_response: bytes of room that the model's response takes.
        refused_at: time of the monotonic clock since which it is held for a busy model; None if it is not.
        waited: milliseconds between publish and start of the model call; None if that is not known.
        results: the queue for its reply if nobody waits for that; None if the answer need not be kept.
        was_called: the model call of this attempt has ended, with a response or a failure.
        model_error: what the model said about its error in this attempt; empty if it said nothing.
        model_status: HTTP status of the model's answer in this attempt; None if there was none.
        span: its step in a trace; None without traces.
    """

    __slots__ = (
        *("delivery", "fingerprint", "history", "model_error", "model_status", "refused_at"),
        *("results", "room_for_body", "room_for_response", "rquid", "span", "waited", "was_called"),
    )

    def __init__(self, delivery: Delivery, history: History, rquid: str) -> None:
        self.delivery = delivery
        self.history = history
        self.rquid = rquid
        self.room_for_body = self.room_for_response = 0
        self.refused_at: float | None = None
        self.waited: int | None = None
        self.was_called = False
        self.model_error = ""
        self.model_status: int | None = None
        self.span: AnySpan | None = None
        message = delivery.message
        results = message.headers.get(PG_RESULTS)
        self.results: str | None = results if type(results) is str and results else None
        self.fingerprint: Hashable = None
        if message.message_id is not None:
            # An initiator may use a message id twice. A copy has the id of its original, and is another message.
            self.fingerprint = (
                message.message_id,
                message.correlation_id,
                message.reply_to,
                _text(message.headers.get(PG_COPY)),
                len(message.body),
                hash(message.body[:_PART]),
            )

    @property
    def message(self) -> Message:
        """The message."""
        return self.delivery.message

    @property
    def likeness(self) -> Hashable:
        """Equal for all deliveries of the message, as the fingerprint; without a message id, maybe for others, too."""
        if self.fingerprint is not None:
            return self.fingerprint
        message = self.message
        return (message.correlation_id, message.reply_to, len(message.body), hash(message.body[:_PART]))

    def refused(self, now: float) -> None:
        """A busy model has refused it."""
        if self.refused_at is None:
            self.refused_at = now

    def held(self, now: float) -> int:
        """Milliseconds for which it was held for a busy model since its last attempt."""
        return self.history.held + (0 if self.refused_at is None else int(1000 * (now - self.refused_at)))

    def is_away(self, now: float) -> None:
        """Its model is not busy any more, but away: from now on, it is not held for a busy one."""
        if self.refused_at is not None:
            self.history, self.refused_at = replace(self.history, held=self.held(now)), None

    @property
    def reply_by(self) -> int | None:
        """Milliseconds since 1970 until which the caller waits for the reply; None if that is not known."""
        if self.history.attempt > 1:
            return self.history.reply_by
        return None if self.message.deadline is None else int(1000 * self.message.deadline)

    @property
    def kept_headers(self) -> dict[str, Any]:
        """The headers by which a message whose answer is kept is known as such, for its copies; else none.

        They are as the message brings them, from whomever.
        """
        if self.results is None:
            return {}
        kept = self.reply_headers()
        del kept[PG_ATTEMPTS]
        kept[PG_RESULTS] = self.results
        if PG_PARKED in self.message.headers:
            kept[PG_PARKED] = _text(self.message.headers[PG_PARKED])
        return kept

    @property
    def copied_headers(self) -> dict[str, Any]:
        """What its copies carry, besides what has happened to it: :attr:`kept_headers`, where it came from, from whom.

        Who that is, is a claim of the message, unless the broker has checked it (``user_id``).
        """
        message = self.message
        key = self.history.routing_key
        told = {PG_ROUTING_KEY: self.delivery.routing_key if key is None else key, **self.kept_headers}
        identity = None if message.original is None else user_id_of(message.original)
        if identity is None:
            identity = message.headers.get(PG_IDENTITY)
        if type(identity) is str and identity:
            told[PG_IDENTITY] = identity[:MAX_IDENTITY]
        return told

    def reply_headers(self) -> dict[str, Any]:
        """What the reply says of a message whose answer is kept: a record is made of it if there is none.

        The routing key is that of the first delivery, which copies remember.
        """
        headers = self.delivery.message.headers
        key, owner, published = headers.get(PG_ROUTING_KEY), headers.get(PG_OWNER), headers.get(PG_PUBLISHED)
        told: dict[str, Any] = {
            PG_ROUTING_KEY: key if type(key) is str else self.delivery.routing_key,
            PG_ATTEMPTS: self.history.attempt if self.was_called else self.history.attempt - 1,
        }
        if type(owner) is str:
            told[PG_OWNER] = owner
        if type(published) is int:
            told[PG_PUBLISHED] = published
        return told

    @property
    def log_fields(self) -> dict[str, Any]:
        """The values that every log line about the message has: its queue and its ids."""
        message = self.message
        fields = {
            "queue": self.delivery.queue,
            "rquid": self.rquid,
            "correlation_id": message.correlation_id,
            "message_id": message.message_id,
        }
        return fields if self.span is None else {**fields, "trace_id": self.span.trace_id}
