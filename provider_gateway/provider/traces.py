"""The spans of messages that are served: each is processed, its model is called, and what settles it is published."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from provider_gateway.errors import GatewayError
from provider_gateway.provider.provider import Provider
from provider_gateway.provider.reliable_publisher import ReliablePublisher
from provider_gateway.tracing.context import context_of, replaced
from provider_gateway.tracing.otlp import encode_attributes
from provider_gateway.tracing.publishes import begin_publish, begin_reply
from provider_gateway.tracing.span import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.config.masked_url import MaskedURL
    from provider_gateway.message.copies import Copy
    from provider_gateway.message.message import Message
    from provider_gateway.model.interface import CallsModel
    from provider_gateway.model.model import ModelResponse
    from provider_gateway.provider.task import Task
    from provider_gateway.tracing.tracer import Tracer

_PORTS = {"http": 80, "https": 443}


@lru_cache(1024)
def _fixed(queue: str, routing_key: str) -> bytes:
    return encode_attributes(
        {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "process",
            "messaging.operation.name": "process",
            "messaging.destination.name": queue,
            "messaging.rabbitmq.destination.routing_key": routing_key,
        }
    )


class TracedProvider(Provider):
    """A provider that makes a span for each message: a child of the publish that it came from, and linked to it.

    Attributes:
        tracer: to be set before the first message.
    """

    tracer: Tracer

    async def _serve(self, task: Task) -> None:
        delivery, message = task.delivery, task.message
        span = self.tracer.entered(Kind.CONSUMER, f"process {delivery.queue}", context_of(message.headers))
        task.span = message.span = span
        if span.is_sampled:
            span.fixed = _fixed(delivery.queue, delivery.routing_key)
            span.attributes = {
                "messaging.message.id": message.message_id,
                "messaging.message.conversation_id": message.correlation_id,
                "messaging.message.body.size": len(message.body),
                "provider_gateway.rquid": task.rquid,
                "provider_gateway.attempt": task.history.attempt,
                "provider_gateway.redelivered": delivery.redelivered or None,
            }
        try:
            await super()._serve(task)
        finally:
            span.end()


class TracedPublisher(ReliablePublisher):
    """Makes a span for each reply and each copy, from its first publish to its confirm."""

    def __init__(self, *, publisher: Publisher, clock: IReactorTime, tracer: Tracer) -> None:
        super().__init__(publisher=publisher, clock=clock)
        self._tracer = tracer

    def publish_reply(self, task: Task, reply: Message, queue: str) -> Coroutine[Any, Any, None]:
        """Publish a reply; see :meth:`.ReliablePublisher.publish_reply`."""
        if task.span is not None:
            begin_reply(self._tracer, task.span, reply, queue)
        return super().publish_reply(task, reply, queue)

    def publish_copy(
        self,
        task: Task,
        copy: Copy,
        exchange: str,
        routing_key: str,
        *,
        gives_up: tuple[type[GatewayError], ...] = (),
    ) -> Coroutine[Any, Any, None]:
        """Publish a copy; see :meth:`.ReliablePublisher.publish_copy`."""
        if task.span is not None:
            begin_publish(self._tracer, task.span, copy, exchange, routing_key)
        return super().publish_copy(task, copy, exchange, routing_key, gives_up=gives_up)


class TracedModel:
    """Makes a span for each call of a model (:class:`.CallsModel`), and tells the model of it.

    Args:
        model: makes the calls.
        where: they go.
    """

    def __init__(self, model: CallsModel, tracer: Tracer, where: MaskedURL) -> None:
        self._model = model
        self._tracer = tracer
        url = urlsplit(str(where))
        self._fixed = encode_attributes(
            {
                "http.request.method": "POST",
                "url.full": str(where),
                "server.address": url.hostname,
                "server.port": url.port or _PORTS.get(url.scheme),
            }
        )

    async def call(
        self,
        message: Message,
        rquid: str,
        timeout: float,
        room: Callable[[int], Deferred[None] | None] = lambda _: None,
        *,
        may_repeat: bool = False,
    ) -> ModelResponse:
        """Make a call; see :meth:`.CallsModel.call`."""
        span = self._tracer.within(message.span, Kind.CLIENT, "POST")
        span.fixed = self._fixed
        message.headers = replaced(message.headers, span.context)
        try:
            response = await self._model.call(message, rquid, timeout, room, may_repeat=may_repeat)
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
