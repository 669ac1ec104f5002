"""JSON Schemas of the bodies of ``/v1/parking``: messages, lists, jobs, and the orders that start jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.openapi.operation import ref
from provider_gateway.openapi.schema_parts import COUNT, TEXT, TIME, list_of, object_of, or_null
from provider_gateway.parking.filters import LARGEST_LIMIT, MAX_PATTERN, MAX_TEXT
from provider_gateway.workbench.access import RIGHTS
from provider_gateway.workbench.parking_requests import LARGEST_COUNT, LARGEST_RATE, LONGEST_WHY, MOST_IDS, MOST_REASONS

if TYPE_CHECKING:
    from provider_gateway.openapi.operation import Schema

MESSAGE_ID: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
JOB_ID: Schema = {"type": "string", "pattern": "^[0-9a-f]{8,64}$"}
CONDITION: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}
#: A time, or how long ago; Python reads more forms of ISO 8601 than a pattern can say.
MOMENT: Schema = {"type": "string", "pattern": "^[0-9]", "examples": ["2h", "2026-01-31T08:00:00Z"]}
PATTERN: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_PATTERN}

_BYTES = {
    "description": "bytes as `text` if they are UTF-8, else as `base64`",
    "type": "object",
    "properties": {"text": TEXT, "base64": {"type": "string", "contentEncoding": "base64"}},
    "minProperties": 1,
    "maxProperties": 1,
}
#: What everybody sees who has some right on the queue.
_SEEN: dict[str, Schema] = {
    "id": {**MESSAGE_ID, "description": "a hash of the message: the same in each list"},
    "position": {**COUNT, "description": "place in the parking queue; its head is 0"},
    "reason": TEXT,
    "parked_at": or_null(TIME),
    "attempts": {**COUNT, "description": "calls of the model"},
    "redeliveries": COUNT,
    "replays": COUNT,
    "size": {**COUNT, "description": "bytes of the body"},
}
_READ: dict[str, Schema] = {
    **{
        name: or_null(TEXT)
        for name in (
            *("rquid", "message_id", "correlation_id", "reply_to", "identity"),
            *("content_type", "content_encoding"),
        )
    },
    "routing_key": TEXT,
    "model_error": TEXT,
    "model_status": or_null({"type": "integer"}),
    "headers": {"type": "object"},
}
_QUEUE = {**TEXT, "description": "name of the work queue"}
_LINKS = "Paths."


def _ids(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "maxItems": MOST_IDS, "items": schema}


def _order(description: str, more: dict[str, Schema], **keywords: Any) -> Schema:
    """The order of a job.

    Args:
        more: members beside those that every order may have.
        keywords: of the schema.
    """
    return {
        "description": description,
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "ids": _ids(MESSAGE_ID) | {"description": "these messages"},
            "filter": ref("ParkedMessageFilter"),
            "all": {"const": True, "description": "all messages"},
            "expected_count": {
                **COUNT,
                "maximum": LARGEST_COUNT,
                "description": "how many there are, or nothing is done",
            },
            "rate": {
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": LARGEST_RATE,
                "description": "messages per second",
            },
            "dry_run": {"type": "boolean", "default": False, "description": "count, and do nothing"},
            "why": {"type": "string", "maxLength": LONGEST_WHY, "description": "the reason, for the audit log"},
            **more,
        },
        "oneOf": [{"required": [name]} for name in ("ids", "filter", "all")],
        **keywords,
    }


PARKING_SCHEMAS: dict[str, Schema] = {
    "ParkingQueues": object_of("The queues on which the caller has a right.", queues=list_of(ref("ParkingQueue"))),
    "ParkingQueue": object_of(
        "A parking queue.",
        queue=_QUEUE,
        parking={**TEXT, "description": "name of the parking queue"},
        messages=or_null(COUNT) | {"description": "parked messages; null if that is not known"},
        rights=list_of({"enum": list(RIGHTS)}),
        max_replays={**COUNT, "description": "a message is replayed so often, without `force`"},
        operator={
            "anyOf": [
                object_of(
                    "Who is at the queue right now.",
                    **{"who": TEXT, "from": TEXT, "action": {"enum": ["look", "export", "replay", "drop"]}},
                    since=or_null(TIME),
                ),
                {"type": "null"},
            ]
        },
        links=object_of(_LINKS, messages=TEXT),
    ),
    "ParkedMessages": object_of(
        "The messages that match, from the head of the queue.",
        queue=_QUEUE,
        parking={**TEXT, "description": "name of the parking queue"},
        total={**COUNT, "description": "messages in the parking queue"},
        looked_at={**COUNT, "description": "of these; fewer if they have more bytes than one look can hold"},
        others={**COUNT, "description": "messages of other work queues that share the parking queue; not shown"},
        matching=COUNT,
        at=TIME,
        groups=list_of(
            object_of(
                "Those that match, of one reason.",
                reason=TEXT,
                count=COUNT,
                oldest=or_null(TIME),
                newest=or_null(TIME),
                bytes=COUNT,
            )
        ),
        messages=list_of(ref("ParkedMessage")),
        next=or_null(TEXT) | {"description": "path of the next page"},
    ),
    "ParkedMessage": object_of(
        "A message. Without the right `read`: id, position, reason, time, counts and size.",
        (*_READ, "preview"),
        **_SEEN,
        **_READ,
        preview=_BYTES,
    ),
    "ParkedMessageInFull": object_of(
        "A message with its body.",
        queue=_QUEUE,
        **_SEEN,
        **_READ,
        body=_BYTES,
        truncated={"type": "boolean", "description": "true if this is the beginning of the body"},
        links=object_of(_LINKS, body=TEXT),
    ),
    "ParkedMessageFilter": {
        "description": "Conditions, which all have to hold.",
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "properties": {
            "reason": {
                "anyOf": [CONDITION, {"type": "array", "minItems": 1, "maxItems": MOST_REASONS, "items": CONDITION}]
            },
            "id": {"anyOf": [MESSAGE_ID, _ids(MESSAGE_ID)]},
            "rquid": CONDITION,
            "identity": CONDITION,
            "since": MOMENT,
            "older_than": MOMENT,
            "grep": PATTERN,
            "limit": {
                "type": "integer",
                "minimum": 1,
                "maximum": LARGEST_LIMIT,
                "description": "so many from the head",
            },
        },
    },
    "ReplayOrder": _order(
        "Which messages to replay, and how.",
        {"force": {"type": "boolean", "default": False, "description": "also those replayed too often before"}},
    ),
    "DropOrder": _order(
        "Which messages to drop. `filter` and `all` need `expected_count`.",
        {"force": {"const": False, "description": "for replays"}},
        anyOf=[
            {"required": ["ids"]},
            {"required": ["expected_count"]},
            {"required": ["dry_run"], "properties": {"dry_run": {"const": True}}},
        ],
    ),
    "ParkingJobs": object_of("Jobs, the newest first.", jobs=list_of(ref("ParkingJob"))),
    "ParkingJob": object_of(
        "A job, and how far it is. `counting` and `running` are not final.",
        id=JOB_ID,
        queue=_QUEUE,
        action={"enum": ["replay", "drop"]},
        state={"enum": ["counting", "running", "done", "canceled", "failed"]},
        filter={"type": "object"},
        operator=TEXT,
        host={**TEXT, "description": "where the operator asked from"},
        process={**TEXT, "description": "that does it"},
        why=TEXT,
        dry_run={"type": "boolean"},
        rate=or_null({"type": "number"}),
        created=TIME,
        updated=TIME,
        finished=or_null(TIME),
        total=or_null(COUNT) | {"description": "messages to act on; null until they are counted"},
        done=COUNT,
        skipped={**COUNT, "description": "replayed too often before, and not forced"},
        missing={**COUNT, "description": "gone meanwhile"},
        failed={**COUNT, "description": "could not be published, and stay parked"},
        error=TEXT,
        links=object_of(_LINKS, self=TEXT),
    ),
}
