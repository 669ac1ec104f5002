"""The form of errors by path: below ``/v2`` that of the Open Inference Protocol, elsewhere a problem document."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from provider_gateway.http_server.problems import problem_document
from provider_gateway.message.http_headers import JSON

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.errors import GatewayError
    from provider_gateway.http_server.problems import ErrorForm


def is_open_inference(path: bytes) -> bool:
    """True for the paths of the Open Inference Protocol."""
    return path == b"/v2" or path.startswith(b"/v2/")


def error_form(path: bytes, error: GatewayError, rquid: str | None) -> tuple[str, bytes]:
    """Media type and body of the response for an error (:data:`provider_gateway.http_server.problems.ErrorForm`)."""
    if is_open_inference(path):
        return JSON, _open_inference(error.detail, error.members)
    return problem_document(path, error, rquid)


def error_form_of(entries: Iterable[QueueEntry]) -> ErrorForm:
    """The form of errors of a gateway with these entries: without one for the protocol, no path has another form."""
    return error_form if any(entry.open_inference for entry in entries) else problem_document


def as_open_inference(body: bytes) -> bytes:
    """A problem document in the form of the Open Inference Protocol.

    Args:
        body: the document, ours or that of somebody who serves the queue. One that cannot be read is an error without
            words.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        document = {}
    words = (document.get("detail"), document.get("title"))
    return _open_inference(next((each for each in words if isinstance(each, str)), "The request failed."), document)


def _open_inference(detail: str, members: Mapping[str, Any]) -> bytes:
    """What the model says stands in the text: the form has no place for anything else."""
    said = members.get("model_error")
    return json.dumps({"error": f"{detail} The model says: {said}" if isinstance(said, str) else detail}).encode()
