"""The spans of messages that are served: each is processed, and its model is called.

Names and attributes follow the semantic conventions of OpenTelemetry for messaging with RabbitMQ, in development, and
for HTTP clients.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from provider_gateway.errors import GatewayError
from provider_gateway.tracing.consumed import of_call, of_process
from provider_gateway.tracing.context import context_of, replaced
from provider_gateway.tracing.span import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.internet.defer import Deferred

    from provider_gateway.config.masked_url import MaskedURL
    from provider_gateway.message.message import Message
    from provider_gateway.model.interface import CallsModel
    from provider_gateway.model.model import ModelResponse
    from provider_gateway.provider.task import Task
    from provider_gateway.tracing.otlp import SpanTemplate
    from provider_gateway.tracing.tracer import Tracer


@lru_cache(1024)
def _of_process(queue: str, routing_key: str) -> SpanTemplate:
    """What the spans of messages from a queue have in common."""
    names = ("provider_gateway.rquid", "provider_gateway.attempt", "provider_gateway.redelivered")
    return of_process(queue, routing_key, *names)


def begin_process(tracer: Tracer, task: Task) -> None:
    """Begin the span of a message: a child of the publish that it came from, and linked to it."""
    delivery = task.delivery
    message = delivery.message
    parent = context_of(message.headers)
    task.span = message.span = span = tracer.entered(parent)
    if isinstance(span, Span):
        span.template = _of_process(delivery.queue, delivery.routing_key)
        span.values = (
            message.message_id,
            message.correlation_id,
            len(message.body),
            task.rquid,
            task.history.attempt,
            True if delivery.redelivered else None,
        )
    elif parent is None or parent.is_sampled:
        message.headers = replaced(message.headers, span)  # else they say already that the trace is not recorded


def came_back(task: Task) -> None:
    """Note on the span of a message in work that the broker delivered it again: it is served once, and has one span."""
    span = task.span
    if isinstance(span, Span):
        span.values = (*span.values[:-1], True)


class TracedModel:
    """Makes a span for each call of a model (:class:`.CallsModel`), and tells the model of it.

    Args:
        model: makes the calls.
        where: they go.
    """

    def __init__(self, model: CallsModel, where: MaskedURL) -> None:
        self._model = model
        self._template = of_call(str(where))

    def call(
        self,
        message: Message,
        rquid: str,
        timeout: float,
        room: Callable[[int], Deferred[None] | None] = lambda _: None,
        *,
        may_repeat: bool = False,
    ) -> Coroutine[Any, Any, ModelResponse]:
        """Make a call; see :meth:`.CallsModel.call`."""
        if not isinstance(message.span, Span):
            return self._model.call(message, rquid, timeout, room, may_repeat=may_repeat)
        span = message.span.begin(self._template, (None,))
        message.headers = replaced(message.headers, span)
        return self._until_end(span, self._model.call(message, rquid, timeout, room, may_repeat=may_repeat))

    @staticmethod
    async def _until_end(span: Span, call: Coroutine[Any, Any, ModelResponse]) -> ModelResponse:
        try:
            response = await call
        except GatewayError as error:
            span.fail(error.detail, getattr(error, "reason", error.problem))
            raise
        except BaseException as error:
            span.fail("The call was not finished.", type(error).__name__)
            raise
        else:
            span.values = (response.status,)
            if response.status >= 400:
                span.fail("", str(response.status))
            return response
        finally:
            span.end()
