"""The span of a publish: it begins when a message is about to be published, and ends with the broker's confirm.

Names and attributes follow the semantic conventions of OpenTelemetry for messaging with RabbitMQ, in development.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from provider_gateway.tracing.consumed import ABOUT_MESSAGE, PG_TRACEPARENT
from provider_gateway.tracing.context import context_headers, replaced
from provider_gateway.tracing.otlp import SpanTemplate
from provider_gateway.tracing.span import Kind, Span

if TYPE_CHECKING:
    from provider_gateway.message.copies import Copy
    from provider_gateway.message.message import Message
    from provider_gateway.tracing.span import AnySpan


@lru_cache(1024)
def _of_publish(exchange: str, routing_key: str, name: str) -> SpanTemplate:
    """What the spans of publishes to one place have in common.

    Args:
        name: of them; if empty, the place.
    """
    return SpanTemplate(
        Kind.PRODUCER,
        name or f"publish {exchange or routing_key}",
        {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "send",
            "messaging.operation.name": "publish",
            "messaging.destination.name": ":".join(filter(None, (exchange, routing_key))) or "amq.default",
            "messaging.rabbitmq.destination.routing_key": routing_key,
        },
        ABOUT_MESSAGE,
    )


def begin_publish(parent: AnySpan, message: Message, exchange: str, routing_key: str) -> None:
    """Begin the span of a request message, and have its headers tell of it; the publisher ends it."""
    if isinstance(parent, Span):
        template = _of_publish(exchange, routing_key, "")
        values = message.message_id, message.correlation_id, len(message.body)
        message.span = parent = parent.begin(template, values)
    message.headers = replaced(message.headers, parent)


def begin_copy(parent: AnySpan, copy: Copy, exchange: str, routing_key: str) -> Span | None:
    """Begin the span of a copy, whose headers tell of it; whoever publishes it ends it. None if it is not recorded."""
    span = None
    if isinstance(parent, Span):
        template = _of_publish(exchange, routing_key, "")
        span = parent.begin(template, (copy.message_id, copy.correlation_id, len(copy.body)))
    copy.added = {**copy.added, **context_headers(span or parent)}
    return span


def begin_reply(parent: AnySpan, reply: Message, queue: str, *, is_kept: bool) -> Span | None:
    """Begin the span of a reply, as above.

    Args:
        is_kept: it may be stored, so a header tells of its span. It does not travel to HTTP.
    """
    if not isinstance(parent, Span):
        return None
    # The name is not that of the queue: they have many.
    template = _of_publish("", queue, "publish reply")
    span = parent.begin(template, (reply.message_id, reply.correlation_id, len(reply.body)))
    if is_kept:
        reply.headers = {**reply.headers, PG_TRACEPARENT: span.traceparent}
    return span
