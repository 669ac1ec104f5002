"""Reads ``Retry-After``: for how long a model that is busy asks to be left alone (RFC 9110, 10.2.3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from werkzeug.http import parse_date

from provider_gateway.config.queue_file import MAX_SECONDS
from provider_gateway.message.http_headers import text_of

if TYPE_CHECKING:
    from twisted.web.http_headers import Headers

    from provider_gateway.clocks import WallClock

_SECONDS = re.compile(r"[0-9]+")


def retry_after(headers: Headers, wall_clock: WallClock) -> float | None:
    """The seconds to wait by a response's ``Retry-After``: a number of seconds, or a date.

    A date is compared with the response's own ``Date``: the model's clock need not agree with ours.

    Args:
        headers: of the response. If a proxy has added a second value, the longer wait counts.
        wall_clock: stands in for ``Date`` where that is missing or malformed.

    Returns:
        From 0 to ``MAX_SECONDS``; None without the header, or if it is malformed.
    """
    values = headers.getRawHeaders(b"retry-after")
    if not values:
        return None
    waits = [
        wait for value in values if (wait := _seconds(text_of(value).strip(" \t"), headers, wall_clock)) is not None
    ]
    return min(max(waits), MAX_SECONDS) if waits else None


def _seconds(value: str, headers: Headers, wall_clock: WallClock) -> float | None:
    if _SECONDS.fullmatch(value):
        return float(value)  # not int(): Python refuses numbers of thousands of digits
    until = _timestamp(value)
    if until is None:
        return None
    now = _timestamp(text_of(headers.getRawHeaders(b"date", [b""])[0]).strip())
    return max(until - (wall_clock() if now is None else now), 0.0)


def _timestamp(value: str) -> float | None:
    """Seconds since 1970 for a date in one of HTTP's forms (RFC 9110, 5.6.7)."""
    date = parse_date(value)
    return None if date is None else date.timestamp()
