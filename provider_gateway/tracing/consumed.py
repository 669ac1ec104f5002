"""The spans of what a queue delivers, and of the HTTP calls that come of it, with the attributes that they share.

Names and attributes follow the semantic conventions of OpenTelemetry for messaging with RabbitMQ, in development, and
for HTTP clients.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from provider_gateway.tracing.context import context_of, parse_context
from provider_gateway.tracing.otlp import SpanTemplate
from provider_gateway.tracing.span import Kind, Span

if TYPE_CHECKING:
    from provider_gateway.message.message import Message
    from provider_gateway.tracing.span import AnySpan
    from provider_gateway.tracing.tracer import Tracer

_PORTS = {"http": 80, "https": 443}
#: On replies to keep, the context of their publish. They have no ``traceparent``: their headers become those of an HTTP
#: response, and this one does not travel.
PG_TRACEPARENT = "pg-traceparent"


#: Of each span of a message; beside others.
ABOUT_MESSAGE = ("messaging.message.id", "messaging.message.conversation_id", "messaging.message.body.size")


def of_process(queue: str, routing_key: str, *names: str) -> SpanTemplate:
    """What the spans of deliveries from a queue have in common.

    Args:
        names: of attributes beside those about the message.
    """
    return SpanTemplate(
        Kind.CONSUMER,
        f"process {queue}",
        {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "process",
            "messaging.operation.name": "process",
            "messaging.destination.name": queue,
            "messaging.rabbitmq.destination.routing_key": routing_key,
        },
        ABOUT_MESSAGE + names,
    )


@lru_cache(1024)
def of_call(where: str) -> SpanTemplate:
    """What the spans of calls have in common; the status is their value.

    Args:
        where: a URL without secrets.
    """
    url = urlsplit(where)
    return SpanTemplate(
        Kind.CLIENT,
        "POST",
        {
            "http.request.method": "POST",
            "url.full": where,
            "server.address": url.hostname,
            "server.port": url.port or _PORTS.get(url.scheme),
        },
        ("http.response.status_code",),
    )


_of_process = lru_cache(1024)(of_process)


def begin_processing(tracer: Tracer, message: Message, queue: str, routing_key: str) -> AnySpan:
    """Begin the span of a delivery that is no request: a child of the publish that it came from, and linked to it."""
    told = message.headers.get(PG_TRACEPARENT)
    span = tracer.entered(context_of(message.headers) if told is None else parse_context(told))
    if isinstance(span, Span):
        span.template = _of_process(queue, routing_key)
        span.values = (message.message_id, message.correlation_id, len(message.body))
    return span


def begin_call(parent: AnySpan, where: str) -> AnySpan:
    """Begin the span of a call of an endpoint, see :func:`of_call`."""
    if not isinstance(parent, Span):
        return parent
    return parent.begin(of_call(where), (None,))


def end_call(span: AnySpan, status: int | None, reason: str, error_type: str | None) -> None:
    """End the span of a call.

    Args:
        status: of its response; None without one.
        reason: what went wrong.
        error_type: see :meth:`.Span.fail`; None if nothing went wrong.
    """
    if not isinstance(span, Span):
        return
    span.values = (status,)
    if error_type is not None:
        span.fail(reason, error_type)
    span.end()
