"""The outcome of each message that was unconfirmed when its channel or connection ended."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from pika.exceptions import ChannelClosedByBroker

from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.errors import (
    BodyTooLarge,
    BrokerUnavailable,
    GatewayError,
    NoRoute,
    OutcomeUnknown,
    PublishRefused,
)
from provider_gateway.message.message import PG_COPY
from provider_gateway.message.properties import decoded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pika.exceptions import AMQPError
    from twisted.internet.defer import Deferred

    from provider_gateway.amqp.message_channel import Content

#: RabbitMQ's refusal of a body. It checks the messages of a channel in their order.
_OVER_SIZE = re.compile(r"larger than (?:configured )?max size (\d+)")
#: Not over a message: a login or a virtual host that is not allowed, too many channels (RabbitMQ's use of the code).
_NOT_ALLOWED = 530
_PRECONDITION_FAILED = 406
#: The broker cannot read what was sent, and will not the next time (AMQP 0-9-1, 1.2).
_MALFORMED = frozenset({501, 502, 503, 504, 505, 540})
_BASIC_CLASS = 60


class Publish(NamedTuple):
    """An unconfirmed message.

    Attributes:
        size: bytes of its body.
        span: its step in a trace, which ends with its confirm; None without one.
    """

    confirm: Deferred[None]
    publish_id: str
    exchange: str
    routing_key: str
    size: int
    span: Any = None


class Returned(Counter[str]):
    """How often each message was returned whose outcome is not decided yet, by its ``publish_id``."""

    def remember(self, returned: Content) -> None:
        """Count a returned message."""
        properties = decoded(returned.properties)
        self[str((properties.headers or {}).get(PG_COPY, properties.message_id))] += 1

    def forget(self, publish_id: str) -> None:
        """The outcome of one of these publishes is decided."""
        self[publish_id] -= 1
        if self[publish_id] <= 0:
            del self[publish_id]


class Refusal(NamedTuple):
    """The broker's words about a message over which it closed a channel or a connection."""

    code: int
    text: str

    @classmethod
    def told_by(cls, reason: Exception) -> Refusal | None:
        """The refusal in the reason why a channel ended; None if the broker did not end it over a message.

        If the whole connection was closed: the codes from 500 on blame what we have sent (AMQP 0-9-1, 1.2, "hard
        errors"). The class is that of the method which is to blame: none for a malformed frame.
        """
        if isinstance(reason, ChannelClosedByBroker):
            return cls(reason.reply_code, reason.reply_text)
        close = reason.close if isinstance(reason, ConnectionLost) else None
        if close is None or close.reply_code < 500 or close.reply_code == _NOT_ALLOWED:
            return None
        return cls(close.reply_code, close.reply_text) if close.class_id in (0, _BASIC_CLASS) else None

    @property
    def max_body(self) -> int | None:
        """The broker's ``max_message_size`` in bytes, if the message was over it."""
        found = _OVER_SIZE.search(self.text) if self.code == _PRECONDITION_FAILED else None
        return int(found[1]) if found is not None else None


def body_too_large(size: int, limit: int) -> BodyTooLarge:
    """The error about a body over the broker's ``max_message_size``."""
    return BodyTooLarge(f"The body has {size} bytes; the broker takes at most {limit} (its max_message_size).")


def unsendable(error: AMQPError) -> PublishRefused:
    """The error about a message that pika cannot put into frames."""
    return PublishRefused(f"The message cannot be sent: {type(error).__name__}.", is_certain=True)


def outcomes_at_end(
    publishes: Sequence[Publish], refusal: Refusal | None
) -> Iterator[tuple[Publish, str, GatewayError]]:
    """The metric's label and the error for each message.

    Args:
        publishes: in the order in which they were sent.
        refusal: the broker's; None if the connection was lost.
    """
    is_alone = len(publishes) == 1
    if refusal is None:
        msg = "The connection to the broker was lost before it confirmed the message."
        for each in publishes:
            yield each, "unknown", OutcomeUnknown(msg, is_alone=is_alone)
        return
    limit = refusal.max_body
    over = [each for each in publishes if limit is not None and each.size > limit]
    if limit is None or not over:
        # Any of several may be the one that was refused, and others may have been accepted.
        for each in publishes:
            yield each, *_of_one(refusal, is_alone)
        return
    first = publishes.index(over[0])
    for each in publishes[:first]:
        msg = "The broker refused another message just after this one, before it confirmed this one."
        yield each, "unknown", OutcomeUnknown(msg, was_read=True)
    for each in publishes[first:]:
        if each.size > limit:
            yield each, "refused", body_too_large(each.size, limit)
        else:
            # The broker takes nothing from a channel that it has closed.
            msg = "The broker refused another message just before this one, and has not read this one."
            yield each, "refused", BrokerUnavailable(msg)


def _of_one(refusal: Refusal, is_certain: bool) -> tuple[str, GatewayError]:
    if refusal.code == 404 and is_certain:
        return "returned", NoRoute(f"The broker refused the message: {refusal.text}.")
    msg = f"The broker refused a message: {refusal.text}."
    return "unknown", PublishRefused(msg, is_certain=is_certain, is_final=refusal.code in _MALFORMED)
