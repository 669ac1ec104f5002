"""The span of a publish: it begins when a message is about to be published, and ends with the broker's confirm.

Names and attributes follow the semantic conventions of OpenTelemetry for messaging with RabbitMQ, in development.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from provider_gateway.message.copies import Copy
from provider_gateway.tracing.context import replaced
from provider_gateway.tracing.otlp import encode_attributes
from provider_gateway.tracing.span import Kind

if TYPE_CHECKING:
    from provider_gateway.message.message import Message
    from provider_gateway.tracing.span import Span
    from provider_gateway.tracing.tracer import Tracer


@lru_cache(1024)
def _fixed(exchange: str, routing_key: str) -> bytes:
    return encode_attributes(
        {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "send",
            "messaging.operation.name": "publish",
            "messaging.destination.name": ":".join(filter(None, (exchange, routing_key))) or "amq.default",
            "messaging.rabbitmq.destination.routing_key": routing_key,
        }
    )


def _begin(tracer: Tracer, parent: Span, message: Message, exchange: str, routing_key: str, name: str) -> Span:
    span = message.span = tracer.within(parent, Kind.PRODUCER, name)
    if span.is_sampled:
        span.fixed = _fixed(exchange, routing_key)
        span.attributes = {
            "messaging.message.id": message.message_id,
            "messaging.message.conversation_id": message.correlation_id,
            "messaging.message.body.size": len(message.body),
        }
    return span


def begin_publish(tracer: Tracer, parent: Span, message: Message, exchange: str, routing_key: str) -> None:
    """Begin the span of a request message or a copy, and have its headers tell of it; the publisher ends it.

    A message that is published again keeps its span.
    """
    if message.span is not None:
        return
    span = _begin(tracer, parent, message, exchange, routing_key, f"publish {exchange or routing_key}")
    if isinstance(message, Copy):
        message.added = {**message.added, **span.context.headers()}
    else:
        message.headers = replaced(message.headers, span.context)


def begin_reply(tracer: Tracer, parent: Span, message: Message, queue: str) -> None:
    """Begin the span of a reply. Its headers do not tell of it: they become those of an HTTP response."""
    if message.span is None:
        _begin(tracer, parent, message, "", queue, "publish reply")  # queues of replies have many names
