"""Serves the deliveries of one queue: checks each message, and calls the model when the gate lets it.

A model that is busy or away is no failure: the message is held for it, or given back to its queue. An expired message
is dropped and counted. What follows a model call is decided in :mod:`provider_gateway.provider.after_call`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from provider_gateway.errors import BodyTooLarge, GatewayError, ModelBusy, ModelFailure, ModelUnreachable, Unsendable
from provider_gateway.message.ids import rquid_of
from provider_gateway.provider.after_call import AfterCall
from provider_gateway.provider.call_counts import CallCounts
from provider_gateway.provider.in_work import InWork
from provider_gateway.provider.model_gate import PATIENCE
from provider_gateway.provider.model_log import ModelLog
from provider_gateway.provider.replies import error_reply
from provider_gateway.provider.suspects import Suspects
from provider_gateway.provider.task import DeliveryLost, Task
from provider_gateway.provider.traces import begin_process, came_back
from provider_gateway.topology.declarations import DELIVERY_LIMIT

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.consumer import Delivery
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.model.interface import CallsModel
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.provider.expiry import Expiry
    from provider_gateway.provider.intake import Intake
    from provider_gateway.provider.model_gate import ModelGate
    from provider_gateway.provider.retry_route import RetryRoute
    from provider_gateway.provider.settlement import Settlement
    from provider_gateway.provider.unstarted import Unstarted
    from provider_gateway.topology.reply_addresses import ReplyAddresses
    from provider_gateway.tracing.tracer import Tracer


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
        unstarted: which messages are dropped before their model call.
        intake: decides whether there is room for a delivery.
        gate: says when a call of the model may begin.
        tracer: makes spans; None without traces.
    """

    _log = Logger()

    def __init__(
        self,
        entry: QueueEntry,
        *,
        model: CallsModel,
        timeout: float,
        max_body_bytes: int,
        retry: RetryRoute,
        settlement: Settlement,
        replies: ReplyAddresses,
        expiry: Expiry,
        unstarted: Unstarted,
        intake: Intake,
        gate: ModelGate,
        clock: IReactorTime,
        metrics: Metrics,
        tracer: Tracer | None = None,
    ) -> None:
        self._entry = entry
        self._model = model
        self._timeout = timeout
        self._max_body_bytes = max_body_bytes
        self._retry = retry
        self._settlement = settlement
        self._after_call = AfterCall(entry, retry, settlement, expiry)
        self._replies = replies
        self._expiry = expiry
        self._unstarted = unstarted
        self._intake = intake
        self._gate = gate
        self._model_log = ModelLog(entry.queue_name, gate, clock)
        self._suspects = Suspects(entry, intake, clock)
        self._clock = clock
        self._tracer = tracer
        self._patience = entry.max_pause + PATIENCE  # seconds after its first refusal, in which a message is held
        queue = entry.queue_name
        metrics.begin(queue)
        self._consumed = metrics.consumed.labels(queue)
        self._foreign = metrics.foreign_copies.labels(queue)
        self._redelivered = metrics.redelivered
        self._count_call = CallCounts(queue, metrics, clock).count
        self._in_work = InWork(queue, intake, settlement)
        metrics.deliveries_in_flight.labels(queue).set_function(lambda: len(self._in_work))

    def serve(self, delivery: Delivery) -> bool:
        """Begin to serve a delivery, and return True at once; False if there is no room for it."""
        task = Task(delivery, self._retry.history(delivery), rquid_of(delivery.message.headers))
        if delivery.redelivered and self._is_known(task):
            self._consumed.inc()
            return True
        if not self._intake.take(task):
            return False
        self._consumed.inc()
        if self._tracer is not None:
            begin_process(self._tracer, task)
        self._in_work.begin(task, self._decide)
        return True

    def idle(self) -> Deferred[None]:
        """A Deferred that fires when no delivery is being served."""
        return self._in_work.empty()

    def abandon(self) -> None:
        """Stop serving. Deliveries in flight stay unacknowledged, so the broker delivers them again."""
        self._in_work.cancel()

    def _is_known(self, task: Task) -> bool:
        """Adopt or acknowledge a redelivery of a message that this process knows; False if it does not know it."""
        running = self._in_work.same_as(task)
        if running is not None and running.delivery.is_lost:
            running.delivery = task.delivery
            came_back(running)
            self._redelivered.labels(self._entry.queue_name, "running").inc()
            return True
        if self._settlement.is_settled(task):
            self._redelivered.labels(self._entry.queue_name, "settled").inc()
            self._settlement.done(task)
            return True
        self._redelivered.labels(self._entry.queue_name, "unknown").inc()
        return False

    def _decide(self, task: Task) -> Coroutine[Any, Any, None] | None:
        """Begin what is to be done with a message: an awaitable, or None if it is done already."""
        message = task.message
        work: Coroutine[Any, Any, None] | None = None
        if self._retry.is_foreign(task.delivery):
            self._foreign.inc()
            self._settlement.done(task)
        elif task.results is not None and not (
            task.results == self._replies.results or self._replies.allow(task.results)
        ):
            work = self._settlement.park(task, "reply-to")
        elif self._unstarted.is_unwanted(task):
            work = self._unstarted.drop(task)
        elif not self._replies.allow(message.reply_to):
            work = self._settlement.park(task, "reply-to")
        elif len(message.body) > self._max_body_bytes:
            too_large = BodyTooLarge(f"The message is larger than {self._max_body_bytes} bytes (MAX_BODY_BYTES).")
            work = self._after_call.ended(task, too_large, "too-large")
        elif task.delivery.redelivered and self._suspects.is_to_be_counted(task):
            if task.history.redeliveries >= DELIVERY_LIMIT:
                error = GatewayError(f"The message came back unacknowledged more than {DELIVERY_LIMIT} times.")
                work = self._settlement.park(task, "redelivered", error_reply(task, error, "redelivered"))
            else:
                work = self._suspects.count(task, self._settlement.renew, self._run, self._give_back)
        elif self._suspects.returns(task):
            work = self._run_returned(task)
        else:
            work = self._run(task)
        return work

    async def _run_returned(self, task: Task) -> None:
        """Serve a message that came back unacknowledged."""
        await self._settlement.when_renewed(task)
        await self._suspects.run(task, self._run, self._give_back)

    async def _run(self, task: Task) -> None:
        """Call the model when the gate lets it, and settle the message."""
        refusals, first = 0, 0.0
        turn = self._gate.enter()
        if turn is not None and task.history.held:
            task.refused(self._clock.seconds())  # before, in another stay; it waits for the same model
        while turn is None or await turn:
            if turn is not None and not await self._is_still_wanted(task):
                return
            started = self._clock.seconds()
            first = first if refusals else started
            if task.history.attempt == 1:
                task.waited = self._expiry.waited(task.message)
            try:
                response = await self._model.call(
                    task.message,
                    task.rquid,
                    self._timeout,
                    self._intake.for_response(task),
                    may_repeat=self._entry.dle,
                )
            except ModelFailure as failure:
                self._count_call(task.span, failure.reason, self._clock.seconds() - started)
                if not self._holds(task, failure, refusals):
                    await self._after_call.failed(task, failure)
                    return
                # A model that cannot be reached has not refused it: that makes no message peculiar.
                refusals = 1 if isinstance(failure, ModelUnreachable) else refusals + 1
            except Unsendable as error:
                self._gate.unused()
                await self._after_call.ended(task, error, error.reason)
                return
            except BaseException:
                self._gate.unused()
                self._count_call(task.span, "unfinished", self._clock.seconds() - started)
                raise
            else:
                seconds = self._clock.seconds() - started
                self._gate.succeeded(seconds)
                if self._model_log.is_away:
                    self._model_log.is_back()
                self._count_call(task.span, "ok" if response.status < 300 else "rejected", seconds)
                await self._after_call.succeeded(task, response)
                return
            if self._clock.seconds() - first >= self._patience:
                break
            turn = self._gate.enter(refusals=refusals)
        await self._give_back(task)

    async def _is_still_wanted(self, task: Task) -> bool:
        """True if a message that waited is still to be served; else its turn is over, and it is settled."""
        if task.delivery.is_lost:
            self._gate.unused()
            raise DeliveryLost
        if self._unstarted.is_unwanted(task):
            self._gate.unused()
            if (work := self._unstarted.drop(task)) is not None:
                await work
            return False
        return True

    def _holds(self, task: Task, failure: ModelFailure, refusals: int) -> bool:
        """Tell the gate how a call failed. True if the message is held, without using up an attempt."""
        before, now = self._gate.state, self._clock.seconds()
        if isinstance(failure, ModelUnreachable):
            self._gate.unreachable()
            task.is_away(now)
            self._model_log.refused(failure, before)
            return True
        if not isinstance(failure, ModelBusy):
            self._gate.failed()
            return False
        self._gate.busy(failure.wait, refusals)
        self._model_log.refused(failure, before)
        task.refused(now)
        return task.held(now) < 1000 * self._entry.busy_timeout

    async def _give_back(self, task: Task) -> None:
        """Let the broker deliver a message again, uncounted if its queue takes a copy."""
        if task.delivery.is_lost:
            raise DeliveryLost
        held = task.held(self._clock.seconds())
        if not await self._settlement.give_back(task, held=held, redeliveries=self._suspects.returns(task)):
            self._intake.reject(task)
