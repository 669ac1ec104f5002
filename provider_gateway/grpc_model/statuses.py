"""What a gRPC status means for a message: the model's answer, or a model that is busy, away, or has failed.

Pure. grpcio does not say whether a status came from the server or was made here, so its text has to tell: a request
that may have reached the model must use up an attempt. These texts are why setup.py has an upper bound for grpcio.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from twisted.web.http_headers import Headers

from provider_gateway.config.queue_file import MAX_SECONDS
from provider_gateway.errors import ModelBusy, ModelFailure, ModelUnreachable
from provider_gateway.model.retry_after import retry_after

if TYPE_CHECKING:
    from provider_gateway.clocks import WallClock
    from provider_gateway.grpc_model.channel import Answer
    from provider_gateway.model.model_errors import ModelErrors

#: Made here: no connection was made, so nothing was sent.
_NOT_CONNECTED = re.compile(
    r"failed to connect to all addresses|connections to all backends failing|errors resolving |DNS resolution failed"
    r"|empty address list|name resolution"
)
#: Made here, or by a proxy before the model: a connection was lost that had the request.
_LOST = re.compile(
    r"socket closed|stream (removed|reset)|connection (reset|termination)|broken pipe|(recv|send)msg:|watchdog"
    r"|ping timeout|goaway received|transport (is )?clos|unexpected eof",
    re.IGNORECASE,
)
#: Made here: the answer is over our limit.
_ANSWER_TOO_LARGE = re.compile(r"CLIENT: \w+ message larger than max")
#: Made by servers: the request is over theirs. grpcio, Go, Java, .NET and Rust.
_REQUEST_TOO_LARGE = re.compile(
    r"message larger than max|message exceeds (the )?(configured )?max|message length too large", re.IGNORECASE
)
_HEADERS_TOO_LARGE = re.compile(r"metadata size exceeds", re.IGNORECASE)
#: Bytes of metadata in an answer, which has the error's text. grpcio's own limit is 8 KiB: a traceback is longer.
METADATA_BYTES = 131_072
#: Made here: the metadata of the answer are over our limit. grpcio 1.70 says no more than a server would:
#: there, the limit tells whose it is.
_ANSWERED_HEADERS_TOO_LARGE = re.compile(
    rf"Stream removed \(received metadata size exceeds|received metadata size exceeds .* vs\. {METADATA_BYTES}\)"
)
#: Made here: the time limit has passed.
_DEADLINE = "Deadline Exceeded"
_DIGITS = re.compile(r"[0-9]{1,12}")

#: The HTTP status that stands for a gRPC status in parked messages, as gateways between both have it; 500 for others.
_HTTP = {
    "UNAVAILABLE": HTTPStatus.SERVICE_UNAVAILABLE,
    "RESOURCE_EXHAUSTED": HTTPStatus.TOO_MANY_REQUESTS,
    "DEADLINE_EXCEEDED": HTTPStatus.GATEWAY_TIMEOUT,
    "UNIMPLEMENTED": HTTPStatus.NOT_IMPLEMENTED,
    "UNAUTHENTICATED": HTTPStatus.UNAUTHORIZED,
    "PERMISSION_DENIED": HTTPStatus.FORBIDDEN,
    "FAILED_PRECONDITION": HTTPStatus.BAD_REQUEST,
    "ABORTED": HTTPStatus.CONFLICT,
    "ALREADY_EXISTS": HTTPStatus.CONFLICT,
}
#: Statuses that are a caller's error.
_CALLERS = {"INVALID_ARGUMENT": HTTPStatus.BAD_REQUEST, "NOT_FOUND": HTTPStatus.NOT_FOUND}


def caller_error(answer: Answer) -> int | None:
    """The HTTP status for an answer that says that the caller has made a mistake; None for any other answer."""
    if answer.code in ("RESOURCE_EXHAUSTED", "OUT_OF_RANGE") and not _ANSWER_TOO_LARGE.search(answer.details):
        if _REQUEST_TOO_LARGE.search(answer.details):
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        if _HEADERS_TOO_LARGE.search(answer.details) and not _ANSWERED_HEADERS_TOO_LARGE.match(answer.details):
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    return _CALLERS.get(answer.code)


def is_our_deadline(answer: Answer) -> bool:
    """True if gRPC has ended the call at its time limit. A server may say so before, of another limit."""
    return answer.code == "DEADLINE_EXCEEDED" and answer.details == _DEADLINE


def is_lost(answer: Answer) -> bool:
    """True if the connection was lost that had the request."""
    if answer.code != "UNAVAILABLE" or _NOT_CONNECTED.search(answer.details):
        return False
    return _LOST.search(answer.details) is not None


def failure(answer: Answer, wall_clock: WallClock, max_body_bytes: int, errors: ModelErrors) -> ModelFailure:
    """The failure for a status that is neither OK nor the caller's error.

    Args:
        errors: is told what the model says.
    """
    code, details = answer.code, answer.details
    if code == "UNAVAILABLE" and _NOT_CONNECTED.search(details):
        return ModelUnreachable("The model cannot be reached.", errors.of_text(details))
    if is_lost(answer):
        return ModelFailure("The model closed the connection without an answer.", "connection", errors.of_text(details))
    if code == "RESOURCE_EXHAUSTED" and _ANSWER_TOO_LARGE.search(details):
        return too_large(max_body_bytes)
    if code == "RESOURCE_EXHAUSTED" and _ANSWERED_HEADERS_TOO_LARGE.match(details):
        return ModelFailure("The model's answer cannot be passed on. Its headers are too large.", "body")
    told = f"The model answered with the gRPC status {code}."
    found: ModelFailure
    if code == "UNAVAILABLE":
        found = ModelUnreachable(told)
    elif code == "RESOURCE_EXHAUSTED":
        found = ModelBusy(told, _wait(answer, wall_clock))
    else:
        found = ModelFailure(told, "timeout" if code == "DEADLINE_EXCEEDED" else "status")
    found.model_status = _HTTP.get(code, HTTPStatus.INTERNAL_SERVER_ERROR)
    return errors.tell(found, errors.of_text(details))


def too_large(max_body_bytes: int) -> ModelFailure:
    """The failure of a call with a body over the limit."""
    return ModelFailure(f"The model's answer is larger than {max_body_bytes} bytes (MAX_BODY_BYTES).", "body")


def _wait(answer: Answer, wall_clock: WallClock) -> float | None:
    """Seconds to leave a busy model alone, by its ``grpc-retry-pushback-ms`` (gRFC A6) or ``retry-after``."""
    found = dict(answer.metadata)
    pushback = found.get("grpc-retry-pushback-ms")
    if isinstance(pushback, str) and _DIGITS.fullmatch(pushback):
        return min(int(pushback) / 1000, MAX_SECONDS)
    given = found.get("retry-after")
    return retry_after(Headers({"retry-after": [given]}), wall_clock) if isinstance(given, str) else None
