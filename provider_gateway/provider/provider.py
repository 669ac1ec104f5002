"""Serves the deliveries of one queue: calls the model, and decides how each delivery is settled.

The model's response becomes the reply if its status is 2xx, or a 4xx that is the caller's error. After a failure of the
model, the message takes the retry route (``dle``). After the last attempt it is parked, and the error is the reply. An
expired message is dropped and counted.
"""

from __future__ import annotations

import random
from functools import cache, partial
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, DeferredLock
from twisted.logger import Logger

from provider_gateway.deferreds import InFlight, sleep
from provider_gateway.errors import BodyTooLarge, GatewayError, ModelFailure, UnsupportedMediaType
from provider_gateway.message.ids import rquid_of
from provider_gateway.provider.replies import error_reply, result_reply
from provider_gateway.provider.task import DeliveryLost, Task
from provider_gateway.topology.declarations import DELIVERY_LIMIT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Hashable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.consumer import Delivery
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.model.model import Model, ModelResponse
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.provider.expiry import Expiry
    from provider_gateway.provider.intake import Intake
    from provider_gateway.provider.retry_route import RetryRoute
    from provider_gateway.provider.settlement import Settlement
    from provider_gateway.topology.reply_addresses import ReplyAddresses

#: A message that came back unacknowledged this often is a suspect: it may be the one that kills the process.
_SUSPECT = 3
#: A suspect first waits for a random time up to this number of seconds.
_SUSPECT_DELAY = 1.0


