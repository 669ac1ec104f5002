"""Parked messages and looks as people read them on a terminal. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from provider_gateway.commands.table import table
from provider_gateway.workbench.bodies import show
from provider_gateway.workbench.documents import message_document
from provider_gateway.workbench.texts import age, count, iso, size, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.parking.looks import Group, Look
    from provider_gateway.parking.parked_message import ParkedMessage

#: Lines of a body that are shown in hexadecimal digits.
_HEX_LINES = 32
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
    text = f"{visible(look.queue)}: {count(look.total, 'message')} in {visible(look.parking)}"
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
        ("Parked", "" if message.parked_at is None else f"{iso(message.parked_at)} ({age(message.parked_at, now)})"),
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
    lines = [f"{name + ':':15} {visible(value)}" for name, value in fields if value]
    told = message_document(message, whole=True)["headers"]
    headers = [f"  {visible(name)}: {visible(_header(value))}" for name, value in sorted(told.items())]
    if headers:
        lines += ["", "Headers:", *headers]
    lines += ["", "Body:" if body else "No body.", *shown_body(body, message.content_encoding)]
    return "\n".join(lines) + "\n"


def shown_body(body: bytes, coding: str | None) -> list[str]:
    """The lines of a body: JSON indented, other text as it is, and anything else as hex.

    Args:
        coding: its ``content_encoding``.
    """
    found = show(body, coding, None)
    if found.form == "image":
        found = show(body, coding, "hex")
    lines = found.text.split("\n") if body else []
    is_cut = found.shown is not None
    if found.form == "hex" and len(lines) > _HEX_LINES:
        lines, is_cut = lines[:_HEX_LINES], True
    if is_cut:
        lines.append(f"… ({size(len(body))} in all; --body > FILE writes them)")
    return lines


def _header(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
