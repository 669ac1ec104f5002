"""The status document: what callers see of the record of a request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provider_gateway.errors import GatewayError
    from provider_gateway.store.records import Record

#: The path of all requests; that of one is below it.
REQUESTS = "/v1/requests"
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


def _text_of_time(seconds: float) -> str:
    """A time as RFC 3339 writes it, in UTC."""
    # Rounded as a store does it: the same record says the same time before and after it was stored.
    time = _EPOCH + timedelta(milliseconds=round(seconds * 1000))
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
