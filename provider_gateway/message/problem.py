"""Problem documents (RFC 9457): the form in which an error leaves this process, over HTTP or AMQP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provider_gateway.errors import GatewayError

PROBLEM_JSON = "application/problem+json"
TYPE_PREFIX = "urn:provider-gateway:problem:"


def problem_body(error: GatewayError, rquid: str | None) -> bytes:
    """The problem document for an error.

    Args:
        error: supplies type, title, status, detail, and more members.
        rquid: id of the request, for the caller's report; None before it is known.
    """
    document: dict[str, object] = {
        "type": TYPE_PREFIX + error.problem,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
    }
    if rquid is not None:
        document["rquid"] = rquid
    return json.dumps({**document, **error.members}).encode()
