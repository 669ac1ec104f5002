"""Counts the calls of the model of one queue, and how long they take."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

from provider_gateway.observability.metrics import MODEL_BUCKETS
from provider_gateway.tracing.exemplars import Exemplars

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.tracing.span import AnySpan


class CallCounts:
    """The metrics of these calls.

    Args:
        queue: its name.
        clock: measures the time between exemplars.
    """

    def __init__(self, queue: str, metrics: Metrics, clock: IReactorTime) -> None:
        self._seconds = metrics.model_request_seconds.labels(queue)
        # A look-up of labels costs 2 µs. There are few results.
        self._requests = cache(partial(metrics.model_requests.labels, queue))
        self._exemplars = Exemplars(MODEL_BUCKETS, clock)

    def count(self, span: AnySpan | None, result: str, seconds: float) -> None:
        """Count a call.

        Args:
            span: of its message; None without traces.
        """
        exemplar = None if span is None or not span.is_sampled else self._exemplars.of(seconds, span)
        self._seconds.observe(seconds, exemplar)
        self._requests(result).inc()
