"""One message as a value: what is published, and what was consumed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provider_gateway.errors import HeadersTooLarge
from provider_gateway.message.http_headers import JSON
from provider_gateway.message.ids import fresh_id
from provider_gateway.message.plain_properties import decode_properties, encode_properties

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Our own headers, on messages only.
PG_STATUS = "pg-status"
PG_REASON = "pg-reason"
#: Identifies a copy: the publisher matches a return to it.
PG_COPY = "pg-copy"
#: Milliseconds since 1970; after it nobody waits for the reply.
PG_DEADLINE = "pg-deadline"


def headers_too_large(size: int, limit: int) -> HeadersTooLarge:
    """The error about properties that do not fit a frame.

    Args:
        size: their bytes.
        limit: bytes that a frame has room for.
    """
    msg = f"The headers take {size} bytes in the message; the broker allows {limit} (frame_max)."
    return HeadersTooLarge(msg)


# Not frozen: a frozen dataclass costs 1 µs more to create, three times a request. No code changes one.
@dataclass(slots=True)
class Message:
    """A message to publish, or one that was consumed.

    Attributes:
        body: as it is on the wire.
        headers: the AMQP header table; values of any AMQP type on consumed messages.
        message_id: fresh for each message that we publish: the publisher matches returns by it.
        original: the properties of a consumed message as they arrived, for copies of it.
    """

    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    content_type: str | None = JSON
    correlation_id: str | None = None
    reply_to: str | None = None
    message_id: str | None = field(default_factory=fresh_id)
    original: bytes | None = field(default=None, repr=False)

    def properties(self) -> bytes:
        """Encode the AMQP properties to publish it with; the message is always persistent."""
        return encode_properties(self.content_type, self.headers, self.correlation_id, self.reply_to, self.message_id)

    def fitted(self, limit: int) -> bytes:
        """Encode the properties in at most so many bytes, after :meth:`properties` gave more.

        Raises:
            HeadersTooLarge: there is no room for them.
        """
        raise headers_too_large(len(self.properties()), limit)

    @classmethod
    def received(cls, properties: bytes, body: bytes) -> Message:
        """The message with these encoded properties, none of which is required."""
        content_type, headers, correlation_id, reply_to, message_id = decode_properties(properties)
        return cls(body, headers, content_type, correlation_id, reply_to, message_id, properties)

    @property
    def publish_id(self) -> str:
        """The id by which the publisher matches a return to this message."""
        assert self.message_id is not None
        return self.message_id

    @property
    def deadline(self) -> float | None:
        """Seconds since 1970, after which nobody waits for the reply; None without a deadline."""
        value = self.headers.get(PG_DEADLINE)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
            return value / 1000
        return None

    @property
    def status(self) -> int:
        """The HTTP status of a reply: ``pg-status``; 200 if it is missing or out of range."""
        status = self.headers.get(PG_STATUS, 200)
        if isinstance(status, int) and 200 <= status <= 599:
            return status
        return 200
