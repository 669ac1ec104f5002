"""The errors that a caller can receive: HTTP status, problem type, and whether a retry can help.

Nothing here talks to HTTP or AMQP; :mod:`provider_gateway.http_server.problems` renders these errors.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping


class SettingsError(Exception):
    """A setting is wrong; the text is one line that names it and says what was expected."""


class TopologyError(Exception):
    """The broker refused a declaration; the text names the object and the argument, and says what to do.

    Attributes:
        code: the broker's reply code; None if the object was not sent.
        is_final: True if no later attempt succeeds before somebody has changed queue file, object or broker.
    """

    def __init__(self, text: str, *, code: int | None = None, is_final: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.is_final = is_final


class GatewayError(Exception):
    """Base of the errors that end a request. The text is the ``detail`` of the problem document.

    Attributes:
        status: HTTP status of the response (RFC 9110).
        problem: last part of the problem type (RFC 9457, 3.1.1); programs rely on it.
        title: short summary of the problem type, the same for every occurrence (RFC 9457, 3.1.3).
        retry_after: seconds after which the same request may succeed; None if no retry helps, or it may run it twice.
        location: path at which the request can be asked for later; None if it cannot.
        may_have_location: False if no error of the class has one.
        members: more members of the problem document (RFC 9457, 3.2).
    """

    status: ClassVar[int] = 500
    problem: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"
    may_have_location: ClassVar[bool] = False
    retry_after: int | None = None
    location: str | None = None
    members: Mapping[str, object] = MappingProxyType({})

    @property
    def detail(self) -> str:
        """What went wrong with this request, and what to do."""
        return str(self) if self.location is None else f"{self} Its answer is kept: see Location."


class BadRequest(GatewayError):
    """The request line or a header is malformed."""

    status, problem, title = 400, "bad-request", "Bad request"


class Forbidden(GatewayError):
    """The client certificate does not allow the request, or is no longer trusted."""

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
    """The body is over ``MAX_BODY_BYTES``, or over the broker's ``max_message_size``."""

    status, problem, title = 413, "body-too-large", "Body too large"


class Unsendable(GatewayError):
    """Base: the model was not called, since it cannot be with this message. ``reason`` is the ``pg-reason``."""

    status, problem, title = 400, "unsendable", "The message does not fit its model"
    reason: ClassVar[str]


class UnsupportedMediaType(Unsendable):
    """The body has a media type, a charset or a content coding that is not accepted.

    Args:
        detail: text of the problem document.
        accepted: headers of the response that say what is accepted (RFC 9110, 15.5.16).
    """

    status, problem, title = 415, "unsupported-media-type", "Unsupported media type"
    reason = "content-encoding"

    def __init__(self, detail: str, accepted: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__(detail)
        self.accepted = accepted


class InvalidJSON(GatewayError):
    """The body is declared as JSON and is not valid JSON."""

    status, problem, title = 422, "invalid-json", "The body is not valid JSON"


class RateLimited(GatewayError):
    """The identity has used up its rate.

    Args:
        detail: text of the problem document.
        retry_after: seconds until the next request is allowed.
    """

    status, problem, title = 429, "rate-limited", "Too many requests"

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class HeadersTooLarge(GatewayError):
    """The headers are too large for a message: they travel in one frame, whose size the broker limits."""

    status, problem, title = 431, "headers-too-large", "Headers too large"


#: A message is larger than we or the broker take. Nothing was accepted, and a retry does not help.
TOO_LARGE = (BodyTooLarge, HeadersTooLarge)


class ModelFailure(GatewayError):
    """The model sent no usable response.

    Attributes:
        reason: ``timeout``, ``connection``, ``status``, ``body`` or ``busy``: the label of metrics, and ``pg-reason``.
        cause: details for the operator's log, not for the caller, such as host names.
        model_status: HTTP status of the model's answer; None if there was none, or an unusable one.
        model_error: what the model says about it, for log and parked message; empty if it says nothing.
    """

    status, problem, title = 502, "model-failed", "The model failed"

    def __init__(self, detail: str, reason: str, cause: object = "", *, model_status: int | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.cause, self.model_status, self.model_error = str(cause), model_status, ""


class ModelBusy(ModelFailure):
    """The model answered 429 or 503: it takes the call later.

    Attributes:
        wait: seconds after which it may be called again, by its ``Retry-After``; None without one.
    """

    def __init__(self, detail: str, wait: float | None = None, *, model_status: int | None = None) -> None:
        super().__init__(detail, "busy", model_status=model_status)
        self.wait = wait


class ModelUnreachable(ModelFailure):
    """No connection to the model could be made, so it has not seen the call.

    Its reason is ``timeout`` if the time limit of the call ended before, and ``connection`` otherwise.
    """

    def __init__(self, detail: str, cause: object = "", *, reason: str = "connection") -> None:
        super().__init__(detail, reason, cause)


class Unavailable(GatewayError):
    """The request was not accepted; a later one may be."""

    status, problem, title, retry_after = 503, "unavailable", "Not available for now", 1


class BrokerUnavailable(Unavailable):
    """No connection to the broker is open; nothing was sent."""

    problem, title = "broker-unavailable", "The broker is not connected"


class BrokerBlocked(Unavailable):
    """The broker has asked publishers to stop (memory or disk alarm); nothing was sent."""

    problem, title, retry_after = "broker-blocked", "The broker accepts no messages for now", 5


class Nacked(Unavailable):
    """The broker nacked the message, for example because a queue is full."""

    problem, title, retry_after = "message-refused", "The broker refused the message", 5


class Overloaded(Unavailable):
    """``MAX_IN_FLIGHT`` requests are being served already, or their bodies take ``MAX_BUFFERED_BYTES``."""

    problem, title = "too-many-requests-in-flight", "Too many requests in flight"


class QueueTooLong(Unavailable):
    """The wait that is to be expected in the queue is longer than the caller waits.

    Args:
        detail: text of the problem document.
        retry_after: seconds after which a request may be served in time.
    """

    problem, title = "queue-too-long", "The queue is too long for a reply in time"

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Draining(Unavailable):
    """The process drains: it takes no new requests."""

    problem, title = "draining", "This instance is stopping"


class StoreUnavailable(Unavailable):
    """The result store is away, or too slow."""

    problem, title, retry_after = "store-unavailable", "The result store is not available", 5


class DeadlinePassed(GatewayError):
    """No reply in time. The request may have been executed, or may still be."""

    status, problem, title, may_have_location = 504, "deadline-passed", "No reply in time", True


class OutcomeUnknown(GatewayError):
    """The broker's confirm did not arrive. The broker may or may not have accepted the message.

    Args:
        was_read: True if the broker has read the message and went on to the next one: a reply is to be expected.
        is_alone: True if no other message was unconfirmed when the connection was lost.
    """

    status, problem, title = 504, "outcome-unknown", "It is not known whether the broker accepted the message"
    may_have_location = True

    def __init__(self, detail: str, *, was_read: bool = False, is_alone: bool = False) -> None:
        super().__init__(detail)
        self.was_read = was_read
        self.is_alone = is_alone


class PublishRefused(OutcomeUnknown):
    """The broker closed channel or connection over a message: this one, or another that was unconfirmed at the time.

    Args:
        is_certain: True if no other message was unconfirmed, so it was this one.
        is_final: True if the broker would refuse the message each time.
    """

    problem = "publish-refused"

    def __init__(self, detail: str, *, is_certain: bool = False, is_final: bool = False) -> None:
        super().__init__(detail)
        self.is_certain = is_certain
        self.is_final = is_final
