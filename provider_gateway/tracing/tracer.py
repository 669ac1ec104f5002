"""Begins the spans of a process. They are handed on explicitly: context variables do not follow Deferreds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.tracing.span import Span, Unrecorded, fresh_id

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.clocks import WallClock
    from provider_gateway.tracing.context import TraceContext
    from provider_gateway.tracing.exporter import Exporter
    from provider_gateway.tracing.sampling import Sampling
    from provider_gateway.tracing.span import AnySpan


class Tracer:
    """Begins traces, and hands their spans to the exporter when they end.

    Args:
        sampling: decides which traces are recorded.
        exporter: takes the spans that have ended.
        clock: measures how long a span takes.
        wall_clock: dates its begin.

    Attributes:
        now, add: see :class:`.Records`.
    """

    def __init__(self, sampling: Sampling, exporter: Exporter, clock: IReactorTime, wall_clock: WallClock) -> None:
        # A call of `records` takes 2 µs, and mostly the parent decides, or everything is recorded.
        self._follows_parent, self._is_all, self._takes = sampling.follows_parent, sampling.is_all, sampling.takes
        self._wall_clock = wall_clock
        # Bound once: a span needs each of them.
        self.now = clock.seconds
        self.add = exporter.add

    def entered(self, parent: TraceContext | None) -> AnySpan:
        """Begin the first span of a trace in this process. Whoever begins it gives it a template.

        Args:
            parent: of the header; None begins a new trace.
        """
        if parent is None:
            trace_id, state = fresh_id(16), ""
            is_recorded = self._is_all or self._takes(trace_id)
        else:
            trace_id, state = parent.trace_id, parent.state
            is_recorded = parent.is_sampled if self._follows_parent else self._is_all or self._takes(trace_id)
        if not is_recorded:
            return Unrecorded(trace_id, state)
        since = self.now()
        ahead = self._wall_clock() - since
        parent_id = b"" if parent is None else bytes.fromhex(parent.span_id)
        return Span(self, trace_id, parent_id, parent, since, ahead, state, None, ())
