"""Looks, messages and jobs as JSON documents. What a message says may be anything; what is written is always JSON."""

from __future__ import annotations

import base64
import json
import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provider_gateway.parking.jobs import JobDocument
    from provider_gateway.parking.looks import Look
    from provider_gateway.parking.parked_message import ParkedMessage

PARKING = "/v1/parking"
JOBS = f"{PARKING}/jobs"
#: Bytes of a body that are part of its message's document. The whole body can be fetched.
MAX_SHOWN = 1_048_576
#: Characters of the messages of one list; beyond them, the list ends and says how to go on.
_MAX_LIST = 8_388_608
#: Lists and tables in a header, one in another.
_MAX_DEPTH = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def path_of(queue: str, *more: str) -> str:
    """The path of a parking queue, or of what is below it.

    Args:
        queue: the work queue's name. The first letter of ``jobs`` is escaped: ``/v1/parking/jobs`` is something else.
    """
    name = "%6Aobs" if queue == "jobs" else quote(queue, safe="")
    return "/".join((PARKING, name, *more))


def encoded(document: Mapping[str, Any]) -> bytes:
    """A document as bytes. Lone surrogates are not in it: not every reader of JSON takes them."""
    return json.dumps(document, allow_nan=False).encode()


def text_of_time(seconds: float | None) -> str | None:
    """A time as RFC 3339 writes it, in UTC; None for none, or one that no calendar has."""
    try:
        time = _EPOCH + timedelta(milliseconds=round((seconds or 0) * 1000))
    except (OverflowError, ValueError):
        return None
    return None if seconds is None else time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def look_document(look: Look, *, whole: bool) -> tuple[dict[str, Any], int | None]:
    """A look.

    Args:
        whole: with what messages say, and not only what is said of them.

    Returns:
        The document, and the position behind which the next list begins; None if there is no further one.
    """
    messages: list[dict[str, Any]] = []
    size, after = 0, look.next
    for message in look.messages:
        document = message_document(message, whole=whole)
        size += len(json.dumps(document))
        if size > _MAX_LIST and messages:
            after = messages[-1]["position"]
            break
        messages.append(document)
    groups = [
        {
            "reason": clean(group.reason),
            "count": group.count,
            "oldest": text_of_time(group.oldest),
            "newest": text_of_time(group.newest),
            "bytes": group.bytes,
        }
        for group in look.groups
    ]
    return {
        "queue": look.queue,
        "parking": look.parking,
        "total": look.total,
        "looked_at": look.looked_at,
        "others": look.others,
        "matching": look.matching,
        "at": text_of_time(look.at),
        "groups": groups,
        "messages": messages,
    }, after


def message_document(message: ParkedMessage, *, whole: bool) -> dict[str, Any]:
    """A message in a list.

    Args:
        whole: as for :func:`look_document`.
    """
    if not whole:
        return _told_document(message)
    return {
        **summary_document(message),
        "headers": _json_of(dict(message.headers)),
        "preview": text_or_base64(message.head, is_cut=message.size > len(message.head)),
    }


def _told_document(message: ParkedMessage) -> dict[str, Any]:
    """What is said of a message."""
    return {
        "id": message.id,
        "position": message.position,
        "reason": clean(message.reason),
        "parked_at": text_of_time(message.parked_at),
        "attempts": message.attempts,
        "redeliveries": message.redeliveries,
        "replays": message.replays,
        "size": message.size,
    }


def summary_document(message: ParkedMessage) -> dict[str, Any]:
    """A message without headers and body."""
    texts = {
        "rquid": message.rquid,
        "message_id": message.message_id,
        "correlation_id": message.correlation_id,
        "reply_to": message.reply_to,
        "identity": message.identity,
        "routing_key": message.routing_key,
        "model_error": message.model_error,
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
    }
    return {
        **_told_document(message),
        **{name: text if text is None or text.isascii() else clean(text) for name, text in texts.items()},
        "model_status": message.model_status,
    }


def full_document(queue: str, message: ParkedMessage, body: bytes) -> dict[str, Any]:
    """One message with its body."""
    document = message_document(message, whole=True)
    del document["preview"]
    shown = body[:MAX_SHOWN]
    return {
        "queue": queue,
        **document,
        "body": text_or_base64(shown, is_cut=len(shown) < len(body)),
        "truncated": len(shown) < len(body),
        "links": {"body": path_of(queue, message.id, "body")},
    }


def operator_document(job: JobDocument) -> dict[str, Any]:
    """Who is at a parking queue."""
    return {"who": job.operator, "from": job.host, "action": job.action, "since": text_of_time(job.created)}


def job_document(job: JobDocument) -> dict[str, Any]:
    """A job."""
    document = {name: _json_of(value) for name, value in job.as_dict().items()}
    for name in ("created", "updated", "finished"):
        document[name] = text_of_time(getattr(job, name))
    condition = document["filter"]
    for name in {"since", "before"} & condition.keys():
        condition[name] = text_of_time(job.filter[name])
    return {**document, "links": {"self": f"{JOBS}/{job.id}"}}


def clean(text: str) -> str:
    """A text without lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def text_or_base64(data: bytes, *, is_cut: bool) -> dict[str, str]:
    """Bytes as text if they are UTF-8, else as base64.

    Args:
        is_cut: the bytes are the beginning of others; a character may be cut.
    """
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError as error:
        if is_cut and error.reason == "unexpected end of data":
            return {"text": data[: error.start].decode()}
    return {"base64": base64.b64encode(data).decode()}


def _json_of(value: object, depth: int = 0) -> Any:
    """A value of a header as JSON has it: what JSON has not is text."""
    result: Any
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        result = value
    elif isinstance(value, (bytes, bytearray)):
        result = text_or_base64(bytes(value), is_cut=False)
    elif isinstance(value, dict) and depth < _MAX_DEPTH:
        result = {clean(str(name)): _json_of(each, depth + 1) for name, each in value.items()}
    elif isinstance(value, (list, tuple)) and depth < _MAX_DEPTH:
        result = [_json_of(each, depth + 1) for each in value]
    elif isinstance(value, str):
        result = clean(value)
    else:
        result = clean(value.isoformat() if isinstance(value, datetime) else str(value)[:1000])
    return result
