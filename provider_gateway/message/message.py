"""One message as a value: what is published, and what was consumed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provider_gateway.message.http_headers import JSON
from provider_gateway.message.ids import fresh_id
from provider_gateway.message.plain_properties import decode_properties, encode_properties

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Headers of our own, on messages only.
PG_STATUS = "pg-status"
PG_REASON = "pg-reason"
#: Of a copy, unlike any other: a return is told by it.
PG_COPY = "pg-copy"
#: Milliseconds since 1970 after which nobody waits for the reply.
PG_DEADLINE = "pg-deadline"


# Not frozen: setting the attributes of a frozen one costs 1 µs more, three times a request. Nobody changes one.
@dataclass(slots=True)
class Message:
    """What is published or was consumed.

    Attributes:
        headers: AMQP header table; values of any AMQP type on consumed messages.
        message_id: fresh for each message that we publish: the publisher tells its returns by it.
        original: all properties of a message that was received, encoded, for copies of it.
    """

    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    content_type: str | None = JSON
    correlation_id: str | None = None
    reply_to: str | None = None
    message_id: str | None = field(default_factory=fresh_id)
    original: bytes | None = field(default=None, repr=False)

    def properties(self) -> bytes:
        """The AMQP properties to publish it with, encoded; persistent always."""
        return encode_properties(self.content_type, self.headers, self.correlation_id, self.reply_to, self.message_id)

    @classmethod
    def received(cls, properties: bytes, body: bytes) -> Message:
        """The message with these encoded properties; none of them needs to be there."""
        content_type, headers, correlation_id, reply_to, message_id = decode_properties(properties)
        return cls(body, headers, content_type, correlation_id, reply_to, message_id, properties)

    @property
    def publish_id(self) -> str:
        """What the publisher tells a return of this message by."""
        assert self.message_id is not None
        return self.message_id

    @property
    def deadline(self) -> float | None:
        """Seconds since 1970 after which nobody waits for the reply; None if somebody may wait for ever."""
        value = self.headers.get(PG_DEADLINE)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
            return value / 1000
        return None

    @property
    def status(self) -> int:
        """The HTTP status that a reply stands for: ``pg-status``, or 200 from a worker that sets none."""
        status = self.headers.get(PG_STATUS, 200)
        if isinstance(status, int) and 200 <= status <= 599:
            return status
        return 200
