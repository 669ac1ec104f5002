"""Problem documents (RFC 9457): the form of errors over HTTP and AMQP; and that of the Open Inference Protocol."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def open_inference_body(error: GatewayError) -> bytes:
    """An error in the form of the Open Inference Protocol."""
    return _open_inference(error.detail, error.members)


def as_open_inference(body: bytes) -> bytes:
    """A problem document in the form of the Open Inference Protocol.

    Args:
        body: the document, ours or that of somebody who serves the queue. One that cannot be read is an error without
            words.
    """
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        document = {}
    words = (document.get("detail"), document.get("title"))
    return _open_inference(next((each for each in words if isinstance(each, str)), "The request failed."), document)


def _open_inference(detail: str, members: Mapping[str, Any]) -> bytes:
    """What the model says stands in the text: the form has no place for anything else."""
    said = members.get("model_error")
    return json.dumps({"error": f"{detail} The model says: {said}" if isinstance(said, str) else detail}).encode()
