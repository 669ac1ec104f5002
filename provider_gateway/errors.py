"""Every error that a caller can meet: its HTTP status, its problem type, and whether a retry can help.

Nothing here talks to HTTP or AMQP. :mod:`provider_gateway.http_server.problems` renders these errors as problem
documents.
"""

from __future__ import annotations

from typing import ClassVar


class SettingsError(Exception):
    """A setting is wrong; the text is one line that names it and says what was expected."""


class TopologyError(Exception):
    """The broker refused a declaration; the text names the object and the argument.

    Attributes:
        mismatch: True if an object exists with other arguments (AMQP 406), which no retry mends.
    """

    def __init__(self, text: str, *, mismatch: bool = False) -> None:
        super().__init__(text)
        self.mismatch = mismatch


class GatewayError(Exception):
    """Base of the errors that end a request; the text is the problem's ``detail``.

    Attributes:
        status: HTTP status of the answer (RFC 9110).
        problem: last part of the problem type (RFC 9457), stable for programs.
        title: short summary of the problem type, the same for every occurrence.
        retry_after: seconds after which the same request may succeed; None if a retry does not help
            or could run the request twice.
    """

    status: ClassVar[int] = 500
    problem: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"
    retry_after: int | None = None

    @property
    def detail(self) -> str:
        """What went wrong with this request, and what to do."""
        return str(self)


class BadRequest(GatewayError):
    """A header or the request line breaks a rule."""

    status, problem, title = 400, "bad-request", "Bad request"


class Forbidden(GatewayError):
    """The client's certificate does not allow this (any more)."""

    status, problem, title = 403, "forbidden", "Not allowed with this certificate"


class NoRoute(GatewayError):
    """The broker returned the message: no queue is bound for its routing key."""

    status, problem, title = 404, "no-route", "No queue is bound for this routing key"


class NotFound(GatewayError):
    """The path is unknown."""

    status, problem, title = 404, "not-found", "Not found"


class MethodNotAllowed(GatewayError):
    """The path does not support the method.

    Attributes:
        allowed: the methods that it supports.
    """

    status, problem, title = 405, "method-not-allowed", "Method not allowed"

    def __init__(self, detail: str, allowed: tuple[str, ...]) -> None:
        super().__init__(detail)
        self.allowed = allowed


class RequestTimeout(GatewayError):
    """The client took too long to send the request."""

    status, problem, title = 408, "request-timeout", "The request took too long to arrive"


class BodyTooLarge(GatewayError):
    """The request's body is over ``MAX_BODY_BYTES``."""

    status, problem, title = 413, "body-too-large", "Body too large"


class UnsupportedMediaType(GatewayError):
    """The body is not declared as JSON."""

    status, problem, title = 415, "unsupported-media-type", "Unsupported media type"


class InvalidJSON(GatewayError):
    """The body is declared as JSON and is not."""

    status, problem, title = 422, "invalid-json", "The body is not valid JSON"


class RateLimited(GatewayError):
    """The identity has used up its rate.

    Args:
        retry_after: seconds until it may call again.
    """

    status, problem, title = 429, "rate-limited", "Too many requests"

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class HeadersTooLarge(GatewayError):
    """A header cannot travel in a message because it is too large."""

    status, problem, title = 431, "headers-too-large", "Headers too large"


class ModelFailure(GatewayError):
    """The model gave no usable answer.

    Attributes:
        reason: one of ``timeout``, ``connection``, ``status``, ``body``: the label of metrics and ``pg-reason``.
        cause: what the operator should know and the caller should not, such as host names.
    """

    status, problem, title = 502, "model-failed", "The model failed"

    def __init__(self, detail: str, reason: str, cause: object = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.cause = str(cause)


class Unavailable(GatewayError):
    """The request was not accepted, and a later one may be."""

    status, problem, title, retry_after = 503, "unavailable", "Not available for now", 1


class BrokerUnavailable(Unavailable):
    """There is no open connection to the broker; nothing was sent."""

    problem, title = "broker-unavailable", "The broker is not connected"


class BrokerBlocked(Unavailable):
    """The broker has asked publishers to stop (memory or disk alarm); nothing was sent."""

    problem, title, retry_after = "broker-blocked", "The broker accepts no messages for now", 5


class Nacked(Unavailable):
    """The broker refused the message, as it does when a queue is full."""

    problem, title, retry_after = "message-refused", "The broker refused the message", 5


class Overloaded(Unavailable):
    """``MAX_IN_FLIGHT`` requests are being served already, or their bodies take ``MAX_BUFFERED_BYTES``."""

    problem, title = "too-many-requests-in-flight", "Too many requests in flight"


class Draining(Unavailable):
    """The process is stopping and takes no new requests."""

    problem, title = "draining", "This instance is stopping"


class DeadlinePassed(GatewayError):
    """No reply in time; the request may have been executed or may still be."""

    status, problem, title = 504, "deadline-passed", "No reply in time"


class OutcomeUnknown(GatewayError):
    """The broker's confirm did not arrive; the message may or may not have been accepted."""

    status, problem, title = 504, "outcome-unknown", "It is not known whether the broker accepted the message"


class PublishRefused(OutcomeUnknown):
    """The broker closed the channel over a message on it: this one, or another that was under way.

    Args:
        is_certain: no other was under way, so it was this one.
    """

    problem = "publish-refused"

    def __init__(self, detail: str, *, is_certain: bool = False) -> None:
        super().__init__(detail)
        self.is_certain = is_certain
