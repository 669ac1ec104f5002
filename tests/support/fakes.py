"""Fakes of publisher, delivery and model; the test decides their outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from provider_gateway.errors import ModelBusy, ModelFailure, ModelUnreachable
from provider_gateway.model.model import ModelResponse

if TYPE_CHECKING:
    from provider_gateway.message.message import Message


class FakePublisher:
    """Keeps published messages; the test fires the Deferred of each confirm.

    Attributes:
        published: message, exchange, routing key and confirm of each publish.
        waiting: Deferreds of :meth:`when_ready`.
        restored: how often :meth:`restore` was called.
    """

    def __init__(self) -> None:
        self.published: list[tuple[Message, str, str, Deferred[None]]] = []
        self.waiting: list[Deferred[None]] = []
        self.restored = 0

    async def restore(self) -> None:
        self.restored += 1

    def publish(self, message: Message, exchange: str, routing_key: str) -> Deferred[None]:
        assert message.properties()  # as it would be sent
        confirm: Deferred[None] = Deferred()
        self.published.append((message, exchange, routing_key, confirm))
        return confirm

    publish_alone = publish

    def when_ready(self) -> Deferred[None]:
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def confirm(self, number: int = -1) -> None:
        self.published[number][3].callback(None)

    def fail(self, error: Exception, number: int = -1) -> None:
        self.published[number][3].errback(error)


class FakeDelivery:
    """A delivery of the queue ``work`` that counts its acknowledgements, and those that must not wait."""

    queue = "work"
    redelivered = False

    def __init__(self, message: Message, *, exchange: str = "ML.MQ", routing_key: str = "predict.now") -> None:
        self.message = message
        self.exchange = exchange
        self.routing_key = routing_key
        self.is_lost = False
        self.acks = self.urgent_acks = 0

    def ack(self, *, is_urgent: bool = True) -> bool:
        if self.is_lost:
            return False
        self.acks += 1
        self.urgent_acks += is_urgent
        return True


class FakeModel:
    """A model whose responses the test gives.

    Attributes:
        calls: message, timeout in seconds, and Deferred response of each call.
        may_repeat: what the newest call said.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Message, float, Deferred[ModelResponse]]] = []
        self.may_repeat = False

    async def call(
        self, message: Message, rquid: str, timeout: float, _room: object = None, *, may_repeat: bool = False
    ) -> ModelResponse:
        self.may_repeat = may_repeat
        answer: Deferred[ModelResponse] = Deferred()
        self.calls.append((message, timeout, answer))
        return await answer

    def answer(self, status: int = 200, body: bytes = b"42", number: int = -1, **headers: str) -> None:
        self.calls[number][2].callback(ModelResponse(status, body, "text/x-number", headers))

    def fail(self, reason: str = "timeout", number: int = -1) -> None:
        self.calls[number][2].errback(ModelFailure(f"The model failed: {reason}.", reason))

    def refuse(self, wait: float | None = None, number: int = -1) -> None:
        """Be busy."""
        self.calls[number][2].errback(ModelBusy("The model answered with HTTP status 503.", wait))

    def be_away(self, number: int = -1) -> None:
        """Let no connection be made."""
        self.calls[number][2].errback(ModelUnreachable("The model cannot be reached."))
