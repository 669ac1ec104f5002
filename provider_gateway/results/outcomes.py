"""Reads from a reply how its request ended, and what is answered to whoever fetches the result. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from provider_gateway.errors import DeadlinePassed, GatewayError, ModelFailure
from provider_gateway.message.http_headers import headers_to_http, safe_content_type
from provider_gateway.message.ids import RQUID, rquid_of
from provider_gateway.message.message import (
    PG_ATTEMPTS,
    PG_OWNER,
    PG_PARKED,
    PG_REASON,
    PG_ROUTING_KEY,
    PG_STATUS,
    Message,
)
from provider_gateway.message.problem import PROBLEM_JSON, problem_body
from provider_gateway.results.errors import ResultTooLarge
from provider_gateway.store.records import REPLACEABLE, Outcome, Record, Result, Status

if TYPE_CHECKING:
    from collections.abc import Callable

#: ``pg-reason`` of the reply to a message that was dropped unstarted.
EXPIRED = "expired"
#: ``pg-reason`` of :func:`overdue_reply` and :func:`refused_reply`.
OVERDUE, REFUSED = "overdue", "publish-refused"
#: What :func:`.fresh_id` makes, and what a program may use that follows our example: an id that cannot be guessed.
_OURS = re.compile(r"[0-9a-f]{32}")
#: What an outcome replaces that no reply told of: an answer that came meanwhile stays.
_PENDING = frozenset({Status.PENDING})


def outcome_of(
    reply: Message, now: float, *, ttl: float, max_body: int, on_unsafe: Callable[[], object] = lambda: None
) -> Outcome:
    """How a request ended, by its reply.

    Args:
        reply: has a correlation id.
        now: seconds since 1970.
        ttl: seconds that a result is kept.
        max_body: bytes of a body that is kept. A larger one makes the request fail.
        on_unsafe: called for each header of the reply that is malformed. It is left out.
    """
    assert reply.correlation_id is not None
    status, result, model_status = _read(reply, max_body, on_unsafe)
    is_of_model = model_status is not None and (status is Status.SUCCEEDED or 400 <= model_status < 500)
    return Outcome(
        id=reply.correlation_id,
        status=status,
        finished=now,
        result=result,
        attempts=_count(reply.headers.get(PG_ATTEMPTS)),
        model_status=model_status,
        keeps_key=is_of_model,
        replaces=_PENDING if reply.headers.get(PG_REASON) in (OVERDUE, REFUSED) else REPLACEABLE,
        restored=_restored(reply, now, ttl),
    )


def problem_result(error: GatewayError, rquid: str | None) -> Result:
    """The result of a request that ended with an error of ours."""
    return Result(status=error.status, body=problem_body(error, rquid), content_type=PROBLEM_JSON)


_NO_ANSWER = "There was no answer in time (RESULT_TTL). If the broker did not confirm the message, it may be lost."


def expired(record: Record, now: float) -> Outcome:
    """The outcome of a request that was pending for too long."""
    result = problem_result(DeadlinePassed(_NO_ANSWER), record.rquid)
    return Outcome(id=record.id, status=Status.EXPIRED, finished=now, result=result, replaces=_PENDING)


def overdue_reply(record: Record) -> Message:
    """A message to the results queue that gives a request the outcome of :func:`expired`."""
    return _closing(record, DeadlinePassed(_NO_ANSWER), OVERDUE)


def refused(record: Record, error: GatewayError, now: float) -> Outcome:
    """The outcome of a request whose message the broker refused after its caller had been told that it may have it."""
    result = problem_result(error, record.rquid)
    return Outcome(id=record.id, status=Status.FAILED, finished=now, result=result, replaces=_PENDING)


def refused_reply(record: Record, error: GatewayError) -> Message:
    """A message to the results queue that gives a request the outcome of :func:`refused`."""
    return _closing(record, error, REFUSED)


def _closing(record: Record, error: GatewayError, reason: str) -> Message:
    headers = {PG_STATUS: error.status, PG_REASON: reason, RQUID: record.rquid}
    body = problem_body(error, record.rquid)
    return Message(body, headers, correlation_id=record.id, content_type=PROBLEM_JSON)


def _read(reply: Message, max_body: int, on_unsafe: Callable[[], object]) -> tuple[Status, Result, int | None]:
    """Status of the record, result, and the status of the model's response."""
    try:
        status, coding = reply.status, reply.content_coding()
    except ValueError as error:
        return Status.FAILED, problem_result(ModelFailure(str(error), "body"), rquid_of(reply.headers)), None
    reason = reply.headers.get(PG_REASON)
    model_status = status if reason is None else None
    if len(reply.body) > max_body:
        msg = f"The answer has {len(reply.body)} bytes; at most {max_body} are kept (RESULT_MAX_BYTES)."
        return Status.FAILED, problem_result(ResultTooLarge(msg), rquid_of(reply.headers)), model_status
    result = Result(
        status=status,
        body=reply.body,
        headers=headers_to_http(reply.headers, on_unsafe),
        content_type=safe_content_type(reply.content_type),
        content_encoding=coding,
    )
    if reply.headers.get(PG_PARKED) is not None:
        return Status.PARKED, result, model_status
    if reason in (EXPIRED, OVERDUE):
        return Status.EXPIRED, result, model_status
    return Status.SUCCEEDED if status < 400 else Status.FAILED, result, model_status


def _restored(reply: Message, now: float, ttl: float) -> Record | None:
    """The record of a request that has none, from what its reply echoes; None if the request is not ours."""
    owner, id_ = reply.headers.get(PG_OWNER), reply.correlation_id
    if not isinstance(owner, str) or id_ is None or not _OURS.fullmatch(id_):
        return None
    routing_key = reply.headers.get(PG_ROUTING_KEY)
    published = reply.published
    return Record(
        id=id_,
        owner=owner or None,
        routing_key=routing_key if isinstance(routing_key, str) else "",
        rquid=rquid_of(reply.headers),
        created=published if published is not None and 0 <= published <= now else now,
        expires=now + ttl,
    )


def _count(value: Any) -> int | None:
    """A number of model calls; None if it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None
