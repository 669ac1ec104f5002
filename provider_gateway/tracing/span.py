"""A span: one step of a request, from its begin to its end."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.tracing.context import TraceContext


class Kind(IntEnum):
    """Which side of which call a span is; the numbers are OTLP's (opentelemetry-proto, ``Span.SpanKind``)."""

    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class Span:
    """One step of a request.

    Args:
        context: how others know it.
        parent: the step that it is a part of; None for the first of a trace.
        is_remote: the parent was told by a header.
        kind: which side of which call.
        name: few different ones: no ids.
        began: nanoseconds since 1970.
        since: seconds of the monotonic clock at the begin.
        on_end: called once, with the span; sets :attr:`ended`.

    Attributes:
        attributes: by the semantic conventions, text, whole numbers or booleans; of use only if it is sampled.
        fixed: more of them, encoded: those that many spans have.
        ended: nanoseconds since 1970; None before the end.
        error: what went wrong; None if nothing did.
    """

    __slots__ = (
        *("_on_end", "attributes", "began", "context", "ended", "error", "fixed"),
        *("is_remote", "kind", "name", "parent", "since"),
    )

    def __init__(
        self,
        context: TraceContext,
        parent: TraceContext | None,
        *,
        is_remote: bool,
        kind: Kind,
        name: str,
        began: int,
        since: float,
        on_end: Callable[[Span], object],
    ) -> None:
        self.context = context
        self.parent = parent
        self.is_remote = is_remote
        self.kind = kind
        self.name = name
        self.attributes: dict[str, Any] = {}
        self.fixed = b""
        self.began = began
        self.since = since
        self.ended: int | None = None
        self.error: str | None = None
        self._on_end = on_end

    @property
    def trace_id(self) -> str:
        """Of the trace that it belongs to, for log lines and problem documents."""
        return self.context.trace_id

    @property
    def is_sampled(self) -> bool:
        """True if it is recorded: only then its attributes matter."""
        return self.context.is_sampled

    @property
    def exemplar(self) -> dict[str, str] | None:
        """What a histogram tells of it beside a value (OpenMetrics); None if it is not recorded."""
        return {"trace_id": self.context.trace_id, "span_id": self.context.span_id} if self.context.is_sampled else None

    def fail(self, error: str, error_type: str) -> None:
        """Note what went wrong.

        Args:
            error_type: of few different ones (``error.type``).
        """
        self.error = error
        self.attributes["error.type"] = error_type

    def end(self) -> None:
        """End it now. Only the first end counts."""
        if self.ended is None:
            self._on_end(self)

    def publish_ended(self, result: Any) -> Any:
        """End it with the outcome of a publish: a callback and errback of the Deferred of the confirm."""
        error = getattr(result, "value", None)
        if error is not None and self.ended is None:
            self.fail(str(error), getattr(error, "problem", type(error).__name__))
        self.end()
        return result
