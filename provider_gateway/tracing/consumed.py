"""The spans of what a queue delivers, and of the HTTP calls that come of it, with the attributes that they share.

Names and attributes follow the semantic conventions of OpenTelemetry for messaging with RabbitMQ, in development, and
for HTTP clients.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from provider_gateway.tracing.context import context_of, parse_context
from provider_gateway.tracing.otlp import encode_attributes
from provider_gateway.tracing.span import Kind, Span

if TYPE_CHECKING:
    from provider_gateway.message.message import Message
    from provider_gateway.tracing.span import AnySpan
    from provider_gateway.tracing.tracer import Tracer

_PORTS = {"http": 80, "https": 443}
#: On replies to keep, the context of their publish. They have no ``traceparent``: their headers become those of an HTTP
#: response, and this one does not travel.
PG_TRACEPARENT = "pg-traceparent"


@lru_cache(1024)
def of_process(queue: str, routing_key: str) -> tuple[str, bytes]:
    """The name of the span of a delivery, and the attributes that all of the name have."""
    return f"process {queue}", encode_attributes(
        {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "process",
            "messaging.operation.name": "process",
            "messaging.destination.name": queue,
            "messaging.rabbitmq.destination.routing_key": routing_key,
        }
    )


@lru_cache(1024)
def of_call(where: str) -> bytes:
    """The attributes of the span of a call.

    Args:
        where: a URL without secrets.
    """
    url = urlsplit(where)
    return encode_attributes(
        {
            "http.request.method": "POST",
            "url.full": where,
            "server.address": url.hostname,
            "server.port": url.port or _PORTS.get(url.scheme),
        }
    )


def begin_processing(tracer: Tracer, message: Message, queue: str, routing_key: str) -> AnySpan:
    """Begin the span of a delivery that is no request: a child of the publish that it came from, and linked to it."""
    told = message.headers.get(PG_TRACEPARENT)
    span = tracer.entered(Kind.CONSUMER, context_of(message.headers) if told is None else parse_context(told))
    if isinstance(span, Span):
        span.name, span.fixed = of_process(queue, routing_key)
        span.attributes = {
            "messaging.message.id": message.message_id,
            "messaging.message.conversation_id": message.correlation_id,
            "messaging.message.body.size": len(message.body),
        }
    return span


def begin_call(parent: AnySpan, where: str) -> AnySpan:
    """Begin the span of a call of an endpoint, see :func:`of_call`."""
    if not isinstance(parent, Span):
        return parent
    span = parent.begin(Kind.CLIENT, "POST")
    span.fixed = of_call(where)
    return span


def end_call(span: AnySpan, status: int | None, reason: str, error_type: str | None) -> None:
    """End the span of a call.

    Args:
        status: of its response; None without one.
        reason: what went wrong.
        error_type: see :meth:`.Span.fail`; None if nothing went wrong.
    """
    if not isinstance(span, Span):
        return
    if status is not None:
        span.attributes["http.response.status_code"] = status
    if error_type is not None:
        span.fail(reason, error_type)
    span.end()
