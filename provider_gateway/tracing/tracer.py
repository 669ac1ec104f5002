"""Makes the spans of a process. They are handed on explicitly: context variables do not follow Deferreds."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from provider_gateway.tracing.context import TraceContext
from provider_gateway.tracing.otlp import encode_span
from provider_gateway.tracing.span import Kind, Span

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.clocks import WallClock
    from provider_gateway.tracing.exporter import Exporter
    from provider_gateway.tracing.sampling import Sampling


class Tracer:
    """Makes spans, and hands them to the exporter when they end.

    Args:
        sampling: decides which traces are recorded.
        exporter: takes the spans that have ended.
        clock: measures how long a span takes.
        wall_clock: dates its begin.
    """

    def __init__(self, sampling: Sampling, exporter: Exporter, clock: IReactorTime, wall_clock: WallClock) -> None:
        self._sampling = sampling
        self._exporter = exporter
        self._clock = clock
        self._wall_clock = wall_clock

    def entered(self, kind: Kind, name: str, parent: TraceContext | None) -> Span:
        """Begin the first span of a trace in this process.

        Args:
            parent: of the header; None begins a new trace.
        """
        trace_id = parent.trace_id if parent is not None else f"{random.getrandbits(128) or 1:032x}"
        is_sampled = self._sampling.records(trace_id, parent)
        return self._begin(kind, name, trace_id, parent, is_sampled=is_sampled, is_remote=parent is not None)

    def within(self, parent: Span, kind: Kind, name: str) -> Span:
        """Begin a span that is a part of another one of this process."""
        context = parent.context
        return self._begin(kind, name, context.trace_id, context, is_sampled=context.is_sampled, is_remote=False)

    def _begin(
        self,
        kind: Kind,
        name: str,
        trace_id: str,
        parent: TraceContext | None,
        *,
        is_sampled: bool,
        is_remote: bool,
    ) -> Span:
        span_id = f"{random.getrandbits(64) or 1:016x}"
        context = TraceContext(trace_id, span_id, is_sampled, parent.state if parent is not None else "")
        return Span(
            context,
            parent,
            is_remote=is_remote,
            kind=kind,
            name=name,
            began=int(1e9 * self._wall_clock()),
            since=self._clock.seconds(),
            on_end=self._ended,
        )

    def _ended(self, span: Span) -> None:
        # Not by the wall clock: it may have been set since the begin.
        span.ended = span.began + int(1e9 * (self._clock.seconds() - span.since))
        if span.context.is_sampled:
            self._exporter.add(encode_span(span))
