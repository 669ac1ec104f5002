"""The responses for errors: one for each status, made from the classes of the errors that have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.errors import (
    BadRequest,
    BodyTooLarge,
    Draining,
    Forbidden,
    GatewayError,
    HeadersTooLarge,
    Overloaded,
    RateLimited,
    RequestTimeout,
    Unavailable,
    UnsupportedMediaType,
)
from provider_gateway.message.http_headers import JSON
from provider_gateway.message.ids import RQUID
from provider_gateway.message.problem import PROBLEM_JSON, TYPE_PREFIX
from provider_gateway.openapi.operation import ref

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provider_gateway.openapi.operation import Form, Operation, Schema

#: Every operation may end with these: the request is malformed, over a limit, or late, or its certificate has expired.
ANYWHERE: tuple[type[GatewayError], ...] = (
    BadRequest,
    Forbidden,
    RequestTimeout,
    BodyTooLarge,
    HeadersTooLarge,
    GatewayError,
    Overloaded,
)

#: Every request that is admitted may end with these, too.
ADMITTED: tuple[type[GatewayError], ...] = (BadRequest, Draining, Overloaded)

PROBLEM: Schema = {
    "title": "Problem",
    "description": "A problem document (RFC 9457). Programs go by `status` and `type`; `detail` is for people.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": f"`{TYPE_PREFIX}` and the name of the type"},
        "title": {"type": "string", "description": "summary of the type, the same each time"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "what went wrong with this request, and what to do"},
        "rquid": {"type": "string", "description": "id of the request, as in the log"},
        "trace_id": {"type": "string", "description": "id of the trace, if the request is traced (OpenTelemetry)"},
        "request_id": {"type": "string", "description": "id under which a late answer can be fetched (504)"},
        "uid": {"type": "string", "description": "the same as `request_id`"},
        "expected": {"type": "integer", "description": "the `expected_count` that was sent (409)"},
        "found": {"type": "integer", "description": "how many messages match now (409)"},
        "model_error": {
            "type": "string",
            "description": "what the model says about its error, if the operators let callers see it (502)",
        },
    },
}
OPEN_INFERENCE_ERROR: Schema = {
    "title": "Error of the Open Inference Protocol",
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}
_OF_OTHERS = "An error of the model, or of whoever else serves the queue, as it is"


class ErrorResponses:
    """Makes the responses for errors, each once.

    Attributes:
        responses: by name, for the components of the document.
    """

    def __init__(self) -> None:
        self.responses: dict[str, Any] = {}
        self._names: dict[tuple[str, ...], str] = {}

    def of(self, operation: Operation) -> dict[str, Schema]:
        """References to the responses for the errors of an operation, by status."""
        by_status: dict[int, list[type[GatewayError]]] = {}
        for error in dict.fromkeys((*operation.errors, *ANYWHERE)):
            by_status.setdefault(error.status, []).append(error)
        return {
            str(status): {"$ref": f"#/components/responses/{self._name(errors, operation)}"}
            for status, errors in sorted(by_status.items())
        }

    def _name(self, errors: list[type[GatewayError]], operation: Operation) -> str:
        """The name of the response for errors of one status: that of the only type, or of the status and a number."""
        errors = sorted({error.problem: error for error in errors}.values(), key=lambda error: error.problem)
        prefix = "OpenInference" if operation.form == "open-inference" else ""
        suffix = "OrOfTheModel" if operation.relays else ""
        key = (prefix, suffix, *(error.problem for error in errors))
        if key not in self._names:
            title = "".join(word.capitalize() for word in errors[0].problem.split("-"))
            start = prefix + (title if len(errors) == 1 else f"Error{errors[0].status}")
            more = [f"Variant{number}" for number in range(2, 99)]
            name = next(name for each in ("", *more) if (name := start + suffix + each) not in self.responses)
            self._names[key] = name
            self.responses[name] = _response(errors, operation.form, relays=operation.relays)
        return self._names[key]


def _response(errors: list[type[GatewayError]], form: Form, *, relays: bool) -> dict[str, Any]:
    titles = [f"{error.title} (`{error.problem}`)" if form == "problem" else error.title for error in errors]
    titles = list(dict.fromkeys(titles))
    content = {PROBLEM_JSON: _problem(errors)} if form == "problem" else {JSON: ref("OpenInferenceError")}
    if relays:
        titles.append(_OF_OTHERS)
        content = {media_type: {"anyOf": [schema, {}]} for media_type, schema in content.items()} | {"*/*": {}}
    return {
        "description": titles[0] if len(titles) == 1 else "\n".join(f"- {title}" for title in titles),
        "headers": dict(_headers(errors)),
        "content": {media_type: {"schema": schema} for media_type, schema in content.items()},
    }


def _problem(errors: list[type[GatewayError]]) -> Schema:
    """The schema of a problem document of one of these types, which have the same status."""
    (status,) = {error.status for error in errors}
    types = [TYPE_PREFIX + error.problem for error in errors]
    return {"allOf": [ref("Problem"), {"properties": {"type": {"enum": types}, "status": {"const": status}}}]}


def _headers(errors: Iterable[type[GatewayError]]) -> Iterable[tuple[str, Schema]]:
    yield RQUID, {"$ref": f"#/components/headers/{RQUID}"}
    if any(issubclass(error, Unavailable | RateLimited) for error in errors):
        yield "Retry-After", {"$ref": "#/components/headers/Retry-After"}
    if any(error.may_have_location for error in errors):
        yield (
            "Location",
            {"description": "path of the request whose answer can be fetched", "schema": {"type": "string"}},
        )
    if any(issubclass(error, UnsupportedMediaType) for error in errors):
        for name, what in (("Accept", "media types"), ("Accept-Encoding", "content codings")):
            yield name, {"description": f"{what} that are accepted", "schema": {"type": "string"}}
