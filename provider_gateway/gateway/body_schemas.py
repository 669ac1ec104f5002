"""JSON Schemas of the bodies that the gateway writes itself, and of those of the Open Inference Protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.openapi.operation import ref
from provider_gateway.store.records import Status

if TYPE_CHECKING:
    from provider_gateway.openapi.operation import Schema

#: The form of ids of requests, as :func:`.fresh_id` makes them.
REQUEST_ID: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
#: The form of ``RqUID``.
REQUEST_UID: Schema = {"type": "string", "pattern": r"^[\x21-\x7e]{1,128}$"}
#: What a list can be asked for.
SHOWN_STATUSES = [status.value for status in Status if status is not Status.ERASED]

_TEXT: Schema = {"type": "string"}
_TIME: Schema = {"type": "string", "format": "date-time"}


def _object(description: str, /, optional: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {
        "description": description,
        "type": "object",
        "required": [name for name in properties if name not in optional],
        "properties": properties,
    }


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_TENSOR: dict[str, Any] = {
    "name": _TEXT,
    "shape": _list_of({"type": "integer"}),
    "datatype": {"type": "string", "examples": ["INT32", "FP32", "BYTES"]},
    "parameters": {"type": "object"},
    "data": {"description": "elements of the tensor; missing if they follow as bytes"},
}
#: For the routes of ``/v1`` and ``/health``.
SCHEMAS: dict[str, Schema] = {
    "Health": _object("The listener runs.", status={"const": "OK"}),
    "Published": _object("The ids of a published message.", message_id=_TEXT, correlation_id=_TEXT, rquid=_TEXT),
    "Models": _object("The models that the caller may use.", models=_list_of(ref("Model"))),
    "Model": _object(
        "A model, as its callers see it.",
        name=_TEXT,
        paths=_list_of(_TEXT) | {"description": "where to POST without a `routing-key` header"},
        routing_key=_or_null(_TEXT) | {"description": "the key to send otherwise; null if there are several"},
        routing_keys=_list_of(_TEXT) | {"description": "all keys that lead to the model, as patterns"},
        accept=_list_of(_TEXT) | {"description": "media types of the bodies"},
        open_inference={"type": "boolean", "description": "true if callers may use the Open Inference Protocol"},
    ),
}
#: For the routes of ``/v1/requests``.
REQUEST_SCHEMAS: dict[str, Schema] = {
    "RequestStatus": _object(
        "The status of a request. All but `pending` are final.",
        id=REQUEST_ID,
        uid={**REQUEST_ID, "description": "the same as `id`"},
        status={"enum": SHOWN_STATUSES},
        created=_TIME,
        finished=_or_null(_TIME),
        attempts=_or_null({"type": "integer", "minimum": 0}) | {"description": "calls of the model, if that is known"},
        routing_key=_TEXT,
        rquid=_TEXT,
        model_status=_or_null({"type": "integer"}) | {"description": "HTTP status of the model's response"},
        links=_object("Paths of this document and of the result.", self=_TEXT, result=_TEXT),
    ),
    "RequestList": _object(
        "The caller's requests, the newest first.",
        requests=_list_of(ref("RequestStatus")),
        next=_or_null(_TEXT) | {"description": "path of the next page"},
    ),
}
#: For the routes of ``/v2``.
OPEN_INFERENCE_SCHEMAS: dict[str, Schema] = {
    "ServerMetadata": _object("The server.", name=_TEXT, version=_TEXT, extensions=_list_of(_TEXT)),
    "ServerLive": _object("The server runs.", live={"const": True}),
    "ServerReady": _object("All models that the caller may use are ready.", ready={"const": True}),
    "ModelMetadata": _object(
        "What the queue file says of a model; it does not know the tensors.",
        name=_TEXT,
        versions=_list_of(_TEXT),
        platform=_TEXT,
        inputs=_list_of({"type": "object"}),
        outputs=_list_of({"type": "object"}),
    ),
    "ModelReady": _object("The model is ready.", name=_TEXT, ready={"const": True}),
    "InferenceRequest": _object(
        "An inference request. It reaches the model as it is: what else it needs is the model's to say.",
        ("id", "parameters", "outputs"),
        id=_TEXT,
        parameters={"type": "object"},
        inputs=_list_of(_object("A tensor.", ("parameters", "data"), **_TENSOR)),
        outputs=_list_of(_object("A wanted tensor.", ("parameters",), name=_TEXT, parameters={"type": "object"})),
    ),
    "InferenceResponse": _object(
        "An inference response, as the model has sent it.",
        ("id", "parameters", "model_version"),
        model_name=_TEXT,
        model_version=_TEXT,
        id=_TEXT,
        parameters={"type": "object"},
        outputs=_list_of(_object("A tensor.", ("parameters", "data"), **_TENSOR)),
    ),
}
