"""Parked messages and looks as people read them on a terminal. Pure."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import msgspec

from provider_gateway.commands.documents import header_value
from provider_gateway.commands.plain_text import plain, plain_lines
from provider_gateway.commands.quantities import age, date, messages, size
from provider_gateway.commands.table import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.parking.looks import Group, Look
    from provider_gateway.parking.parked_message import ParkedMessage

#: Bytes of a body that are shown as text, and as hex.
_TEXT, _HEX = 65_536, 512
_LIST = ("ID", "AGE", "REASON", "TRIES", "REPLAYS", "SIZE", "RQUID", "IDENTITY", "STATUS", "ERROR")


def groups_table(groups: Sequence[Group], now: float, cells: int) -> str:
    """The messages by reason."""
    rows = [
        (each.reason, f"{each.count:,}", age(each.oldest, now), age(each.newest, now), size(each.bytes))
        for each in groups
    ]
    return table(("REASON", "MESSAGES", "OLDEST", "NEWEST", "SIZE"), rows, cells=cells, right=("MESSAGES", "SIZE"))


def list_table(found: Sequence[ParkedMessage], now: float, cells: int) -> str:
    """One line for each message. Columns that no message has are left out."""
    rows = [
        (
            *(each.id, age(each.parked_at, now), each.reason, str(each.attempts), str(each.replays or "")),
            *(size(each.size), each.rquid or "", each.identity or ""),
            *("" if each.model_status is None else str(each.model_status), each.model_error),
        )
        for each in found
    ]
    return table(_LIST, rows, cells=cells, right=("TRIES", "REPLAYS", "SIZE", "STATUS"))


def reasons(groups: Sequence[Group]) -> str:
    """The reasons with their counts in one line."""
    return ", ".join(f"{each.reason} {each.count:,}" for each in groups)


def looked_line(look: Look) -> str:
    """How many messages there are, and how many of them were looked at, if not all were."""
    text = f"{plain(look.queue)}: {messages(look.total)} in {plain(look.parking)}"
    if look.looked_at < look.total:
        text += f"; the first {look.looked_at:,} were looked at"
    if look.others:
        text += f"; {look.others:,} of them are of other queues"
    if look.matching < look.looked_at - look.others:
        text += f"; {look.matching:,} match"
    return text


def whole(queue: str, message: ParkedMessage, body: bytes, now: float) -> str:
    """One message with headers and body, on several lines."""
    model = "" if message.model_status is None else f"HTTP {message.model_status}"
    model = ": ".join(part for part in (model, message.model_error) if part)
    fields = (
        ("Id", message.id),
        ("Queue", queue),
        ("Comes from", "" if message.owner == queue else message.owner),
        ("Parked", "" if message.parked_at is None else f"{date(message.parked_at)} ({_ago(message.parked_at, now)})"),
        ("Reason", message.reason),
        ("Model", model),
        ("Tries", str(message.attempts)),
        ("Redeliveries", str(message.redeliveries or "")),
        ("Replays", str(message.replays or "")),
        ("RqUID", message.rquid),
        ("Identity", message.identity),
        ("Routing key", message.routing_key),
        ("Message id", message.message_id),
        ("Correlation id", message.correlation_id),
        ("Reply to", message.reply_to),
        ("Type", message.content_type),
        ("Coding", message.content_encoding),
        ("Size", size(message.size)),
    )
    lines = [f"{name + ':':15} {plain(value)}" for name, value in fields if value]
    headers = [f"  {plain(name)}: {plain(_header(value))}" for name, value in sorted(message.headers.items())]
    if headers:
        lines += ["", "Headers:", *headers]
    lines += ["", "Body:" if body else "No body.", *shown_body(body)]
    return "\n".join(lines) + "\n"


def shown_body(body: bytes) -> list[str]:
    """The lines of a body: JSON indented, other text as it is, and anything else as hex."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return _hex(body)
    if len(body) <= _TEXT:
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            # No value is read and written anew: numbers and repeated names stay as they are.
            text = msgspec.json.format(text, indent=2)
        return plain_lines(text).split("\n") if body else []
    return [*plain_lines(text[:_TEXT]).split("\n"), _more(len(body))]


def _ago(then: float, now: float) -> str:
    text = age(then, now)
    return text if text == "now" else f"{text} ago"


def _header(value: object) -> str:
    found = header_value(value)
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def _hex(body: bytes) -> list[str]:
    lines = []
    for start in range(0, min(len(body), _HEX), 16):
        row = body[start : start + 16]
        text = "".join(chr(each) if 0x20 <= each < 0x7F else "." for each in row)
        lines.append(f"{start:08x}  {row.hex(' '):47}  {text}")
    return [*lines, _more(len(body))] if len(body) > _HEX else lines


def _more(count: int) -> str:
    return f"… ({size(count)} in all; --body > FILE writes them)"
