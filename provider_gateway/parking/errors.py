"""Errors of looks and jobs on parking queues: HTTP status and problem type. The text says what to do."""

from __future__ import annotations

from provider_gateway.errors import BadRequest, GatewayError, NotFound, Unavailable


class FilterError(BadRequest):
    """A condition of a filter is malformed; the text is one line that names it."""


class NoSuchQueue(NotFound):
    """No entry of the queue file has a work queue of this name."""


class NoSuchMessage(NotFound):
    """No message with this id is in the parking queue any more."""


class ParkingBusy(GatewayError):
    """Somebody else is looking into the parking queue, or has a job on it; the text says who, if that is known."""

    status, problem, title = 409, "parking-busy", "Somebody else is at the parking queue"


class CountChanged(GatewayError):
    """Another number of messages matches than was expected. Nothing was done."""

    status, problem, title = 409, "count-changed", "The number of messages has changed"

    @classmethod
    def of(cls, expected: int, found: int) -> CountChanged:
        """The error for a number of messages as the operator saw it, and their number now."""
        error = cls(f"{expected} messages were expected, and {found} match now. Nothing was done: look again.")
        error.members = {"expected": expected, "found": found}
        return error


class ParkingUnusable(Unavailable):
    """The broker refuses the parking queue: a permission is missing, or it was declared in another way."""

    problem, title, retry_after = "parking-unusable", "The parking queue cannot be used", 30
