"""A span: one step of a request, from its begin to its end."""

from __future__ import annotations

import random
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from provider_gateway.tracing.context import TraceContext
    from provider_gateway.tracing.otlp import SpanTemplate

_bits = random.getrandbits
_new = object.__new__


def fresh_id(size: int) -> str:
    """The hexadecimal digits of a new id; not zero (Trace Context, 3.2.2.3)."""
    return (_bits(8 * size) or 1).to_bytes(size, "big").hex()


class Kind(IntEnum):
    """Which side of which call a span is; the numbers are OTLP's (opentelemetry-proto, ``Span.SpanKind``)."""

    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class Records(Protocol):
    """Takes spans that have ended; :class:`.Tracer` does."""

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        ...

    def add(self, span: Span, /) -> object:
        """Take a span."""
        ...


class Span:
    """One step of a request, which is recorded.

    Args:
        records: takes it when it has ended.
        trace_id: 32 hexadecimal digits.
        parent_id: of the step that it is a part of; empty for the first of a trace.
        remote: that step, if a header told of it.
        since: seconds of the monotonic clock at the begin.
        ahead: seconds by which the wall clock is ahead of it. A wall clock that is set meanwhile changes no duration.
        state: ``tracestate``: what other tracing systems pass on.
        template: what it shares with others; None until it is known.
        values: of the attributes that the template names: text, whole numbers or booleans; None is no value.

    Attributes:
        id: 8 bytes.
        until: seconds of the monotonic clock at the end; None before.
        error, error_type: what went wrong; None if nothing did.
    """

    __slots__ = (
        *("_records", "ahead", "error", "error_type", "id", "parent_id", "remote", "since", "state", "template"),
        *("trace_id", "until", "values"),
    )
    is_sampled = True

    def __init__(
        self,
        records: Records,
        trace_id: str,
        parent_id: bytes,
        remote: TraceContext | None,
        since: float,
        ahead: float,
        state: str,
        template: SpanTemplate | None,
        values: tuple[Any, ...],
    ) -> None:
        self._records = records
        self.trace_id = trace_id
        self.id = (_bits(64) or 1).to_bytes(8, "big")
        self.parent_id = parent_id
        self.remote = remote
        self.since = since
        self.ahead = ahead
        self.state = state
        self.template = template
        self.values = values
        self.until: float | None = None
        self.error: str | None = None

    def begin(self, template: SpanTemplate, values: tuple[Any, ...] = ()) -> Span:
        """Begin a span that is a part of this one."""
        # Four of five spans begin here. ``__init__`` would be another call, and one with nine arguments.
        span = _new(Span)
        span._records = records = self._records
        span.trace_id = self.trace_id
        span.id = (_bits(64) or 1).to_bytes(8, "big")
        span.parent_id = self.id
        span.remote = span.until = span.error = None
        span.since = records.now()
        span.ahead = self.ahead
        span.state = self.state
        span.template = template
        span.values = values
        return span

    @property
    def traceparent(self) -> str:
        """The header that tells others of it."""
        return f"00-{self.trace_id}-{self.id.hex()}-01"

    @property
    def exemplar(self) -> dict[str, str]:
        """What a histogram tells of it beside a value (OpenMetrics)."""
        return {"trace_id": self.trace_id, "span_id": self.id.hex()}

    def fail(self, error: str, error_type: str) -> None:
        """Note what went wrong.

        Args:
            error_type: of few different ones (``error.type``).
        """
        self.error = error
        self.error_type = error_type

    def end(self) -> None:
        """End it now. Only the first end counts."""
        if self.until is None:
            records = self._records
            self.until = records.now()
            records.add(self)

    def publish_ended(self, error: BaseException | None) -> None:
        """End it with the outcome of a publish."""
        if self.until is None:
            if error is not None:
                self.fail(str(error), getattr(error, "problem", type(error).__name__))
            records = self._records
            self.until = records.now()
            records.add(self)


class Unrecorded:
    """Stands for all spans of a trace in this process, if they are not recorded.

    Args:
        trace_id, state: see :class:`.Span`.
    """

    __slots__ = ("_traceparent", "state", "trace_id")
    is_sampled = False

    def __init__(self, trace_id: str, state: str) -> None:
        self.trace_id = trace_id
        self.state = state
        self._traceparent = ""

    @property
    def traceparent(self) -> str:
        """The header that tells others of it, and that it is not recorded."""
        if not self._traceparent:
            self._traceparent = f"00-{self.trace_id}-{fresh_id(8)}-00"
        return self._traceparent

    @property
    def exemplar(self) -> None:
        """None: nobody would find it."""

    def end(self) -> None:
        """See :meth:`.Span.end`."""


AnySpan: TypeAlias = "Span | Unrecorded"
