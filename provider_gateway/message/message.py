"""One message as a value: what is published, and what was consumed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provider_gateway.content_codings import coding_in_message
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
#: On requests: milliseconds since 1970, when the gateway published the message.
PG_PUBLISHED = "pg-published"
#: On requests: content codings that the reply may have.
PG_ACCEPT_ENCODING = "pg-accept-encoding"
#: On replies: milliseconds between that time and the start of the model call.
PG_WAITED = "pg-waited"
#: On requests whose answer is kept if nobody waits for it: the queue for such replies, and whose request it is (empty
#: if whoever knows its id may see it).
PG_RESULTS = "pg-results"
PG_OWNER = "pg-owner"
#: The routing key that a message had when it was first delivered: on parked messages, and on copies of requests whose
#: answer is kept and replies to them, beside ``pg-owner`` and ``pg-published``.
PG_ROUTING_KEY = "pg-routing-key"
#: On the same replies: how many model calls were made.
PG_ATTEMPTS = "pg-attempts"
#: On error replies to messages that were parked: the parking queue.
PG_PARKED = "pg-parked"
#: On parked messages: milliseconds since 1970, when they were parked.
PG_PARKED_AT = "pg-parked-at"
#: On parked messages: what the model said about its error.
PG_MODEL_ERROR = "pg-model-error"
#: On parked messages: the HTTP status of the model's answer.
PG_MODEL_STATUS = "pg-model-status"
#: On requests, and on parked messages: who sent the request. A claim, unless the broker has checked it (``user_id``).
PG_IDENTITY = "pg-identity"
#: Characters of it that are kept.
MAX_IDENTITY = 255


def headers_too_large(size: int, limit: int) -> HeadersTooLarge:
    """The error about properties that do not fit a frame.

    Args:
        size: their bytes.
        limit: bytes that a frame has room for.
    """
    msg = f"The headers take {size} bytes in the message; the broker allows {limit} (frame_max)."
    return HeadersTooLarge(msg)


def _seconds(value: object) -> float | None:
    """A time in seconds, from a header in milliseconds; None if the header is no such number."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        return value / 1000
    return None


def _read_status(value: object) -> int:
    """A status that is not a plain whole number, such as a text."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if isinstance(text, str):
        digits = text.strip(" \t")
        text = int(digits) if digits.isascii() and digits.isdigit() and len(digits) == 3 else None
    for status in range(200, 600):
        if text == status and not isinstance(text, bool):  # whatever the type of the number
            return status
    msg = f"The reply's pg-status {ascii(value)[:60]} is no HTTP status from 200 to 599."
    raise ValueError(msg)


# Not frozen: a frozen dataclass costs 1 µs more to create, three times a request. No code changes one.
@dataclass(slots=True)
class Message:
    """A message to publish, or one that was consumed.

    Attributes:
        body: as it is on the wire.
        headers: the AMQP header table; values of any AMQP type on consumed messages.
        message_id: fresh for each message that we publish: the publisher matches returns by it.
        original: the properties of a consumed message as they arrived, for copies of it.
        span: of a message to publish: its step in a trace, which ends with its confirm; None without traces.
        content_encoding: content codings of the body, as received; see :meth:`content_coding`.
    """

    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    content_type: str | None = JSON
    correlation_id: str | None = None
    reply_to: str | None = None
    message_id: str | None = field(default_factory=fresh_id)
    original: bytes | None = field(default=None, repr=False)
    content_encoding: str | None = None
    span: Any = field(default=None, repr=False)

    def properties(self) -> bytes:
        """Encode the AMQP properties to publish it with; the message is always persistent."""
        ids = (self.correlation_id, self.reply_to, self.message_id)
        return encode_properties(self.content_type, self.headers, *ids, self.content_encoding)

    def fitted(self, limit: int) -> bytes:
        """Encode the properties in at most so many bytes, after :meth:`properties` gave more.

        Raises:
            HeadersTooLarge: there is no room for them.
        """
        raise headers_too_large(len(self.properties()), limit)

    @classmethod
    def received(cls, properties: bytes, body: bytes) -> Message:
        """The message with these encoded properties, none of which is required."""
        content_type, headers, correlation_id, reply_to, message_id, coding = decode_properties(properties)
        return cls(body, headers, content_type, correlation_id, reply_to, message_id, properties, coding)

    @property
    def publish_id(self) -> str:
        """The id by which the publisher matches a return to this message."""
        assert self.message_id is not None
        return self.message_id

    @property
    def deadline(self) -> float | None:
        """Seconds since 1970, after which nobody waits for the reply; None without a deadline."""
        return _seconds(self.headers.get(PG_DEADLINE))

    @property
    def published(self) -> float | None:
        """Seconds since 1970, when the gateway published the message; None if that is not known."""
        return _seconds(self.headers.get(PG_PUBLISHED))

    @property
    def status(self) -> int:
        """The HTTP status of a reply: ``pg-status``, also as a text, or in capitals; 200 if it is missing.

        Raises:
            ValueError: it is no status of a response (RFC 9110, 15). Taken as 200, a failure would be a success.
        """
        status = self.headers.get(PG_STATUS)
        if status is None:
            named = (name for name in self.headers if len(name) == 9 and name.lower() == PG_STATUS)
            status = self.headers.get(next(named, PG_STATUS))
        if type(status) is int and 200 <= status <= 599:
            return status
        return 200 if status is None else _read_status(status)

    def content_coding(self) -> str | None:
        """The content codings of the body, in the form of HTTP's Content-Encoding; None if it has none.

        Raises:
            ValueError: ``content_encoding`` is malformed.
        """
        return coding_in_message(self.content_encoding, self.headers)
