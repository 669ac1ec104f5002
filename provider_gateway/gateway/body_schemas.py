"""JSON Schemas of the bodies that the gateway writes itself, and of those of the Open Inference Protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.openapi.operation import ref
from provider_gateway.openapi.schema_parts import TEXT, TIME, list_of, object_of, or_null
from provider_gateway.store.records import Status

if TYPE_CHECKING:
    from provider_gateway.openapi.operation import Schema

#: The form of ids of requests, as :func:`.fresh_id` makes them.
REQUEST_ID: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
#: What a list can be asked for.
SHOWN_STATUSES = [status.value for status in Status if status is not Status.ERASED]

_TENSOR: dict[str, Any] = {
    "name": TEXT,
    "shape": list_of({"type": "integer"}),
    "datatype": {"type": "string", "examples": ["INT32", "FP32", "BYTES"]},
    "parameters": {"type": "object"},
    "data": {"description": "elements of the tensor; missing if they follow as bytes"},
}
#: For the routes of ``/v1`` and ``/health``.
SCHEMAS: dict[str, Schema] = {
    "Health": object_of("The listener runs.", status={"const": "OK"}),
    "Published": object_of("The ids of a published message.", message_id=TEXT, correlation_id=TEXT, rquid=TEXT),
    "Models": object_of("The models that the caller may use.", models=list_of(ref("Model"))),
    "Model": object_of(
        "A model, as its callers see it.",
        name=TEXT,
        paths=list_of(TEXT) | {"description": "where to POST without a `routing-key` header"},
        routing_key=or_null(TEXT) | {"description": "the key to send otherwise; null if there are several"},
        routing_keys=list_of(TEXT) | {"description": "all keys that lead to the model, as patterns"},
        accept=list_of(TEXT) | {"description": "media types of the bodies"},
        open_inference={"type": "boolean", "description": "true if callers may use the Open Inference Protocol"},
    ),
}
#: For the routes of ``/v1/requests``.
REQUEST_SCHEMAS: dict[str, Schema] = {
    "RequestStatus": object_of(
        "The status of a request. All but `pending` are final.",
        id=REQUEST_ID,
        uid={**REQUEST_ID, "description": "the same as `id`"},
        status={"enum": SHOWN_STATUSES},
        created=TIME,
        finished=or_null(TIME),
        attempts=or_null({"type": "integer", "minimum": 0}) | {"description": "calls of the model, if that is known"},
        routing_key=TEXT,
        rquid=TEXT,
        model_status=or_null({"type": "integer"}) | {"description": "HTTP status of the model's response"},
        links=object_of("Paths of this document and of the result.", self=TEXT, result=TEXT),
    ),
    "RequestList": object_of(
        "The caller's requests, the newest first.",
        requests=list_of(ref("RequestStatus")),
        next=or_null(TEXT) | {"description": "path of the next page"},
    ),
}
#: For the routes of ``/v2``.
OPEN_INFERENCE_SCHEMAS: dict[str, Schema] = {
    "ServerMetadata": object_of("The server.", name=TEXT, version=TEXT, extensions=list_of(TEXT)),
    "ServerLive": object_of("The server runs.", live={"const": True}),
    "ServerReady": object_of("All models that the caller may use are ready.", ready={"const": True}),
    "ModelMetadata": object_of(
        "What the queue file says of a model; it does not know the tensors.",
        name=TEXT,
        versions=list_of(TEXT),
        platform=TEXT,
        inputs=list_of({"type": "object"}),
        outputs=list_of({"type": "object"}),
    ),
    "ModelReady": object_of("The model is ready.", name=TEXT, ready={"const": True}),
    "InferenceRequest": object_of(
        "An inference request. It reaches the model as it is: what else it needs is the model's to say.",
        ("id", "parameters", "outputs"),
        id=TEXT,
        parameters={"type": "object"},
        inputs=list_of(object_of("A tensor.", ("parameters", "data"), **_TENSOR)),
        outputs=list_of(object_of("A wanted tensor.", ("parameters",), name=TEXT, parameters={"type": "object"})),
    ),
    "InferenceResponse": object_of(
        "An inference response, as the model has sent it.",
        ("id", "parameters", "model_version"),
        model_name=TEXT,
        model_version=TEXT,
        id=TEXT,
        parameters={"type": "object"},
        outputs=list_of(object_of("A tensor.", ("parameters", "data"), **_TENSOR)),
    ),
}
