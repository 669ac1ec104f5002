"""Drops messages whose model call is not to begin: nobody waits for the reply any more, or the request was canceled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from provider_gateway.errors import DeadlinePassed
from provider_gateway.message.message import PG_DEADLINE
from provider_gateway.provider.replies import error_reply

if TYPE_CHECKING:
    from collections.abc import Container, Coroutine

    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.provider.expiry import Expiry
    from provider_gateway.provider.settlement import Settlement
    from provider_gateway.provider.task import Task


class Unstarted:
    """Drops messages of one queue, and counts them.

    Args:
        settlement: acknowledges.
        expiry: whether anybody still waits for a reply.
        canceled: the correlation ids of requests that were canceled.
    """

    _log = Logger()

    def __init__(
        self,
        entry: QueueEntry,
        *,
        settlement: Settlement,
        expiry: Expiry,
        canceled: Container[str | None],
        metrics: Metrics,
    ) -> None:
        self._settlement = settlement
        self._expiry = expiry
        self._canceled = canceled
        self._expired_count = metrics.expired.labels(entry.queue_name)
        self._canceled_count = metrics.canceled.labels(entry.queue_name)

    def is_unwanted(self, task: Task) -> bool:
        """True if a model call would be in vain. After the first attempt, a message does not expire any more."""
        if task.results is not None:
            message = task.delivery.message
            if message.correlation_id in self._canceled:
                return True
            if PG_DEADLINE not in message.headers:
                return False  # its caller fetches the answer some time, though it may have ceased to wait
        return task.history.attempt <= 1 and self._expiry.has_passed(task.message)

    def drop(self, task: Task) -> Coroutine[Any, Any, None] | None:
        """Drop an unwanted message: an awaitable, or None if that is done already.

        An answer that would have been kept is replaced by the word that the message expired.
        """
        if task.results is not None and task.message.correlation_id in self._canceled:
            self._canceled_count.inc()
            self._log.info("{queue}: dropped: its request was canceled", **task.log_fields)
            self._settlement.done(task)
            return None
        self._expired_count.inc()
        self._log.info("{queue}: expired: nobody waits for the reply any more", **task.log_fields)
        if task.results is None:
            self._settlement.done(task)
            return None
        error = DeadlinePassed("The time of the request was over before its turn came: it was not executed.")
        return self._settlement.expire(task, error_reply(task, error, "expired"))
