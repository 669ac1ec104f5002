"""Errors of requests whose answers are kept: HTTP status and problem type."""

from __future__ import annotations

from provider_gateway.errors import DeadlinePassed, GatewayError, NotFound, OutcomeUnknown, PublishRefused


class IdempotencyInProgress(GatewayError):
    """A request with the same ``Idempotency-Key`` is being served."""

    status, problem, title = 409, "idempotency-in-progress", "A request with this Idempotency-Key is in progress"
    may_have_location = True


class Gone(GatewayError):
    """The time of the request is over: its result has been deleted."""

    status, problem, title = 410, "request-gone", "The result is not kept any more"


class RequestCanceled(GatewayError):
    """The request was canceled: there is no result."""

    status, problem, title = 410, "request-canceled", "The request was canceled"


class IdempotencyKeyReused(GatewayError):
    """The ``Idempotency-Key`` belongs to a request with another body."""

    status, problem, title = 422, "idempotency-key-reused", "This Idempotency-Key was used for another body"


class NotConfigured(GatewayError):
    """The request needs a result store, and none is configured (``RESULT_STORE``)."""

    status, problem, title = 501, "results-not-configured", "No result store is configured"


class ResultTooLarge(GatewayError):
    """The model's answer is larger than what is kept (``RESULT_MAX_BYTES``)."""

    status, problem, title = 502, "result-too-large", "The answer is too large to be kept"


class NotConfirmed(OutcomeUnknown):
    """The broker has not confirmed a recorded message in time. It is published until it is confirmed.

    Args:
        detail: text of the problem document.
        request_id: by which the caller finds the answer; None if nobody can promise that there will be one.
    """

    def __init__(self, detail: str, request_id: str | None) -> None:
        super().__init__(detail)
        self.request_id = request_id


def may_be_accepted(error: GatewayError) -> bool:
    """True if the broker may have the message of a request that ended with this error: an answer may come."""
    if isinstance(error, PublishRefused) and error.is_certain:
        return False
    return isinstance(error, (DeadlinePassed, OutcomeUnknown))


def not_found(id_: str) -> NotFound:
    """The error for an id that there is not, or not for this caller."""
    return NotFound(f"There is no request {id_}, or it is not yours.")


def gone(id_: str) -> Gone:
    """The error for a request whose time is over."""
    return Gone(f"The result of the request {id_} is not kept any more (RESULT_TTL).")
