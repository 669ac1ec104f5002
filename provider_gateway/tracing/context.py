"""The trace context that travels in headers (W3C Trace Context). Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
#: Version, trace id, parent id, flags. A later version may say more (Trace Context, 3.2.2).
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_SAMPLED = 1
#: Characters of a ``tracestate`` that is passed on. Longer ones may be dropped (Trace Context, 3.3.1.5).
_MAX_STATE = 512
#: What it consists of: printable ASCII, and blanks and tabs between members.
_STATE = re.compile(r"[\t\x20-\x7e]*")
_new: Callable[[type[TraceContext], tuple[str, str, bool, str]], TraceContext] = tuple.__new__
#: Headers of a message whose names are looked up in a cache.
_FEW = 32


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

    @property
    def traceparent(self) -> str:
        """The header that tells it."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.is_sampled else '00'}"


class Told(Protocol):
    """What headers tell of a span; a :class:`TraceContext`, or a span of this process."""

    @property
    def traceparent(self) -> str:
        """The header of that name."""

    @property
    def state(self) -> str:
        """The header ``tracestate``; empty without one."""


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
    is_sampled = bool(int(flags, 16) & _SAMPLED)
    if tracestate != "" and not (
        isinstance(tracestate, str) and len(tracestate) <= _MAX_STATE and _STATE.fullmatch(tracestate)
    ):
        tracestate = ""
    # The class itself would call a function of its own, and that this one: twice the time.
    return _new(TraceContext, (trace_id, span_id, is_sampled, tracestate))


def context_of(headers: Mapping[Any, Any]) -> TraceContext | None:
    """The trace context in the headers of a message; None without one."""
    traceparent = headers.get(TRACEPARENT)
    if traceparent is not None:
        return parse_context(traceparent, headers.get(TRACESTATE, ""))
    names = tuple(headers)
    others = _known(names) if len(names) <= _FEW else _search(names)
    if not others:
        return None
    named = {name.lower(): headers[name] for name in others}
    return parse_context(named.get(TRACEPARENT), named.get(TRACESTATE, ""))


def _search(names: tuple[Any, ...]) -> tuple[str, ...]:
    """The names that carry a trace context, in whatever case, except ``traceparent`` as we write it."""
    return tuple(
        name
        for name in names
        if isinstance(name, str)
        and len(name) in (10, 11)
        and name != TRACEPARENT
        and name.lower() in (TRACEPARENT, TRACESTATE)
    )


#: Callers send the same few names again and again. What is remembered is bounded: a name has 255 bytes at most.
_known = lru_cache(256)(_search)


def context_headers(told: Told) -> dict[str, str]:
    """The headers that tell of a span."""
    if not told.state:
        return {TRACEPARENT: told.traceparent}
    return {TRACEPARENT: told.traceparent, TRACESTATE: told.state}


def replaced(headers: Mapping[Any, Any], told: Told) -> dict[Any, Any]:
    """Headers with another trace context."""
    names = tuple(headers)
    others = _known(names) if len(names) <= _FEW else _search(names)
    if others:
        headers = {name: headers[name] for name in headers if name not in others}
    if not told.state:
        return {**headers, TRACEPARENT: told.traceparent}
    return {**headers, TRACEPARENT: told.traceparent, TRACESTATE: told.state}
