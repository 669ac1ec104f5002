"""Spans that a test looks at, as a collector sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from devtools.otlp_receiver import ReceivedSpan, decode, tree
from provider_gateway.tracing.otlp import RequestEncoder, encode_span
from provider_gateway.tracing.sampling import Sampling
from provider_gateway.tracing.tracer import Tracer

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.tracing.span import Span

#: The context of a caller's span, without its flags.
CALLERS = f"00-{'a' * 32}-{'b' * 16}-"


class KeptSpans:
    """Stands for the exporter, and keeps the spans that have ended."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []

    def add(self, span: Span) -> None:
        """Take a span."""
        self.spans += decode(RequestEncoder({"service.name": "test"}).encode([encode_span(span)]))

    def close(self) -> Deferred[None]:
        """Nothing waits."""
        return succeed(None)

    def stop(self) -> None:
        """Nothing is under way."""

    def names(self) -> list[str]:
        """The spans as a tree: depth, kind and name."""
        return [line.partition("  [")[0] for line in tree(self.spans).split("\n")]

    def tracer(self, clock: Any, wall_clock: Callable[[], float], sampler: Any = "parentbased_always_on") -> Tracer:
        """A tracer whose spans are kept."""
        exporter: Any = self
        return Tracer(Sampling(sampler, 1), exporter, clock, wall_clock)


class TracedTestCase(SynchronousTestCase):
    """A part of test cases in whose clock spans begin and end. Its ``setUp`` comes before that of the other part.

    Attributes:
        clock: the other part makes it.
        kept: the spans that have ended.
    """

    clock: Any

    def setUp(self) -> None:
        self.kept = KeptSpans()
        clock: Any = self  # of the test case, which makes it later
        self.tracer = self.kept.tracer(clock, self.seconds)
        super().setUp()

    def seconds(self) -> float:
        return float(self.clock.seconds())
