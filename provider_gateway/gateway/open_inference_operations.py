"""What is said of the routes of the Open Inference Protocol, for OpenAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.errors import Forbidden, NotFound, Unavailable
from provider_gateway.gateway.shared_operations import (
    ANY,
    predict_errors,
    prediction_answers,
    waiting_parameters,
)
from provider_gateway.message.http_headers import JSON, JSON_SIZE
from provider_gateway.openapi.error_responses import ADMITTED
from provider_gateway.openapi.operation import RQUID_PARAMETER, Body, Operation, Parameter, json_answer, ref
from provider_gateway.topology.open_inference import VERSIONS, open_models

if TYPE_CHECKING:
    from provider_gateway.gateway.offer import Offer
    from provider_gateway.openapi.document import Route

OPEN_INFERENCE_TAG = "open-inference"
TAGS = {
    OPEN_INFERENCE_TAG: "The Open Inference Protocol, version 2, as clients of KServe, Triton and MLServer speak it."
}


def open_inference_operations(offer: Offer) -> dict[Route, Operation | None]:
    """The operations below ``/v2``; None for all of them if no entry has ``openInference``."""
    names = tuple(open_models(offer.entries))
    found = {**_of_server(), **_of_models(offer, names)}
    return dict(found) if names else dict.fromkeys(found)


def _of_server() -> dict[Route, Operation]:
    return {
        ("GET", "/v2"): _told("serverMetadata", "Tell about the server", "ServerMetadata"),
        # Nothing of the request is looked at: it is answered while the process drains, too.
        ("GET", "/v2/health/live"): Operation(
            id="serverLive",
            tag=OPEN_INFERENCE_TAG,
            summary="Tell that the server runs",
            answers={"200": json_answer("It runs.", "ServerLive")},
            form="open-inference",
        ),
        ("GET", "/v2/health/ready"): _told(
            "serverReady", "Tell whether all models are ready that the caller may use", "ServerReady", (Unavailable,)
        ),
    }


def _of_models(offer: Offer, names: tuple[str, ...]) -> dict[Route, Operation]:
    name = Parameter(
        name="name", where="path", description="Name of the model.", schema={"type": "string", "enum": list(names)}
    )
    version = Parameter(
        name="version",
        where="path",
        description="Version of the model: each has one.",
        schema={"type": "string", "enum": list(VERSIONS)},
    )
    found: dict[Route, Operation] = {}
    for below, suffix, parameters in (("", "", (name,)), ("/versions/{version}", "Version", (name, version))):
        path = f"/v2/models/{{name}}{below}"
        of_model = (NotFound, Forbidden)
        found["GET", path] = _told(
            f"modelMetadata{suffix}", "Tell about a model", "ModelMetadata", of_model, parameters
        )
        found["GET", f"{path}/ready"] = _told(
            f"modelReady{suffix}",
            "Tell whether a model is ready: some provider serves its queue",
            "ModelReady",
            (*of_model, Unavailable),
            parameters,
        )
        found["POST", f"{path}/infer"] = Operation(
            id=f"infer{suffix}",
            tag=OPEN_INFERENCE_TAG,
            summary="Call a model, and get its answer",
            description=(
                "As `POST /v1/predict`, with the routing key of the model. "
                f"The bytes of tensors may follow the JSON, whose size `{JSON_SIZE}` then says. "
                "The `Content-Type` may be missing, or be `application/octet-stream`."
            ),
            parameters=(*parameters, RQUID_PARAMETER, *waiting_parameters(offer)),
            body=Body(
                description=f"An inference request, of at most {offer.max_body_bytes:,} bytes.",
                content={JSON: ref("InferenceRequest")},
            ),
            answers=prediction_answers(offer, {JSON: {"anyOf": [ref("InferenceResponse"), {}]}, "*/*": ANY}),
            errors=(*predict_errors(offer), NotFound),
            relays=True,
            form="open-inference",
        )
    return found


def _told(
    id_: str,
    summary: str,
    schema: str,
    errors: tuple[type[NotFound | Forbidden | Unavailable], ...] = (),
    parameters: tuple[Parameter, ...] = (),
) -> Operation:
    return Operation(
        id=id_,
        tag=OPEN_INFERENCE_TAG,
        summary=summary,
        parameters=(*parameters, RQUID_PARAMETER),
        answers={"200": json_answer("It is so.", schema)},
        errors=(*ADMITTED, *errors),
        form="open-inference",
    )
