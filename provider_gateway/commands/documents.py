"""Parked messages and looks as JSON, one line each, for scripts. The lines are ASCII, whatever messages hold. Pure."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from provider_gateway.parking.parked_message import ParkedMessage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provider_gateway.parking.looks import Look

#: Fields of a message that a list leaves out: they are large, and read with ``show`` and ``export``.
_LARGE = frozenset({"headers", "head"})
_IN_LIST = tuple(each.name for each in fields(ParkedMessage) if each.name not in _LARGE)


def line(document: Mapping[str, Any]) -> str:
    """A document as one line of ASCII: no terminal and no program takes it for anything else."""
    return json.dumps(document) + "\n"


def listed(queue: str, message: ParkedMessage) -> dict[str, Any]:
    """A message as a list shows it: without headers and body."""
    return {"queue": queue, **{name: getattr(message, name) for name in _IN_LIST}}


def whole(queue: str, message: ParkedMessage, body: bytes) -> dict[str, Any]:
    """A message with headers and body: as ``text`` if it is UTF-8, else as ``base64``."""
    headers = {name: header_value(value) for name, value in message.headers.items()}
    return {**listed(queue, message), "headers": headers, **_body(body)}


def looked(look: Look) -> dict[str, Any]:
    """What was found in a queue, by reason, without the messages."""
    return {
        "queue": look.queue,
        "parking": look.parking,
        "messages": look.total,
        "looked_at": look.looked_at,
        "matching": look.matching,
        "groups": [asdict(each) for each in look.groups],
    }


def _body(body: bytes) -> dict[str, str]:
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def header_value(value: object) -> object:
    """A header's value in JSON: what JSON has not is text, and bytes that are no text are base64."""
    if isinstance(value, dict):
        return {str(name): header_value(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [header_value(each) for each in value]
    if isinstance(value, bytes):
        return _body(value)
    if value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)
