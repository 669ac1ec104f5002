"""Makes an OpenAPI 3.1 document from the routes of an application and what is said of each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from provider_gateway import __version__
from provider_gateway.message.ids import RQUID
from provider_gateway.openapi.error_responses import OPEN_INFERENCE_ERROR, PROBLEM, ErrorResponses

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from klein import Klein

    from provider_gateway.openapi.operation import Answer, Operation, Parameter, Schema

#: Method and path of an operation, such as ``GET /v1/requests/{id}``.
Route = tuple[str, str]
#: Methods that are not described one by one: every path has them, or every path with GET.
_IMPLIED = frozenset({"HEAD", "OPTIONS"})
_PLACEHOLDER = re.compile(r"<(?:[^:>]+:)?([a-z]+)_?>")


def routes_of(app: Klein) -> list[Route]:
    """The routes of an application, without HEAD and OPTIONS."""
    return [
        (method, _PLACEHOLDER.sub(r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - _IMPLIED)
    ]


def described(routes: Iterable[Route], operations: Mapping[Route, Operation | None]) -> dict[Route, Operation]:
    """The operations of routes, in the order in which they are described.

    Args:
        operations: what is said of each route; None for one that is not offered, as nothing is at its path.

    Raises:
        LookupError: nothing is said of a route.
    """
    silent = set(routes) - operations.keys()
    if silent:
        msg = f"no operation describes {', '.join(' '.join(route) for route in sorted(silent))}"
        raise LookupError(msg)
    return {route: operation for route, operation in operations.items() if operation is not None}


def openapi_document(
    operations: Mapping[Route, Operation],
    *,
    title: str,
    description: str,
    tags: Mapping[str, str],
    schemas: Mapping[str, Schema],
    has_tls: bool,
) -> dict[str, Any]:
    """The document (OpenAPI 3.1.1), as decoded JSON.

    Args:
        operations: in the order in which they are listed.
        tags: descriptions of the groups, in order. Those without an operation are left out.
        schemas: that operations refer to; those of errors are added.
        has_tls: True if callers show a client certificate.
    """
    errors = ErrorResponses()
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in operations.items():
        paths.setdefault(path, {})[method.lower()] = _operation(operation, errors)
    used = {operation.tag for operation in operations.values()}
    components: dict[str, Any] = {
        "schemas": {"Problem": PROBLEM, **schemas},
        "responses": dict(sorted(errors.responses.items())),
        "headers": {
            RQUID: {"description": "id of the request, in logs and messages, too", "schema": {"type": "string"}},
            "Retry-After": {"description": "seconds after which to try again", "schema": _SECONDS},
        },
    }
    if any(operation.form == "open-inference" for operation in operations.values()):
        components["schemas"]["OpenInferenceError"] = OPEN_INFERENCE_ERROR
    document: dict[str, Any] = {
        "openapi": "3.1.1",
        "info": {
            "title": title,
            "version": __version__,
            "description": description,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in tags.items() if name in used],
        "paths": paths,
        "components": components,
    }
    if has_tls:
        components["securitySchemes"] = {
            "clientCertificate": {"type": "mutualTLS", "description": "a client certificate of a CA that is trusted"}
        }
        document["security"] = [{"clientCertificate": []}]
    return document


_SECONDS: Schema = {"type": "integer", "minimum": 0}


def _operation(operation: Operation, errors: ErrorResponses) -> dict[str, Any]:
    answers = {status: _answer(answer) for status, answer in operation.answers.items()}
    described: dict[str, Any] = {
        "tags": [operation.tag],
        "operationId": operation.id,
        "summary": operation.summary,
        "description": operation.description,
        "parameters": [_parameter(each) for each in operation.parameters],
    }
    if operation.body is not None:
        described["requestBody"] = {
            "description": operation.body.description,
            "required": True,
            "content": _content(operation.body.content),
        }
    described["responses"] = dict(sorted((answers | errors.of(operation)).items()))
    return {name: value for name, value in described.items() if value not in ("", [])}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.description,
        "schema": parameter.schema,
    }
    if parameter.required or parameter.where == "path":
        found["required"] = True
    if parameter.examples:
        found["examples"] = {value: {"value": value} for value in parameter.examples}
    return found


def _answer(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = {"description": answer.description}
    headers: dict[str, Any] = {RQUID: {"$ref": f"#/components/headers/{RQUID}"}}
    for name, text in answer.headers.items():
        headers[name] = {"description": text, "schema": _SECONDS if name == "Retry-After" else {"type": "string"}}
    found["headers"] = headers
    if answer.content:
        found["content"] = _content(answer.content)
    if answer.links:
        found["links"] = {id_: {"operationId": id_, "parameters": dict(values)} for id_, values in answer.links.items()}
    return found


def _content(content: Mapping[str, Schema]) -> dict[str, Any]:
    return {media_type: {"schema": schema} for media_type, schema in content.items()}
