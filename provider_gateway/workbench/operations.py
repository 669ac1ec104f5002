"""What is said of the routes below ``/v1/parking``, for OpenAPI: to each caller of those that its rights open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from provider_gateway.errors import BrokerUnavailable, Forbidden, NotFound, UnsupportedMediaType
from provider_gateway.message.http_headers import JSON
from provider_gateway.openapi.error_responses import ADMITTED
from provider_gateway.openapi.operation import RQUID_PARAMETER, Answer, Body, Operation, Parameter, json_answer, ref
from provider_gateway.parking.errors import CountChanged, ParkingBusy, ParkingUnusable
from provider_gateway.workbench.access import RIGHTS
from provider_gateway.workbench.bodies import IMAGE_TYPES, OTHER_TYPE
from provider_gateway.workbench.body_schemas import CONDITION, JOB_ID, MESSAGE_ID, MOMENT, PATTERN
from provider_gateway.workbench.documents import JOBS, PARKING
from provider_gateway.workbench.errors import AuditLogUnwritable, CountNeeded, CrossSite
from provider_gateway.workbench.parking_requests import LARGEST_AFTER, LARGEST_LIMIT, USUAL_LIMIT

if TYPE_CHECKING:
    from provider_gateway.errors import GatewayError
    from provider_gateway.openapi.document import Route
    from provider_gateway.openapi.operation import Schema
    from provider_gateway.workbench.access import Rights

PARKING_TAG = "parking"
PARKING_TAGS = {PARKING_TAG: "Messages that could not be served, for operators."}
_QUEUE = f"{PARKING}/{{queue}}"
_MESSAGE = f"{_QUEUE}/{{id}}"
_JOB = f"{JOBS}/{{id}}"

_ANY_ERRORS: tuple[type[GatewayError], ...] = (*ADMITTED, Forbidden, CrossSite, NotFound, BrokerUnavailable)
_LOOK_ERRORS: tuple[type[GatewayError], ...] = (*_ANY_ERRORS, ParkingBusy, ParkingUnusable, AuditLogUnwritable)
_JOB_ERRORS = (*_LOOK_ERRORS, CountChanged, UnsupportedMediaType)

_JOB_PARAMETER = Parameter(name="id", where="path", description="Id of the job.", schema=JOB_ID)
_MESSAGE_PARAMETER = Parameter(name="id", where="path", description="Id of the message.", schema=MESSAGE_ID)


def parking_operations(rights: Rights) -> dict[Route, Operation | None]:
    """The operations for a caller; None for those that no right of the caller opens.

    Args:
        rights: the caller's.
    """
    queues = {right: _queue_parameter([queue for queue, given in rights if right in given]) for right in RIGHTS}
    of_any = _queue_parameter([queue for queue, _ in rights])
    has = {right for _, given in rights for right in given}
    offered: dict[Route, tuple[bool, Operation]] = {
        ("GET", PARKING): (bool(has), _list_queues()),
        ("GET", _QUEUE): (bool(has), _list_messages(of_any, may_read="read" in has)),
        ("GET", _MESSAGE): ("read" in has, _get_message(queues["read"])),
        ("GET", f"{_MESSAGE}/body"): ("read" in has, _get_body(queues["read"])),
        ("POST", f"{_QUEUE}/replay"): ("replay" in has, _start(queues["replay"], "replay")),
        ("POST", f"{_QUEUE}/drop"): ("drop" in has, _start(queues["drop"], "drop")),
        ("GET", JOBS): (bool(has), _list_jobs()),
        ("GET", _JOB): (bool(has), _get_job()),
        ("DELETE", _JOB): (not has.isdisjoint({"replay", "drop"}), _cancel_job()),
    }
    return {route: operation if is_offered else None for route, (is_offered, operation) in offered.items()}


def _queue_parameter(queues: list[str]) -> Parameter:
    """The name of a work queue in a path."""
    text = "Name of the work queue, percent-encoded."
    if "jobs" in queues:
        text += f" The queue by the name `jobs` is `%6Aobs`: `{JOBS}` is something else."
    # A client would write "jobs" as it is.
    names = [queue for queue in queues if queue != "jobs"]
    return Parameter(
        name="queue", where="path", description=text, schema={"enum": names} if names else {"type": "string"}
    )


def _list_queues() -> Operation:
    return Operation(
        id="listParkingQueues",
        tag=PARKING_TAG,
        summary="List the queues on which the caller has a right, with the numbers of parked messages",
        parameters=(RQUID_PARAMETER,),
        answers={"200": json_answer("The queues.", "ParkingQueues")},
        errors=_ANY_ERRORS,
    )


def _list_messages(queue: Parameter, *, may_read: bool) -> Operation:
    several: Schema = {"type": "array", "items": CONDITION}
    limit: Schema = {"type": "integer", "minimum": 1, "maximum": LARGEST_LIMIT, "default": USUAL_LIMIT}
    conditions: list[tuple[str, str, Schema]] = [
        ("reason", "Parked for one of these reasons.", several),
        ("id", "With one of these ids.", {"type": "array", "items": MESSAGE_ID}),
        ("rquid", "Of the request with this id.", CONDITION),
        ("identity", "Of this caller.", CONDITION),
        ("since", "Parked at this time or later: `30m`, `2h`, `7d` ago, or a date (ISO 8601).", MOMENT),
        ("older_than", "Parked before this time.", MOMENT),
        ("grep", "A regular expression of RE2 that is found in the body or in a header. Needs `read`.", PATTERN),
        ("limit", "Messages of a page.", limit),
        (
            "after",
            "The page begins behind this position; `next` of the page before has it.",
            {"type": "integer", "minimum": 0, "maximum": LARGEST_AFTER},
        ),
    ]
    found = {"path.queue": "$request.path.queue", "path.id": "$response.body#/messages/0/id"}
    return Operation(
        id="listParkedMessages",
        tag=PARKING_TAG,
        summary="List parked messages, and count them by reason",
        description=(
            "All conditions have to hold. A parameter that is unknown, empty or malformed is answered with 400. "
            "The parking queue is read, and gets all messages back in their order. "
            "Meanwhile nobody else can look into it."
        ),
        parameters=(
            queue,
            *(
                Parameter(name=name, where="query", description=text, schema=schema)
                for name, text, schema in conditions
                if may_read or name != "grep"
            ),
            RQUID_PARAMETER,
        ),
        answers={
            "200": json_answer(
                "The messages.",
                "ParkedMessages",
                links={name: found for name in ("getParkedMessage", "getParkedBody") if may_read},
            )
        },
        errors=_LOOK_ERRORS,
    )


def _get_message(queue: Parameter) -> Operation:
    found = json_answer("The message.", "ParkedMessageInFull")
    return _read_one(queue, "getParkedMessage", "Show one parked message", found)


def _get_body(queue: Parameter) -> Operation:
    found = Answer(
        description="The body, as it is.",
        content={media_type: {} for media_type in (OTHER_TYPE, *IMAGE_TYPES)},
        headers={"Content-Disposition": "`attachment`, with the id as the name"},
    )
    summary = "Get the body of one parked message, as a file"
    return _read_one(queue, "getParkedBody", summary, found, " Only images have their media type.")


def _read_one(queue: Parameter, id_: str, summary: str, found: Answer, more: str = "") -> Operation:
    """An operation that tells what somebody may read of one message."""
    return Operation(
        id=id_,
        tag=PARKING_TAG,
        summary=summary,
        description=f"Needs `read`, and has a line in the audit log.{more}",
        parameters=(queue, _MESSAGE_PARAMETER, RQUID_PARAMETER),
        answers={"200": found},
        errors=_LOOK_ERRORS,
    )


def _start(queue: Parameter, action: Literal["replay", "drop"]) -> Operation:
    what = "sends parked messages to their work queue again" if action == "replay" else "deletes parked messages"
    return Operation(
        id=f"{action}ParkedMessages",
        tag=PARKING_TAG,
        summary=f"Start a job that {what}",
        description=(
            f"Needs `{action}`, and `read` for `grep`. The job acts on the messages that match when it begins. "
            "It is canceled if the client leaves before it has got the answer."
        ),
        parameters=(queue, RQUID_PARAMETER),
        body=Body(description="Which messages.", content={JSON: ref(f"{action.capitalize()}Order")}),
        answers={
            "202": json_answer(
                "The job has begun.",
                "ParkingJob",
                headers={"Location": "path of the job"},
                links={name: {"path.id": "$response.body#/id"} for name in ("getParkingJob", "cancelParkingJob")},
            )
        },
        errors=_JOB_ERRORS if action == "replay" else (*_JOB_ERRORS, CountNeeded),
    )


def _list_jobs() -> Operation:
    return Operation(
        id="listParkingJobs",
        tag=PARKING_TAG,
        summary="List jobs: the last ones of the instance that answers, and those that run in others",
        parameters=(RQUID_PARAMETER,),
        answers={"200": json_answer("The jobs.", "ParkingJobs")},
        errors=_ANY_ERRORS,
    )


def _get_job() -> Operation:
    return Operation(
        id="getParkingJob",
        tag=PARKING_TAG,
        summary="Tell how far a job is",
        parameters=(_JOB_PARAMETER, RQUID_PARAMETER),
        answers={"200": json_answer("The job.", "ParkingJob")},
        errors=_ANY_ERRORS,
    )


def _cancel_job() -> Operation:
    return Operation(
        id="cancelParkingJob",
        tag=PARKING_TAG,
        summary="Cancel a job",
        description="What it has not acted on stays parked. Needs the right that starts it.",
        parameters=(_JOB_PARAMETER, RQUID_PARAMETER),
        answers={
            "200": json_answer("The job, which was over before.", "ParkingJob"),
            "202": json_answer("The job, which ends.", "ParkingJob"),
        },
        errors=(*_ANY_ERRORS, AuditLogUnwritable),
    )
