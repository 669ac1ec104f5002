"""The span of a publish: it begins when a message is about to be published, and ends with the broker's confirm.

Names and attributes follow the semantic conventions of OpenTelemetry for messaging with RabbitMQ, in development.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from provider_gateway.tracing.consumed import PG_TRACEPARENT
from provider_gateway.tracing.context import context_headers, replaced
from provider_gateway.tracing.otlp import encode_attributes
from provider_gateway.tracing.span import Kind, Span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine
    from typing import Any

    from provider_gateway.message.copies import Copy
    from provider_gateway.message.message import Message
    from provider_gateway.tracing.span import AnySpan


@lru_cache(1024)
def _constant(exchange: str, routing_key: str) -> tuple[str, bytes]:
    """The name of a span, and the attributes that all of the name have."""
    return f"publish {exchange or routing_key}", encode_attributes(
        {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "send",
            "messaging.operation.name": "publish",
            "messaging.destination.name": ":".join(filter(None, (exchange, routing_key))) or "amq.default",
            "messaging.rabbitmq.destination.routing_key": routing_key,
        }
    )


def _begin(parent: Span, message: Message, exchange: str, routing_key: str, name: str = "") -> Span:
    its_name, fixed = _constant(exchange, routing_key)
    span = parent.begin(Kind.PRODUCER, name or its_name)
    span.fixed = fixed
    span.attributes = {
        "messaging.message.id": message.message_id,
        "messaging.message.conversation_id": message.correlation_id,
        "messaging.message.body.size": len(message.body),
    }
    return span


def begin_publish(parent: AnySpan, message: Message, exchange: str, routing_key: str) -> None:
    """Begin the span of a request message, and have its headers tell of it; the publisher ends it."""
    if isinstance(parent, Span):
        message.span = parent = _begin(parent, message, exchange, routing_key)
    message.headers = replaced(message.headers, parent)


def traced_copy(
    parent: AnySpan, copy: Copy, exchange: str, routing_key: str, publishing: Coroutine[Any, Any, None]
) -> Coroutine[Any, Any, None]:
    """Publish a copy, whose headers tell of its span.

    Args:
        publishing: publishes it until it is confirmed; not begun.
    """
    told = parent
    if isinstance(parent, Span):
        told = span = _begin(parent, copy, exchange, routing_key)
        publishing = _until_end(span, publishing)
    copy.added = {**copy.added, **context_headers(told)}
    return publishing


def traced_reply(
    parent: AnySpan, reply: Message, queue: str, publishing: Coroutine[Any, Any, None], *, is_kept: bool
) -> Coroutine[Any, Any, None]:
    """Publish a reply, as above.

    Args:
        is_kept: it may be stored, so a header tells of its span. It does not travel to HTTP.
    """
    if not isinstance(parent, Span):
        return publishing
    # The name is not that of the queue: they have many.
    span = _begin(parent, reply, "", queue, "publish reply")
    if is_kept:
        reply.headers = {**reply.headers, PG_TRACEPARENT: span.traceparent}
    return _until_end(span, publishing)


async def _until_end(span: Span, publishing: Awaitable[None]) -> None:
    try:
        await publishing
    except BaseException as error:
        span.publish_ended(error)
        raise
    span.end()
