"""What is said of the routes below ``/v1``, and of the paths that entries of the queue file add, for OpenAPI."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from provider_gateway.errors import Forbidden, ModelFailure, NotFound, StoreUnavailable
from provider_gateway.gateway.body_schemas import REQUEST_ID, SHOWN_STATUSES
from provider_gateway.gateway.shared_operations import (
    ANY,
    ID_PARAMETER,
    accepted_answer,
    predict_errors,
    prediction_answers,
    publish_errors,
    routing_key_parameter,
    waiting_parameters,
)
from provider_gateway.message.http_headers import JSON
from provider_gateway.openapi.error_responses import ADMITTED
from provider_gateway.openapi.operation import RQUID_PARAMETER, Answer, Body, Operation, Parameter, json_answer
from provider_gateway.results.errors import Gone, RequestCanceled, ResultTooLarge

if TYPE_CHECKING:
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.gateway.offer import Offer
    from provider_gateway.openapi.document import Route

MODELS_TAG, REQUESTS_TAG, ABOUT_TAG = "models", "requests", "about"
TAGS = {
    MODELS_TAG: "Requests to models.",
    REQUESTS_TAG: "Requests whose answers are kept, of the caller who sent them.",
    ABOUT_TAG: "The gateway itself.",
}
_AFTER = Parameter(
    name="after",
    where="query",
    description="Goes on after this request; `next` of the page before has it.",
    schema=REQUEST_ID,
)
_LIMIT = Parameter(
    name="limit",
    where="query",
    description="Requests of a page.",
    schema={"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
)
_STATUS = Parameter(
    name="status", where="query", description="Only requests with this status.", schema={"enum": SHOWN_STATUSES}
)
_WAIT = Parameter(
    name="Prefer",
    where="header",
    description="`wait=5`: wait up to five seconds for the answer.",
    examples=("wait=1",),
)


def operations(offer: Offer) -> dict[Route, Operation | None]:
    """The operations below ``/v1``; None for those that are not offered."""
    kept = _kept_operations() if offer.has_store else dict.fromkeys(_kept_operations())
    return {
        ("POST", "/v1/predict"): _predict(offer),
        ("POST", "/v1/publish"): _publish(offer),
        ("GET", "/v1/models"): Operation(
            id="listModels",
            tag=MODELS_TAG,
            summary="List the models that the caller may use",
            parameters=(RQUID_PARAMETER,),
            answers={"200": json_answer("The models.", "Models")},
            errors=ADMITTED,
        ),
        **kept,
    }


def added_operations(offer: Offer) -> dict[Route, Operation]:
    """The operations at the paths that entries add: that of ``/v1/predict``, each with one routing key."""
    found: dict[Route, Operation] = {}
    ids = {"predict"}
    for entry in offer.entries:
        for path in entry.paths:
            id_ = _unused(re.sub("[^A-Za-z0-9]+", "_", f"predict{path}"), ids)
            found["POST", path] = _predict(offer, entry, id_)
    return found


def _unused(wanted: str, ids: set[str]) -> str:
    """An id that no operation has, and remember it: two paths may differ in punctuation alone."""
    id_, number = wanted, 1
    while id_ in ids:
        number += 1
        id_ = f"{wanted}_{number}"
    ids.add(id_)
    return id_


def _predict(offer: Offer, entry: QueueEntry | None = None, id_: str = "predict") -> Operation:
    """A request to predict.

    Args:
        entry: that the path belongs to; None for the path of all routing keys.
    """
    only = None if entry is None else entry.path_key
    summary = "Call a model, and get its answer" if only is None else f"Call the model of {only}, and get its answer"
    return Operation(
        id=id_,
        tag=MODELS_TAG,
        summary=summary,
        description=(
            "The body is published to the queue of the model, and the response is the model's. "
            "Other end-to-end headers travel to the model, and its own travel back."
        ),
        parameters=(routing_key_parameter(offer, only), RQUID_PARAMETER, *waiting_parameters(offer)),
        body=_body(offer, entry),
        answers=prediction_answers(offer, {"*/*": ANY}),
        errors=predict_errors(offer),
        relays=True,
    )


def _publish(offer: Offer) -> Operation:
    return Operation(
        id="publish",
        tag=MODELS_TAG,
        summary="Publish a request, and do not wait for its answer",
        description="The reply goes to the reply queue that the queue file names. It cannot be fetched over HTTP.",
        parameters=(routing_key_parameter(offer), RQUID_PARAMETER),
        body=_body(offer),
        answers={"202": json_answer("The broker has the message, and has routed it.", "Published")},
        errors=publish_errors(offer),
    )


def _body(offer: Offer, entry: QueueEntry | None = None) -> Body:
    types = offer.accepted_types if entry is None else entry.accept
    text = f"What the model takes, of at most {offer.max_body_bytes:,} bytes. It reaches the model byte for byte."
    if JSON in types:
        text += f" JSON is checked: it is UTF-8, and nested {offer.max_json_depth} levels deep at most."
    if entry is None and len(types) > 1:
        text += " Which of these media types are taken depends on the routing key: `GET /v1/models` tells."
    entries = offer.entries if entry is None else (entry,)
    codings = dict.fromkeys(coding for each in entries for coding in each.accept_encoding)
    if codings:
        who = "Some models take" if entry is None else "The model takes"
        text += f" {who} it with a `Content-Encoding`, too: {', '.join(codings)}."
    return Body(description=text, content=dict.fromkeys(types, ANY))


def _kept_operations() -> dict[Route, Operation]:
    errors = (*ADMITTED, Forbidden, StoreUnavailable)
    of_one = (*errors, NotFound, Gone)
    status = json_answer("The status document.", "RequestStatus")
    return {
        ("GET", "/v1/requests"): Operation(
            id="listRequests",
            tag=REQUESTS_TAG,
            summary="List the caller's requests, the newest first",
            description="An id under `after` of which nothing is known any more is answered with 400.",
            parameters=(_STATUS, _LIMIT, _AFTER, RQUID_PARAMETER),
            answers={"200": json_answer("A page of status documents.", "RequestList")},
            errors=errors,
        ),
        ("GET", "/v1/requests/{id}"): Operation(
            id="getRequest",
            tag=REQUESTS_TAG,
            summary="Tell what has become of a request",
            parameters=(ID_PARAMETER, RQUID_PARAMETER),
            answers={"200": status},
            errors=of_one,
        ),
        ("GET", "/v1/requests/{id}/result"): Operation(
            id="getResult",
            tag=REQUESTS_TAG,
            summary="Get the answer to a request",
            description="Status, headers and body are those that `POST /v1/predict` would have answered with.",
            parameters=(ID_PARAMETER, _WAIT, RQUID_PARAMETER),
            answers={
                "200": Answer(description="The model's answer, as it is.", content={"*/*": ANY}),
                "202": accepted_answer("There is no answer yet"),
                "204": Answer(description="The model's answer, without a body."),
                "2XX": Answer(description="The model's answer, with its status.", content={"*/*": ANY}),
                "4XX": Answer(description="The model refused the request, in its own words.", content={"*/*": ANY}),
            },
            errors=(*of_one, RequestCanceled, ModelFailure, ResultTooLarge),
            relays=True,
        ),
        ("DELETE", "/v1/requests/{id}"): Operation(
            id="deleteRequest",
            tag=REQUESTS_TAG,
            summary="Cancel a request that is pending, or erase one that is not",
            description="A canceled request keeps its status, `canceled`. Of an erased one nothing is left: 404.",
            parameters=(ID_PARAMETER, RQUID_PARAMETER),
            answers={"204": Answer(description="It is canceled, or erased.")},
            errors=of_one,
        ),
    }
