"""Serves the queue of webhooks: tries each at its endpoint, and has those that failed wait for the next try."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from provider_gateway.deferreds import InFlight
from provider_gateway.message.copies import Copy, History
from provider_gateway.tracing.consumed import begin_call, begin_processing, end_call
from provider_gateway.tracing.context import context_headers
from provider_gateway.webhooks.endpoint_client import Answer, Result
from provider_gateway.webhooks.event import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.consumer import Delivery
    from provider_gateway.clocks import WallClock
    from provider_gateway.message.message import Message
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.security.webhook_endpoints import Endpoint
    from provider_gateway.topology.webhook_queues import WebhookQueues
    from provider_gateway.tracing.span import AnySpan
    from provider_gateway.tracing.tracer import Tracer
    from provider_gateway.webhooks.mover import Mover
    from provider_gateway.webhooks.tries import Line, Tries

#: How often a try is put off for the shorter time.
_SHORTLY = 3


def _copy(delivery: Delivery) -> Copy:
    """A copy of a message that is no webhook of ours."""
    return Copy.of(delivery.message, delivery.queue, History(), "malformed")


class Dispatcher:
    """Serves deliveries. Each is acknowledged when its webhook is delivered, or confirmed in another queue.

    Args:
        endpoint_now: see :meth:`.AccessRules.endpoint_now`.
        clock: measures calls.
        wall_clock: tells when a webhook was parked.
        tracer: makes spans; None without traces.
    """

    _log = Logger()

    def __init__(
        self,
        queues: WebhookQueues,
        *,
        endpoint_now: Callable[[str], Endpoint | None],
        tries: Tries,
        mover: Mover,
        metrics: Metrics,
        clock: IReactorTime,
        wall_clock: WallClock,
        tracer: Tracer | None = None,
    ) -> None:
        self._queues = queues
        self._tracer = tracer
        self._wall_clock = wall_clock
        self._endpoint_now = endpoint_now
        self._tries = tries
        self._mover = mover
        self._metrics = metrics
        self._clock = clock
        self._is_draining = False
        self._running = InFlight(lambda f: self._log.failure("A webhook could not be served", f))
        for result in (*Result, "unknown", "put-off"):
            metrics.webhooks.labels(result)
        for reason in ("failed", "gone", "malformed"):
            # Create the series at 0: Prometheus' increase() ignores a series that starts at 1.
            metrics.webhooks_parked.labels(reason)

    def deliver(self, delivery: Delivery) -> None:
        """Serve a delivery of the work queue."""
        serving = self._serve(delivery)
        if self._tracer is not None:
            serving = self._serve_traced(delivery, serving, self._tracer)
        self._running.start(serving)

    def drain(self) -> None:
        """Begin no further call. The broker delivers again what waits for one."""
        self._is_draining = True

    def cancel(self) -> None:
        """End all calls. The broker delivers their webhooks again."""
        self._running.cancel()

    async def _serve_traced(self, delivery: Delivery, serving: Coroutine[Any, Any, None], tracer: Tracer) -> None:
        message = delivery.message
        message.span = begin_processing(tracer, message, delivery.queue, delivery.routing_key)
        try:
            await serving
        finally:
            message.span.end()

    async def _serve(self, delivery: Delivery) -> None:
        try:
            event = Event.told_by(delivery.message)
        except ValueError as error:
            self._log.error("{queue}: parked: {reason}", queue=delivery.queue, reason=str(error))
            await self._park(delivery, partial(_copy, delivery), "malformed")
            return
        endpoint = self._endpoint_now(event.webhook)
        if endpoint is None:
            self._metrics.webhooks.labels("unknown").inc()
            await self._try_later(delivery, event, "the access file does not register the endpoint any more", None)
            return
        line = self._tries.line(endpoint)
        if line.is_gone:
            await self._park_event(delivery, event, "gone", "the endpoint is switched off: it has answered 410")
        elif self._tries.enter(line):
            await self._try_in_line(delivery, event, endpoint, line)
        else:
            await self._put_off(delivery, event, line)

    async def _try_in_line(self, delivery: Delivery, event: Event, endpoint: Endpoint, line: Line) -> None:
        try:
            await line.calls.acquire()
            try:
                if delivery.is_lost or self._is_draining:
                    return
                is_current = self._endpoint_now(event.webhook) is endpoint and not line.is_gone
                answer = await self._try(event, endpoint, line, delivery.message.span) if is_current else None
            finally:
                line.calls.release()
        finally:
            self._tries.leave(line)
        if answer is None:
            await self._serve(delivery)  # the access file was loaded again, or the endpoint switched off
        elif answer.result is Result.DELIVERED:
            delivery.ack()
        elif answer.result is Result.GONE:
            await self._park_event(delivery, event, "gone", answer.reason)
        else:
            await self._try_later(delivery, event, answer.reason, answer.wait)

    async def _try(self, event: Event, endpoint: Endpoint, line: Line, parent: AnySpan | None) -> Answer:
        began = self._clock.seconds()
        call = None
        if parent is not None:
            call = begin_call(parent, str(endpoint.url))
            event = replace(event, told=context_headers(call))
        try:
            answer = await line.client.call(event)
        except CancelledError:
            if call is not None:
                end_call(call, None, "The call was not finished.", "CancelledError")
            raise
        except Exception:  # noqa: BLE001 - whatever a call raises, the webhook must be tried again
            self._log.failure("A webhook endpoint could not be called")
            answer = Answer(Result.CONNECTION, "the call broke, see the log")
        self._metrics.webhooks.labels(answer.result).inc()
        self._metrics.webhook_seconds.observe(self._clock.seconds() - began)
        is_failing = answer.result is not Result.DELIVERED
        if call is not None:
            end_call(call, answer.status, answer.reason, answer.result if is_failing else None)
        fields = {"webhook": event.webhook, "url": str(endpoint.url), "reason": answer.reason}
        if answer.result is Result.GONE:
            if not line.is_gone:
                self._log.error(
                    "The webhook endpoint {webhook} ({url}) is switched off until the access file or its files change: "
                    "{reason}",
                    **fields,
                )
            line.is_gone = True
        elif is_failing and not line.is_failing:
            self._log.warn("The webhook endpoint {webhook} ({url}) fails: {reason}", **fields)
        elif line.is_failing and not is_failing:
            self._log.info("The webhook endpoint {webhook} ({url}) takes webhooks again", **fields)
        line.is_failing = is_failing
        return answer

    async def _try_later(self, delivery: Delivery, event: Event, reason: str, wait: float | None) -> None:
        """Have a webhook wait for the next try, for as long as its turn is, and as the endpoint asks for."""
        tiers = self._queues.tiers
        if event.attempt > len(tiers):
            await self._park_event(delivery, event, "failed", f"{event.attempt} tries; the last one: {reason}")
            return
        least = 0.0 if wait is None else wait
        fitting = (queue for seconds, queue in tiers[event.attempt - 1 :] if seconds >= least)
        queue = next(fitting, tiers[-1][1])
        self._log.debug(
            "A webhook of {request} waits in {queue} for another try: {reason}",
            request=event.request,
            queue=queue.name,
            reason=reason,
        )
        await self._move(delivery, event.next_try().message, queue.name)

    async def _put_off(self, delivery: Delivery, event: Event, line: Line) -> None:
        """Have a webhook wait without a try: its endpoint has enough to do."""
        self._metrics.webhooks.labels("put-off").inc()
        tier = (event.put_off >= _SHORTLY) + line.is_failing
        await self._move(delivery, event.later().message, self._queues.tiers[tier][1].name)

    async def _park_event(self, delivery: Delivery, event: Event, reason: str, why: str) -> None:
        self._log.error(
            "A webhook is parked: {webhook} was not told of {request}: {reason}",
            webhook=event.webhook,
            request=event.request,
            reason=why,
        )
        await self._park(delivery, partial(event.parked, reason, self._wall_clock()), reason)

    async def _park(self, delivery: Delivery, make: Callable[[], Message], reason: str) -> None:
        if await self._move(delivery, make, self._queues.parking.name):
            self._metrics.webhooks_parked.labels(reason).inc()

    async def _move(self, delivery: Delivery, make: Callable[[], Message], queue: str) -> bool:
        moved = await self._mover.put(make, queue, lambda: not delivery.is_lost, span=delivery.message.span)
        return moved and delivery.ack()
