"""The trace context that travels in headers (W3C Trace Context). Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
#: Version, trace id, parent id, flags. A later version may say more (Trace Context, 3.2.2).
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_SAMPLED = 1
#: Characters of a ``tracestate`` that is passed on. Longer ones may be dropped (Trace Context, 3.3.1.5).
_MAX_STATE = 512
#: What it consists of: printable ASCII, and blanks and tabs between members.
_STATE = re.compile(r"[\t\x20-\x7e]*")


class TraceContext(NamedTuple):
    """A span as others see it.

    Attributes:
        trace_id: 32 hexadecimal digits, the same for all spans of a trace.
        span_id: 16 hexadecimal digits.
        is_sampled: True if the span is recorded.
        state: ``tracestate``: what other tracing systems pass on.
    """

    trace_id: str
    span_id: str
    is_sampled: bool
    state: str = ""

    def headers(self) -> dict[str, str]:
        """The headers that tell it."""
        told = {TRACEPARENT: f"00-{self.trace_id}-{self.span_id}-{'01' if self.is_sampled else '00'}"}
        if self.state:
            told[TRACESTATE] = self.state
        return told


def parse_context(traceparent: object, tracestate: object = "") -> TraceContext | None:
    """Read a trace context from the values of its headers.

    Args:
        traceparent: of whatever type, from whomever.
        tracestate: likewise; left out if it is malformed.

    Returns:
        None if ``traceparent`` is malformed: then a new trace begins (Trace Context, 3.2.2.3 and 4.3).
    """
    found = _TRACEPARENT.fullmatch(traceparent) if isinstance(traceparent, str) else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or trace_id == _NO_TRACE or span_id == _NO_SPAN or (more and version == "00"):
        return None
    state = tracestate if isinstance(tracestate, str) and _STATE.fullmatch(tracestate) else ""
    is_sampled = bool(int(flags, 16) & _SAMPLED)
    return TraceContext(trace_id, span_id, is_sampled, state if len(state) <= _MAX_STATE else "")


def context_of(headers: Mapping[Any, Any]) -> TraceContext | None:
    """The trace context in the headers of a message; None without one."""
    traceparent = headers.get(TRACEPARENT)
    if traceparent is not None:
        return parse_context(traceparent, headers.get(TRACESTATE, ""))
    named = {name.lower(): value for name, value in headers.items() if isinstance(name, str) and is_of_trace(name)}
    return parse_context(named.get(TRACEPARENT), named.get(TRACESTATE, ""))


def is_of_trace(name: str) -> bool:
    """True if a header of this name, in whatever case, carries a trace context."""
    return len(name) in (10, 11) and name.lower() in (TRACEPARENT, TRACESTATE)


def replaced(headers: Mapping[Any, Any], context: TraceContext) -> dict[Any, Any]:
    """Headers with another trace context."""
    others = {name: value for name, value in headers.items() if not (isinstance(name, str) and is_of_trace(name))}
    return others | context.headers()
