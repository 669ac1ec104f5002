"""Errors as HTTP responses: status, headers and problem document (RFC 9457)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from twisted.logger import Logger, LogLevel
from werkzeug.exceptions import HTTPException, MethodNotAllowed as WerkzeugMethodNotAllowed

from provider_gateway.errors import BadRequest, GatewayError, MethodNotAllowed, NotFound, UnsupportedMediaType
from provider_gateway.message.problem import PROBLEM_JSON, problem_body
from provider_gateway.security.identity import text_of_identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure
    from twisted.web.iweb import IRequest

#: Makes media type and body of the response for an error from the path of the request, which may be malformed, the
#: error, and the id of the request.
ErrorForm: TypeAlias = "Callable[[bytes, GatewayError, str | None], tuple[str, bytes]]"

_log = Logger()


def error_of(failure: Failure) -> GatewayError:
    """The error to answer a failed request with. An unexpected exception is logged, and becomes a 500."""
    error = failure.value
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, WerkzeugMethodNotAllowed):
        allowed = tuple(sorted(error.valid_methods or ()))
        return MethodNotAllowed(f"This path supports {', '.join(allowed)}.", allowed)
    if isinstance(error, HTTPException) and error.code == 400:
        return BadRequest("The Host header or the path is malformed.")
    if isinstance(error, HTTPException):
        return NotFound("There is nothing at this path.")
    _log.failure("A request failed", failure)
    return GatewayError("An unexpected error; the log of this instance has the details.")


def log_error(log: Logger, request: Any, error: GatewayError) -> None:
    """Log that a request is answered with an error. If it is traced, line and problem document name the trace.

    With a broker that is away, or a caller over its rate, every request fails. The metrics count them; a line for each
    would flood the log.
    """
    traced = {} if request.span is None else {"trace_id": request.span.trace_id}
    error.members = {**error.members, **traced}
    log.emit(
        LogLevel.debug if error.status in (429, 503) else LogLevel.info,
        "{status} {problem}: {detail}",
        status=error.status,
        problem=error.problem,
        detail=error.detail,
        rquid=request.rquid,
        correlation_id=request.correlation_id,
        identity=text_of_identity(request.identity),
        **traced,
    )


def with_length(request: IRequest, content_type: str, body: bytes) -> bytes:
    """Set Content-Type and Content-Length of a response, and return its body."""
    request.setHeader("Content-Type", content_type)
    request.setHeader("Content-Length", str(len(body)))
    return body


def problem_document(path: bytes, error: GatewayError, rquid: str | None) -> tuple[str, bytes]:  # noqa: ARG001 - any
    """The usual form of errors (:data:`ErrorForm`)."""
    return PROBLEM_JSON, problem_body(error, rquid)


def render(request: Any, error: GatewayError, rquid: str | None, form: ErrorForm = problem_document) -> bytes:
    """Set status and headers of the response for an error.

    Args:
        rquid: id of the request; None if it has none.
        form: makes the body.

    Returns:
        The body.
    """
    request.setResponseCode(error.status, error.title.encode("ascii"))
    if error.retry_after is not None:
        request.setHeader("Retry-After", str(error.retry_after))
    if error.location is not None:
        request.setHeader("Location", error.location)
    if isinstance(error, MethodNotAllowed):
        request.setHeader("Allow", ", ".join(error.allowed))
    if isinstance(error, UnsupportedMediaType):
        for name, value in error.accepted.items():
            request.setHeader(name, value)
    return with_length(request, *form(request.path, error, rquid))
