"""One message that is being served: its delivery, which a newer one may replace, and by what it is known again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.message.message import PG_COPY

if TYPE_CHECKING:
    from collections.abc import Hashable

    from provider_gateway.amqp.consumer import Delivery
    from provider_gateway.message.copies import History
    from provider_gateway.message.message import Message

#: Bytes at the beginning of a body by which, and by its size, it is known again.
_PART = 4096


class DeliveryLost(Exception):
    """The channel of a delivery is gone before it was settled: the broker delivers it again."""


def _text(value: object) -> str:
    """A header's value, or the name of its type: of ours it is text, of a client anything, however deeply nested."""
    return value if isinstance(value, str) else type(value).__name__


class Task:
    """One message that is being served.

    Attributes:
        delivery: what to acknowledge in the end: the newest, if the broker delivered the message again meanwhile.
        history: what happened to the message before.
        rquid: its request id.
        fingerprint: the same for every delivery of the message; None if it has no message id and cannot be known again.
    """

    __slots__ = ("delivery", "fingerprint", "history", "rquid")

    def __init__(self, delivery: Delivery, history: History, rquid: str) -> None:
        self.delivery = delivery
        self.history = history
        self.rquid = rquid
        message = delivery.message
        self.fingerprint: Hashable = None
        if message.message_id is not None:
            # All of these, since a client may use a message id twice; and each copy is a message of its own.
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
    def log_fields(self) -> dict[str, Any]:
        """What each log line about the message has: its queue and its ids."""
        message = self.message
        return {
            "queue": self.delivery.queue,
            "rquid": self.rquid,
            "correlation_id": message.correlation_id,
            "message_id": message.message_id,
        }
