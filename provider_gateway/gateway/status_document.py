"""The status document: what callers see of the record of a request."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from provider_gateway.http_server.problems import with_length
from provider_gateway.message.http_headers import JSON

if TYPE_CHECKING:
    from provider_gateway.errors import GatewayError
    from provider_gateway.store.records import Record

#: The path of all requests; that of one is below it.
REQUESTS = "/v1/requests"
#: Seconds after which to ask again: this part of the age of a request, between 1 and the most.
_PART, _MOST = 0.1, 30
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def location_of(id_: str) -> str:
    """The path of the status document of a request."""
    return f"{REQUESTS}/{id_}"


def locate(error: GatewayError, id_: str) -> None:
    """Have an error's response name the request whose answer can be fetched later."""
    error.location = location_of(id_)
    error.members = {"request_id": id_, "uid": id_}


def status_document(record: Record) -> dict[str, Any]:
    """The status document of a request.

    ``uid`` is the word of the seed for ``id``.
    """
    location = location_of(record.id)
    return {
        "id": record.id,
        "uid": record.id,
        "status": record.status.value,
        "created": _text_of_time(record.created),
        "finished": None if record.finished is None else _text_of_time(record.finished),
        "attempts": record.attempts,
        "routing_key": record.routing_key,
        "rquid": record.rquid,
        "model_status": record.model_status,
        "links": {"self": location, "result": f"{location}/result"},
    }


def answer_accepted(request: Any, record: Record, retry_after: int, applied: str | None) -> bytes:
    """Answer with 202: there is no result yet.

    Args:
        retry_after: seconds.
        applied: the preferences that were honoured (RFC 7240, 3); None for none.

    Returns:
        The body.
    """
    request.setResponseCode(202)
    request.setHeader("Location", location_of(record.id))
    request.setHeader("Retry-After", str(retry_after))
    if applied:
        request.setHeader("Preference-Applied", applied)
    return with_length(request, JSON, json.dumps(status_document(record)).encode())


def retry_after(record: Record, now: float) -> int:
    """Seconds after which to ask for the result again: the longer it has taken, the longer it may still take."""
    return int(min(max(1.0, _PART * (now - record.created)), _MOST))


def _text_of_time(seconds: float) -> str:
    """A time as RFC 3339 writes it, in UTC."""
    # Rounded as a store does it: the same record says the same time before and after it was stored.
    time = _EPOCH + timedelta(milliseconds=round(seconds * 1000))
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
