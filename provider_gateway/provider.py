"""The provider role for one queue: each delivery becomes a model call and a reply, and only then is acknowledged.

A delivery whose reply cannot be published is kept unacknowledged and tried again; if its channel goes away in the
meantime, the broker delivers it anew. Nothing is acknowledged on hope.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from provider_gateway.deferreds import InFlight, sleep
from provider_gateway.errors import (
    BrokerBlocked,
    BrokerUnavailable,
    GatewayError,
    ModelFailure,
    Nacked,
    NoRoute,
    OutcomeUnknown,
    PublishRefused,
)
from provider_gateway.messages import PG_REASON, PG_STATUS, PROBLEM_JSON, RQUID, Message, rquid_of
from provider_gateway.problems import problem_body

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.consumer import Delivery
    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.metrics import Metrics
    from provider_gateway.model import Answer, Model
    from provider_gateway.queues import QueueEntry

#: Seconds before a reply that the broker refused (its queue is full) is published again.
_NACK_DELAY = 1.0
#: Channels that the broker may close over a reply before it is replaced by a small one, and then before we give up.
_MAX_REFUSALS = 3


class Provider:
    """Serves the deliveries of one queue, concurrently; the consumer's prefetch bounds how many.

    Args:
        entry: the queue, and the reply address of messages that bring none.
        timeout: seconds for one model call.
        publisher: publishes the replies.
    """

    _log = Logger()

    def __init__(
        self,
        entry: QueueEntry,
        *,
        model: Model,
        timeout: float,
        publisher: Publisher,
        clock: IReactorTime,
        metrics: Metrics,
    ) -> None:
        self._entry = entry
        self._model = model
        self._timeout = timeout
        self._publisher = publisher
        self._clock = clock
        queue = entry.queue_name
        self._consumed = metrics.consumed.labels(queue)
        self._in_flight_gauge = metrics.deliveries_in_flight.labels(queue)
        self._model_seconds = metrics.model_request_seconds.labels(queue)
        self._model_requests = metrics.model_requests
        self._in_flight = InFlight(lambda f: self._log.failure("A delivery of {queue} failed", f, queue=queue))

    def serve(self, delivery: Delivery) -> None:
        """Take on one delivery; it is settled in its own time."""
        self._consumed.inc()
        self._in_flight.start(self._serve(delivery))

    def idle(self) -> Deferred[None]:
        """A Deferred that fires when no delivery is being served."""
        return self._in_flight.empty()

    def abandon(self) -> None:
        """Stop serving; what is under way stays unacknowledged, so the broker delivers it again."""
        self._in_flight.cancel()

    async def _serve(self, delivery: Delivery) -> None:
        message = delivery.message
        rquid = rquid_of(message.headers)
        self._in_flight_gauge.inc()
        try:
            try:
                reply = self._result(message, rquid, await self._call(message))
            except ModelFailure as failure:
                self._log.warn(
                    "{queue}: {reason}",
                    queue=delivery.queue,
                    reason=failure.detail,
                    cause=failure.cause,
                    rquid=rquid,
                    correlation_id=message.correlation_id,
                )
                await self._fail(delivery, failure, rquid)
            except CancelledError:
                raise
            except Exception:  # noqa: BLE001 - a bug of ours must not hold the message for ever, unanswered
                self._log.failure("{queue}: unforeseen error", queue=delivery.queue, rquid=rquid)
                error = GatewayError("An unexpected error; the log of the provider has the details.")
                await self._settle(delivery, self._error_reply(message, rquid, error, "internal"), rquid)
            else:
                await self._settle(delivery, reply, rquid)
        finally:
            self._in_flight_gauge.dec()

    async def _call(self, message: Message) -> Answer:
        result = "unfinished"
        started = self._clock.seconds()
        try:
            answer = await self._model.call(message, self._timeout)
            result = "ok" if answer.status < 300 else "rejected"
        except ModelFailure as failure:
            result = failure.reason
            raise
        finally:
            self._model_seconds.observe(self._clock.seconds() - started)
            self._model_requests.labels(self._entry.queue_name, result).inc()
        return answer

    async def _fail(self, delivery: Delivery, failure: ModelFailure, rquid: str) -> None:
        """Decide what becomes of a delivery that the model failed on: here, the error goes to the output channel."""
        await self._settle(delivery, self._error_reply(delivery.message, rquid, failure, failure.reason), rquid)

    async def _settle(self, delivery: Delivery, reply: Message, rquid: str) -> None:
        """Publish the reply, wait for its confirm, then acknowledge."""
        address = delivery.message.reply_to or self._entry.reply_to
        if address is not None and not await self._publish(delivery, reply, address, rquid):
            return
        if not delivery.ack():
            self._log.info("{queue}: acknowledgement lost with its channel", queue=delivery.queue, rquid=rquid)

    async def _publish(self, delivery: Delivery, reply: Message, address: str, rquid: str) -> bool:
        """Publish a reply until it is confirmed.

        Returns:
            False if the delivery was lost first (the broker delivers it again), or nothing can be replied.
        """
        refusals = 0
        while True:
            try:
                await self._publisher.publish(reply, "", address)
            except NoRoute:
                self._log.warn(
                    "{queue}: nobody takes the reply: the queue {address} does not exist",
                    queue=delivery.queue,
                    address=address,
                    rquid=rquid,
                    correlation_id=reply.correlation_id,
                )
                return True
            except Nacked:
                await sleep(self._clock, _NACK_DELAY)
            except PublishRefused as error:
                refusals += 1
                self._log.warn("{queue}: {reason}", queue=delivery.queue, reason=error.detail, rquid=rquid)
                if refusals == 2 * _MAX_REFUSALS:
                    self._log.error(
                        "{queue}: left unacknowledged, nothing can be replied", queue=delivery.queue, rquid=rquid
                    )
                    return False
                if refusals == _MAX_REFUSALS:
                    # It may be this reply that the broker does not take, for its size: say so in a small one.
                    failure = ModelFailure("The broker does not take the model's answer.", "refused")
                    reply = self._error_reply(delivery.message, rquid, failure, failure.reason)
                await self._publisher.when_ready()
            except (BrokerUnavailable, BrokerBlocked, OutcomeUnknown):
                await self._publisher.when_ready()
            else:
                return True
            if delivery.is_lost:
                return False

    def _result(self, message: Message, rquid: str, answer: Answer) -> Message:
        return Message(
            body=answer.body,
            content_type=answer.content_type,
            correlation_id=message.correlation_id,
            headers={**answer.headers, RQUID: rquid, PG_STATUS: answer.status},
        )

    def _error_reply(self, message: Message, rquid: str, error: GatewayError, reason: str) -> Message:
        return Message(
            body=problem_body(error, rquid),
            content_type=PROBLEM_JSON,
            correlation_id=message.correlation_id,
            headers={RQUID: rquid, PG_STATUS: error.status, PG_REASON: reason},
        )
