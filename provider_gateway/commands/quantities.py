"""Dates, durations, sizes and counts as people read them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

_STEPS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def date(seconds: float | None) -> str:
    """A date in UTC, in a form that ``--since`` takes; empty for None.

    Args:
        seconds: since 1970. A date out of the calendar's range is told as the number.
    """
    if seconds is None:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g}"


def age(then: float | None, now: float) -> str:
    """How long ago something was, in one or two units, such as ``2h 5min``; empty for None."""
    if then is None:
        return ""
    left = int(now - then)
    if left < 1:
        return "now"
    for place, (unit, name) in enumerate(_STEPS):
        count, rest = divmod(left, unit)
        if count:
            finer, finer_name = _STEPS[min(place + 1, len(_STEPS) - 1)]
            more = f" {rest // finer}{finer_name}" if finer < unit and rest // finer and count < 10 else ""
            return f"{count}{name}{more}"
    return "now"


def size(count: int) -> str:
    """Bytes in the unit that fits, such as ``2.0 KiB``."""
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 1023.95 or unit == "GiB":
            break
    return f"{value:.1f} {unit}"


def messages(count: int) -> str:
    """``1 message``, ``4,012 messages``."""
    return f"{count:,} message{'' if count == 1 else 's'}"
