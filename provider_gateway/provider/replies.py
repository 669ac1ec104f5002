"""Makes the replies to a message: the model's result, or an error as a problem document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.message.ids import RQUID
from provider_gateway.message.message import PG_REASON, PG_STATUS, PG_WAITED, Message
from provider_gateway.message.problem import PROBLEM_JSON, problem_body

if TYPE_CHECKING:
    from provider_gateway.errors import GatewayError
    from provider_gateway.model.model import ModelResponse
    from provider_gateway.provider.task import Task


def result_reply(task: Task, response: ModelResponse) -> Message:
    """The reply with the model's response."""
    headers: dict[str, Any] = {**response.headers, RQUID: task.rquid, PG_STATUS: response.status}
    if task.waited is not None:
        headers[PG_WAITED] = task.waited
    if task.results is not None:
        headers |= task.reply_headers()
    return Message(
        body=response.body,
        content_type=response.content_type,
        content_encoding=response.content_encoding,
        correlation_id=task.message.correlation_id,
        headers=headers,
    )


def error_reply(task: Task, error: GatewayError, reason: str) -> Message:
    """The reply with a problem document.

    Args:
        reason: ``pg-reason``.
    """
    if task.span is not None:
        error.members = {**error.members, "trace_id": task.span.trace_id}
    headers: dict[str, Any] = {RQUID: task.rquid, PG_STATUS: error.status, PG_REASON: reason}
    if task.waited is not None:
        headers[PG_WAITED] = task.waited
    if task.results is not None:
        headers |= task.reply_headers()
    return Message(
        body=problem_body(error, task.rquid),
        content_type=PROBLEM_JSON,
        correlation_id=task.message.correlation_id,
        headers=headers,
    )
