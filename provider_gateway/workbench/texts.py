"""Values as the page writes them: times, sizes, rates, and texts of others, in which nothing is invisible. Pure."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provider_gateway.parking.jobs import JobDocument

#: What stands for a figure that is not known.
UNKNOWN = "–"
#: Characters of a text that a table shows.
_SHORT = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Times beyond which :mod:`datetime` has no date: up to the year 9999.
_LAST = 253_402_300_799.0
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))

#: What each reason for parking means, for somebody who has never seen it (docs/delivery.md).
REASONS = {
    "timeout": "The model did not answer in time, at each attempt.",
    "connection": "No connection to the model, or it broke, at each attempt.",
    "status": "The model answered with an error (5xx, or a redirect) at each attempt.",
    "body": "The model's response was too large, or cut off.",
    "busy": "The model was busy for longer than busyTimeout.",
    "rejected": "The model refused the message (4xx), and nobody waits for an answer.",
    "reply": "The answer could not be delivered: the queue for it is gone.",
    "refused": "The broker refused the answer, and the error in its place.",
    "content-encoding": "The content coding of the message is malformed.",
    "invalid-inference": "The body is no inference request, as this model's protocol has them.",
    "too-large": "The message is larger than MAX_BODY_BYTES.",
    "reply-to": "The message wants its answer in a queue that is not allowed.",
    "redelivered": "The message came back unacknowledged too often: it probably kills the process that works on it.",
    "internal": "A bug of this program; its log has the details.",
    "replayed": "It was sent again, and failed again.",
    "unknown": "The message does not say why it was parked; another program may have put it there.",
}


def visible(text: object, *, keeps_lines: bool = False) -> str:
    """A text of others in which each character can be seen, and none turns the direction of writing.

    Args:
        keeps_lines: leave line feeds and tabs as they are.
    """
    whole = str(text)
    if whole.isprintable():
        return whole
    if keeps_lines:
        return "\n".join("\t".join(map(visible, line.split("\t"))) for line in whole.split("\n"))
    return "".join(
        each if each.isprintable() or unicodedata.category(each) == "Zs" else _escaped(each) for each in whole
    )


def _escaped(character: str) -> str:
    return f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{{{ord(character):x}}}"


def short(text: object, most: int = _SHORT) -> str:
    """The beginning of a text of others, visible."""
    whole = str(text)
    return visible(whole[:most]) + ("…" if len(whole) > most else "")


def number(value: float | None) -> str:
    """A count, with thousands apart."""
    return UNKNOWN if value is None else f"{round(value):,}"


def count(value: int, one: str, many: str | None = None) -> str:
    """A count with its noun: "1 message", "2 messages"."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def rate(value: float | None) -> str:
    """A rate or another small figure: two digits that say something."""
    if value is None:
        return UNKNOWN
    if value >= 10 or value == 0:
        return f"{round(value):,}"
    return f"{value:.1f}" if value >= 0.1 else "< 0.1"


def duration(seconds: float | None) -> str:
    """A duration: "12 ms", "3.4 s", "5 min", "2 h", "3 d"."""
    if seconds is None:
        return UNKNOWN
    if seconds < 0.9995:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "1 min"


def age(then: float | None, now: float) -> str:
    """How long ago a time was."""
    if then is None:
        return UNKNOWN
    if now - then < 1:
        return "just now" if now - then > -60 else "in the future"
    return f"{duration(float(int(now - then)))} ago"


def times(value: int) -> str:
    """How often: "never", "once", "12 times"."""
    return {0: "never", 1: "once"}.get(value, f"{value:,} times")


def time(seconds: float | None) -> str:
    """A time, to the second, in UTC."""
    if seconds is None or not abs(seconds) < _LAST:
        return UNKNOWN
    try:
        when = _EPOCH + timedelta(seconds=int(seconds))
    except OverflowError:
        return UNKNOWN
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


def iso(seconds: float | None) -> str:
    """A time for a machine (RFC 3339); empty if there is none."""
    text = time(seconds)
    return "" if text == UNKNOWN else text.replace(" UTC", "Z").replace(" ", "T")


def size(value: int) -> str:
    """A number of bytes."""
    if value < 1024:
        return count(value, "byte")
    for unit, factor in (("KiB", 1024), ("MiB", 1024**2)):
        if value < factor * 1024:
            return f"{value / factor:.1f} {unit}"
    return f"{value / 1024**3:.1f} GiB"


def reason(name: str) -> str:
    """What a reason for parking means; empty for one that is not known."""
    return REASONS.get(name, "")


def preview(head: bytes) -> str:
    """The beginning of a body in one line; empty if it is no text."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3 or error.start == 0:  # else a character is cut
            return ""
        text = head[: error.start].decode("utf-8")
    return "" if "\0" in text else short(" ".join(text.split()), 160)


#: What the states of a job are called.
_STATES = {
    "counting": "Counting the messages",
    "running": "At work",
    "done": "Done",
    "canceled": "Stopped",
    "failed": "Failed",
}
_ACTIONS = {"replay": "Replay", "drop": "Drop", "export": "Export", "look": "Look"}


def title(job: JobDocument) -> str:
    """What a job does: "Replay of 12 messages"."""
    of = "" if job.total is None else f" of {count(job.total, 'message')}"
    return f"{_ACTIONS[job.action]}{of}{', only counted' if job.dry_run else ''}"


def progress(job: JobDocument) -> str:
    """How far a job is: "At work: 3 of 12 messages"."""
    if job.total is None or job.state == "counting":
        return _STATES[job.state]
    through = job.done + job.skipped + job.missing + job.failed
    return f"{_STATES[job.state]}: {through:,} of {count(job.total, 'message')}"
