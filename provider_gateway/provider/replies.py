"""Makes the replies to a message: the model's result, or an error as a problem document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.message.ids import RQUID
from provider_gateway.message.message import PG_REASON, PG_STATUS, Message
from provider_gateway.message.problem import PROBLEM_JSON, problem_body

if TYPE_CHECKING:
    from provider_gateway.errors import GatewayError
    from provider_gateway.model.model import ModelResponse
    from provider_gateway.provider.task import Task


def result_reply(task: Task, response: ModelResponse) -> Message:
    """The reply with the model's response."""
    return Message(
        body=response.body,
        content_type=response.content_type,
        correlation_id=task.message.correlation_id,
        headers={**response.headers, RQUID: task.rquid, PG_STATUS: response.status},
    )


def error_reply(task: Task, error: GatewayError, reason: str) -> Message:
    """The reply with a problem document.

    Args:
        reason: ``pg-reason``.
    """
    return Message(
        body=problem_body(error, task.rquid),
        content_type=PROBLEM_JSON,
        correlation_id=task.message.correlation_id,
        headers={RQUID: task.rquid, PG_STATUS: error.status, PG_REASON: reason},
    )
