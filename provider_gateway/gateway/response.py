"""Writes a reply, or the result that was kept of one, as the response to a request."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from twisted.web.http import RESPONSES

from provider_gateway.content_codings import are_accepted
from provider_gateway.errors import ModelFailure
from provider_gateway.gateway.error_forms import as_open_inference, is_open_inference
from provider_gateway.http_server.problems import with_length
from provider_gateway.message.http_headers import JSON, bytes_of, headers_to_http, safe_content_type
from provider_gateway.message.message import PG_STATUS, Message
from provider_gateway.message.problem import PROBLEM_JSON

#: Reason phrases (RFC 9110, 15) that Twisted does not know.
_PHRASES = {each.value: each.phrase.encode() for each in HTTPStatus if each not in RESPONSES}
_PHRASES[422] = b"Unprocessable Content"  # Python before 3.13 has the older "Unprocessable Entity"

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.store.records import Result


def write_reply(
    request: Any, reply: Message, accepted: frozenset[str] | None, on_unsafe: Callable[[], object]
) -> bytes:
    """Set status and headers of the response.

    Args:
        accepted: content codings that the caller accepts; None for any.
        on_unsafe: called for each header of the reply that is malformed. It is left out.

    Returns:
        The body.

    Raises:
        ModelFailure: the reply's status is none, or it has a content coding that the caller does not accept.
    """
    try:
        status, coding = reply.status, reply.content_coding()
    except ValueError as error:
        raise ModelFailure(str(error), "body") from None
    if coding is not None and not are_accepted(coding, accepted):
        msg = f"The answer has the Content-Encoding {coding}, which your Accept-Encoding does not allow."
        raise ModelFailure(msg, "body")
    request.setResponseCode(status, _PHRASES.get(status))
    for name, value in headers_to_http(reply.headers, on_unsafe).items():
        request.setHeader(name, bytes_of(value))
    if status in (204, 304):
        return b""  # RFC 9110, 8.6: no content, and no Content-Length
    if status == 205:
        return with_length(request, JSON, b"")  # RFC 9110, 15.3.6: no content, but a Content-Length
    if status >= 400 and coding is None and is_open_inference(request.path) and reply.content_type == PROBLEM_JSON:
        return with_length(request, JSON, as_open_inference(reply.body))
    if coding is not None:
        request.setHeader(b"Content-Encoding", coding.encode())
    return with_length(request, safe_content_type(reply.content_type), reply.body)


def write_result(
    request: Any, result: Result, accepted: frozenset[str] | None, on_unsafe: Callable[[], object]
) -> bytes:
    """Set status and headers of the response as :func:`write_reply` would have done for the reply.

    Raises:
        ModelFailure: as there.
    """
    reply = Message(
        result.body,
        {**result.headers, PG_STATUS: result.status},
        content_type=result.content_type,
        message_id=None,
        content_encoding=result.content_encoding,
    )
    return write_reply(request, reply, accepted, on_unsafe)
