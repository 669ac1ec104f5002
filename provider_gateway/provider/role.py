"""The provider role, put together from its parts: the messages of every queue become model calls.

A role prepares each new AMQP session, says what it waits for, and drains.
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from provider_gateway.amqp.consumer import Consumer
from provider_gateway.amqp.declare import declare
from provider_gateway.provider.cancellations import Cancellations
from provider_gateway.provider.expiry import Expiry
from provider_gateway.provider.intake import Intake
from provider_gateway.provider.model_gate import ModelGate, State
from provider_gateway.provider.models import Models
from provider_gateway.provider.provider import Provider
from provider_gateway.provider.reliable_publisher import ReliablePublisher
from provider_gateway.provider.reply_route import ReplyRoute
from provider_gateway.provider.retry_route import RetryRoute
from provider_gateway.provider.room import Room
from provider_gateway.provider.settlement import Settlement
from provider_gateway.provider.traces import TracedModel
from provider_gateway.provider.unstarted import Unstarted
from provider_gateway.topology.reply_addresses import ReplyAddresses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.amqp.session import Session
    from provider_gateway.clocks import WallClock
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Settings
    from provider_gateway.model.interface import AsksReadiness
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.security.model_credentials import ModelCredentials
    from provider_gateway.security.tls import ClientTLS
    from provider_gateway.tracing.tracer import Tracer


#: What metrics and ``/health/ready`` say of a model.
_NUMBERS = {State.READY: 0, State.BUSY: 1, State.AWAY: 2, State.PROBING: 2}
_WORDS = {State.BUSY: "is busy", State.AWAY: "is away", State.PROBING: "is away"}
#: Seconds after which a late reply does not go to its caller's queue. Before, it tells the gateway how long calls take.
_LATE_AFTER = 60.0
#: A delay is shortened by up to this part of it.
_JITTER = 0.25


def _jittered(seconds: float) -> float:
    """A delay, shortened at random: replicas that began to wait at the same time do not end it together."""
    return random.uniform(1 - _JITTER, 1) * seconds  # noqa: S311 - no secret


def _ask(readiness: AsksReadiness) -> Deferred[bool]:
    return Deferred.fromCoroutine(readiness.is_ready())


def _show(gate: ModelGate, queue: str, metrics: Metrics) -> None:
    """Show a gate's state in the metrics. It is asked when somebody looks: no call spends time on it."""
    metrics.model_state.labels(queue).set_function(lambda: _NUMBERS[gate.state])
    metrics.model_concurrency.labels(queue).set_function(lambda: gate.concurrency)
    gate.on_pause = lambda reason: metrics.model_pauses.labels(queue, reason).inc()


class ProviderRole:
    """Messages of every queue of the queue file become model calls.

    Args:
        publisher: publishes replies and copies; another connection than the one that consumes.
        tls: TLS towards the model of ``MODEL_URL``.
        is_awaited: see :class:`.Expiry`.
        wall_clock: deadlines are compared with it.
        model_credentials: of entries with a model of their own, by queue.
        tracer: makes spans; None without traces.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        entries: Sequence[QueueEntry],
        *,
        publisher: Publisher,
        metrics: Metrics,
        tls: ClientTLS,
        is_awaited: Callable[[str], bool | None],
        wall_clock: WallClock,
        model_credentials: Mapping[str, ModelCredentials] | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._models = Models(
            reactor,
            settings,
            entries,
            tls=tls,
            credentials=model_credentials or {},
            metrics=metrics,
            wall_clock=wall_clock,
        )
        expiry = Expiry(is_awaited, reply_timeout=settings.reply_timeout, wall_clock=wall_clock, clock=reactor)
        late_after = min(_LATE_AFTER, settings.reply_queue_expires / 2)
        self._canceled: Cancellations | None = None
        if settings.follows_cancellations:
            self._canceled = Cancellations(entries, settings.instance, reactor)
        room = Room(settings.max_buffered_bytes)
        self._publisher = ReliablePublisher(publisher=publisher, clock=reactor)
        self._providers: list[Provider] = []
        self._consumers: list[Consumer] = []
        self._gates: dict[str, ModelGate] = {}
        for entry in entries:
            connected = self._models.of(entry)
            gate = self._gates[entry.queue_name] = ModelGate(
                prefetch=entry.prefetch,
                min_concurrency=entry.min_concurrency,
                max_pause=entry.max_pause,
                is_adaptive=entry.concurrency == "adaptive",
                clock=reactor,
                jitter=_jittered,
                is_ready=None if connected.readiness is None else partial(_ask, connected.readiness),
            )
            _show(gate, entry.queue_name, metrics)
            intake = Intake(entry, room, gate)
            settlement = Settlement(
                entry,
                self._publisher,
                ReplyRoute(entry, self._publisher, expiry, late_after=late_after),
                metrics,
                wall_clock=wall_clock,
            )
            provider = Provider(
                entry,
                model=connected.model if tracer is None else TracedModel(connected.model, connected.where),
                timeout=entry.timeout if entry.timeout is not None else settings.model_timeout,
                max_body_bytes=settings.max_body_bytes,
                retry=RetryRoute(entry, entries),
                settlement=settlement,
                replies=ReplyAddresses(entry, entries),
                expiry=expiry,
                unstarted=Unstarted(
                    entry,
                    settlement=settlement,
                    expiry=expiry,
                    canceled=self._canceled.ids if self._canceled is not None else frozenset(),
                    metrics=metrics,
                ),
                intake=intake,
                gate=gate,
                clock=reactor,
                metrics=metrics,
                tracer=tracer,
            )
            self._providers.append(provider)
            consumer = Consumer(
                entry.queue_name,
                prefetch=entry.prefetch,
                declare=partial(declare, entries=[entry]),
                deliver=provider.serve,
                clock=reactor,
            )
            intake.consume = consumer.consume_with
            self._consumers.append(consumer)

    @property
    def consumers(self) -> int:
        """How many channels the queues take that are consumed."""
        return len(self._consumers) + (self._canceled.channels if self._canceled is not None else 0)

    async def open(self, session: Session) -> None:
        """Consume every queue on a new session."""
        if self._canceled is not None:
            await self._canceled.open(session)  # first: what was canceled meanwhile is not to be started
        for consumer in self._consumers:
            await consumer.open(session)

    def waiting_for(self) -> list[str]:
        """What keeps this role from being ready."""
        missing = [f"consumer of {c.queue}" for c in self._consumers if not c.is_registered]
        return missing + [f"queue {name}" for name in self._publisher.waiting_for()]

    def degraded(self) -> list[str]:
        """The models that take no calls, or few, for now. Another replica would not be better off."""
        return [f"model of {queue} {_WORDS[gate.state]}" for queue, gate in self._gates.items() if gate.state in _WORDS]

    async def cancel_consumers(self) -> None:
        """Stop deliveries; those in flight go on, and those that wait for the model are given back."""
        for consumer in self._consumers:
            await consumer.cancel()
        for gate in self._gates.values():
            gate.stop()

    async def idle(self) -> None:
        """Return when no delivery is being served."""
        for provider in self._providers:
            await provider.idle()

    def abandon(self) -> None:
        """Stop serving. Deliveries in flight stay unacknowledged, so the broker delivers them again."""
        for provider in self._providers:
            provider.abandon()
        self._models.close()
