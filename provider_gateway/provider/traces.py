"""The spans of messages that are served: each is processed, and its model is called.

Names and attributes follow the semantic conventions of OpenTelemetry for messaging with RabbitMQ, in development, and
for HTTP clients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.errors import GatewayError
from provider_gateway.tracing.consumed import of_call, of_process
from provider_gateway.tracing.context import context_of, replaced
from provider_gateway.tracing.span import Kind, Span

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from provider_gateway.config.masked_url import MaskedURL
    from provider_gateway.message.message import Message
    from provider_gateway.model.interface import CallsModel
    from provider_gateway.model.model import ModelResponse
    from provider_gateway.provider.task import Task
    from provider_gateway.tracing.tracer import Tracer


def begin_process(tracer: Tracer, task: Task) -> None:
    """Begin the span of a message: a child of the publish that it came from, and linked to it."""
    delivery = task.delivery
    message = delivery.message
    parent = context_of(message.headers)
    task.span = message.span = span = tracer.entered(Kind.CONSUMER, parent)
    if isinstance(span, Span):
        span.name, span.fixed = of_process(delivery.queue, delivery.routing_key)
        span.attributes = {
            "messaging.message.id": message.message_id,
            "messaging.message.conversation_id": message.correlation_id,
            "messaging.message.body.size": len(message.body),
            "provider_gateway.rquid": task.rquid,
            "provider_gateway.attempt": task.history.attempt,
        }
        if delivery.redelivered:
            span.attributes["provider_gateway.redelivered"] = True
    elif parent is None or parent.is_sampled:
        message.headers = replaced(message.headers, span)  # else they say already that the trace is not recorded


class TracedModel:
    """Makes a span for each call of a model (:class:`.CallsModel`), and tells the model of it.

    Args:
        model: makes the calls.
        where: they go.
    """

    def __init__(self, model: CallsModel, where: MaskedURL) -> None:
        self._model = model
        self._fixed = of_call(str(where))

    def call(self, message: Message, *args: Any, **options: Any) -> Coroutine[Any, Any, ModelResponse]:
        """Make a call; see :meth:`.CallsModel.call`."""
        if not isinstance(message.span, Span):
            return self._model.call(message, *args, **options)
        span = message.span.begin(Kind.CLIENT, "POST")
        span.fixed = self._fixed
        message.headers = replaced(message.headers, span)
        return self._until_end(span, self._model.call(message, *args, **options))

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
            span.attributes["http.response.status_code"] = response.status
            if response.status >= 400:
                span.fail("", str(response.status))
            return response
        finally:
            span.end()