class Provider:
    """Serves the deliveries of one queue concurrently. The consumer's prefetch limits how many.

    Args:
        entry: the queue.
        timeout: seconds for one model call.
        max_body_bytes: a message with a larger body is answered with 413.
        retry: where copies go, and the history of messages that came back.
        settlement: publishes replies and copies, and acknowledges.
        replies: which reply addresses are served.
        expiry: whether anybody still waits for a reply.
        intake: decides whether there is room for a delivery.
    """

    _log = Logger()

    def __init__(
        self,
        entry: QueueEntry,
        *,
        model: Model,
        timeout: float,
        max_body_bytes: int,
        retry: RetryRoute,
        settlement: Settlement,
        replies: ReplyAddresses,
        expiry: Expiry,
        intake: Intake,
        clock: IReactorTime,
        metrics: Metrics,
    ) -> None:
        self._entry = entry
        self._model = model
        self._timeout = timeout
        self._max_body_bytes = max_body_bytes
        self._retry = retry
        self._settlement = settlement
        self._replies = replies
        self._expiry = expiry
        self._intake = intake
        self._clock = clock
        queue = entry.queue_name
        metrics.begin(queue)
        self._consumed = metrics.consumed.labels(queue)
        self._expired = metrics.expired.labels(queue)
        self._foreign = metrics.foreign_copies.labels(queue)
        self._redelivered = metrics.redelivered
        self._in_flight_gauge = metrics.deliveries_in_flight.labels(queue)
        self._model_seconds = metrics.model_request_seconds.labels(queue)
        # A look-up of labels costs 2 µs. There are few results.
        self._model_requests = cache(partial(metrics.model_requests.labels, queue))
        self._one_suspect = DeferredLock()
        self._serving: dict[Hashable, Task] = {}
        self._in_flight = InFlight(lambda f: self._log.failure("A delivery of {queue} failed", f, queue=queue))

    def serve(self, delivery: Delivery) -> bool:
        """Begin to serve a delivery, and return True at once; False if there is no room for it."""
        task = Task(delivery, self._retry.history(delivery), rquid_of(delivery.message.headers))
        if delivery.redelivered and self._is_known(task):
            self._consumed.inc()
            return True
        if not self._intake.take(task):
            return False
        self._consumed.inc()
        self._in_flight.start(self._serve(task))
        return True

    def idle(self) -> Deferred[None]:
        """A Deferred that fires when no delivery is being served."""
        return self._in_flight.empty()

    def abandon(self) -> None:
        """Stop serving. Deliveries in flight stay unacknowledged, so the broker delivers them again."""
        self._in_flight.cancel()

    def _is_known(self, task: Task) -> bool:
        """Adopt or acknowledge a redelivery of a message that this process knows; False if it does not know it."""
        running = self._serving.get(task.fingerprint) if task.fingerprint is not None else None
        if running is not None and running.delivery.is_lost:
            running.delivery = task.delivery
            self._redelivered.labels(self._entry.queue_name, "running").inc()
            return True
        if self._settlement.is_settled(task):
            self._redelivered.labels(self._entry.queue_name, "settled").inc()
            self._settlement.done(task)
            return True
        self._redelivered.labels(self._entry.queue_name, "unknown").inc()
        return False

    async def _serve(self, task: Task) -> None:
        self._in_flight_gauge.inc()
        if task.fingerprint is not None:
            self._serving[task.fingerprint] = task
        try:
            try:
                # _decide is no coroutine: a coroutine that waits takes 280 bytes.
                work = self._decide(task)
                if work is not None:
                    await work
            except (CancelledError, DeliveryLost):
                raise
            except Exception:  # noqa: BLE001 - a message that our code fails on must not come back for ever
                self._log.failure("{queue}: unforeseen error", **task.log_fields)
                error = GatewayError("An unexpected error; the log of the provider has the details.")
                await self._settlement.park(task, "internal", error_reply(task, error, "internal"))
        except DeliveryLost:
            self._log.info(
                "{queue}: the channel closed before the acknowledgement; the broker delivers the message again",
                **task.log_fields,
            )
        finally:
            self._in_flight_gauge.dec()
            self._intake.give(task)
            if self._serving.get(task.fingerprint) is task:
                del self._serving[task.fingerprint]

    def _decide(self, task: Task) -> Awaitable[None] | None:
        """Begin what is to be done with a message: an awaitable, or None if it is done already."""
        message = task.message
        work: Awaitable[None] | None = None
        if self._retry.is_foreign(task.delivery):
            self._foreign.inc()
            self._settlement.done(task)
        elif self._is_expired(task):
            self._drop(task)
        elif not self._replies.allow(message.reply_to):
            work = self._settlement.park(task, "reply-to")
        elif len(message.body) > self._max_body_bytes:
            too_large = BodyTooLarge(f"The message is larger than {self._max_body_bytes} bytes (MAX_BODY_BYTES).")
            work = self._end(task, too_large, "too-large")
        elif self._is_to_be_counted(task):
            if task.history.redeliveries >= DELIVERY_LIMIT:
                error = GatewayError(f"The message came back unacknowledged more than {DELIVERY_LIMIT} times.")
                work = self._settlement.park(task, "redelivered", error_reply(task, error, "redelivered"))
            else:
                work = self._settlement.renew(task)
        elif self._returns(task):
            work = self._run_returned(task)
        else:
            work = self._run(task)
        return work

    def _is_expired(self, task: Task) -> bool:
        """True if nobody waits for the reply any more, unless an attempt was made already."""
        return task.history.attempt <= 1 and self._expiry.has_passed(task.message)

    def _drop(self, task: Task) -> None:
        self._expired.inc()
        self._log.info("{queue}: expired: nobody waits for the reply any more", **task.log_fields)
        self._settlement.done(task)

    def _is_to_be_counted(self, task: Task) -> bool:
        """True if the message came back, perhaps from a process that it killed. Quorum queues count that themselves."""
        return (
            task.delivery.redelivered and self._entry.queue_type != "quorum" and not self._intake.was_given_back(task)
        )

    def _returns(self, task: Task) -> int:
        """How often a message came back unacknowledged, as counted by us or by the quorum queue."""
        if self._entry.queue_type != "quorum":
            return task.history.redeliveries
        counted = task.message.headers.get("x-delivery-count")
        if counted and self._intake.was_given_back(task):
            return 0
        return counted if isinstance(counted, int) else 0

    async def _run_returned(self, task: Task) -> None:
        """Serve a message that came back unacknowledged."""
        await self._settlement.when_renewed(task)
        await (self._run_alone(task) if self._returns(task) >= _SUSPECT else self._run(task))

    async def _run_alone(self, task: Task) -> None:
        """Serve suspects one at a time: else one that kills the process would take the others to parking with it."""
        # In random order: if the message that kills were always the first, the others would never be served.
        await sleep(self._clock, random.uniform(0, _SUSPECT_DELAY))  # noqa: S311 - no secret
        await self._one_suspect.acquire()
        try:
            await self._run(task)
        finally:
            self._one_suspect.release()

    async def _run(self, task: Task) -> None:
        started = self._clock.seconds()
        try:
            response = await self._model.call(
                task.message, task.rquid, self._timeout, partial(self._intake.for_response, task)
            )
        except ModelFailure as failure:
            self._count_call(failure.reason, started)
            await self._fail(task, failure)
        except UnsupportedMediaType as error:
            await self._end(task, error, "content-encoding")
        except BaseException:
            self._count_call("unfinished", started)
            raise
        else:
            self._count_call("ok" if response.status < 300 else "rejected", started)
            await self._succeed(task, response)

    def _count_call(self, result: str, started: float) -> None:
        self._model_seconds.observe(self._clock.seconds() - started)
        self._model_requests(result).inc()

    async def _succeed(self, task: Task, response: ModelResponse) -> None:
        """Reply with the model's response. Without a reply address, park the message if the status is 4xx."""
        if self._settlement.address(task) is not None:
            reply = result_reply(task, response)
            await self._settlement.reply(task, reply, lambda error: error_reply(task, error, error.reason))
        elif response.status < 300:
            if task.history.is_answered:
                self._log.info("{queue}: answered after the caller was told of a failure", **task.log_fields)
            self._settlement.done(task)
        else:
            await self._settlement.park(task, "rejected")

    async def _fail(self, task: Task, failure: ModelFailure) -> None:
        """Retry, park or answer a message that the model failed on."""
        self._log.warn(
            "{queue}: {reason}",
            reason=failure.detail,
            cause=failure.cause,
            attempt=task.history.attempt,
            **task.log_fields,
        )
        if not self._entry.dle:
            await self._end(task, failure, failure.reason)
        elif task.history.attempt < self._entry.max_attempts:
            is_answered = task.history.is_answered or (self._waits_in_vain(task) and await self._tell(task, failure))
            target = self._retry.target(task.delivery)
            await self._settlement.retry(task, *target, failure.reason, is_answered=is_answered)
        else:
            await self._settlement.park(task, failure.reason, error_reply(task, failure, failure.reason))

    def _waits_in_vain(self, task: Task) -> bool:
        """True if a caller waits at a queue of its own, but not until the next attempt."""
        reply_by = task.reply_by
        if reply_by is None or task.message.reply_to is None:
            return False
        return self._expiry.is_past(reply_by / 1000 - self._retry.delay)

    async def _tell(self, task: Task, failure: ModelFailure) -> bool:
        """Reply with a failure before the next attempt; True if the reply is confirmed."""
        detail = f"{failure.detail} It is tried again after the time for which you wait: the request may be executed."
        early = ModelFailure(detail, failure.reason)
        return await self._settlement.tell(task, error_reply(task, early, early.reason))

    async def _end(self, task: Task, error: GatewayError, reason: str) -> None:
        """Reply with an error. Without a reply address, park the message."""
        if self._settlement.address(task) is None:
            await self._settlement.park(task, reason)
            return
        reply = error_reply(task, error, reason)
        await self._settlement.reply(task, reply, lambda refused: error_reply(task, refused, refused.reason))
