"""Decides what becomes of a message after its model call: a reply, another attempt, or parking.

The model's response becomes the reply if its status is 2xx, or a 4xx that is the caller's error. After a failure of the
model, the message takes the retry route (``dle``). After the last attempt it is parked, and the error is the reply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from provider_gateway.errors import ModelFailure
from provider_gateway.provider.replies import error_reply, result_reply

if TYPE_CHECKING:
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.errors import GatewayError
    from provider_gateway.model.model import ModelResponse
    from provider_gateway.provider.expiry import Expiry
    from provider_gateway.provider.retry_route import RetryRoute
    from provider_gateway.provider.settlement import Settlement
    from provider_gateway.provider.task import Task


class AfterCall:
    """What follows the model calls of one queue.

    Args:
        retry: where copies go.
        settlement: publishes replies and copies, and acknowledges.
        expiry: whether the caller still waits.
    """

    _log = Logger()

    def __init__(self, entry: QueueEntry, retry: RetryRoute, settlement: Settlement, expiry: Expiry) -> None:
        self._entry = entry
        self._retry = retry
        self._settlement = settlement
        self._expiry = expiry

    async def succeeded(self, task: Task, response: ModelResponse) -> None:
        """Reply with the model's response. Without a reply address, park the message if the status is 4xx."""
        task.was_called = True
        task.model_error, task.model_status = response.model_error, response.status
        if self._settlement.address(task) is not None:
            reply = result_reply(task, response)
            await self._settlement.reply(task, reply, lambda error: error_reply(task, error, error.reason))
        elif response.status < 300:
            if task.history.is_answered:
                self._log.info("{queue}: answered after the caller was told of a failure", **task.log_fields)
            self._settlement.done(task)
        else:
            reason = f"The model answered with HTTP status {response.status}."
            self._log.warn("{queue}: {reason}", reason=reason, model_error=response.model_error, **task.log_fields)
            await self._settlement.park(task, "rejected")

    async def failed(self, task: Task, failure: ModelFailure) -> None:
        """Retry, park or answer a message that the model failed on."""
        task.was_called = True
        task.model_error, task.model_status = failure.model_error, failure.model_status
        self._log.warn(
            "{queue}: {reason}",
            reason=failure.detail,
            cause=failure.cause,
            model_error=failure.model_error,
            attempt=task.history.attempt,
            **task.log_fields,
        )
        if not self._entry.dle:
            await self.ended(task, failure, failure.reason)
        elif task.history.attempt < self._entry.max_attempts:
            is_answered = task.history.is_answered or (self._waits_in_vain(task) and await self._tell(task, failure))
            target = self._retry.target(task.delivery)
            await self._settlement.retry(task, *target, failure.reason, is_answered=is_answered)
        else:
            await self._settlement.park(task, failure.reason, error_reply(task, failure, failure.reason))

    def _waits_in_vain(self, task: Task) -> bool:
        """True if a caller waits at a queue of its own, but not until the next attempt.

        A caller whose answer is kept can fetch what comes of the next attempt: this failure must not be its answer.
        """
        reply_by = task.reply_by
        if reply_by is None or task.message.reply_to is None or task.results is not None:
            return False
        return self._expiry.is_past(reply_by / 1000 - self._retry.delay)

    async def _tell(self, task: Task, failure: ModelFailure) -> bool:
        """Reply with a failure before the next attempt; True if the reply is confirmed."""
        detail = f"{failure.detail} It is tried again after the time for which you wait: the request may be executed."
        early = ModelFailure(detail, failure.reason)
        early.members = failure.members
        return await self._settlement.tell(task, error_reply(task, early, early.reason))

    async def ended(self, task: Task, error: GatewayError, reason: str) -> None:
        """Reply with an error. Without a reply address, park the message."""
        if self._settlement.address(task) is None:
            await self._settlement.park(task, reason)
            return
        reply = error_reply(task, error, reason)
        await self._settlement.reply(task, reply, lambda refused: error_reply(task, refused, refused.reason))
