"""What several operations of the HTTP API have in common, as their descriptions need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.errors import (
    BrokerBlocked,
    BrokerUnavailable,
    DeadlinePassed,
    Forbidden,
    InvalidJSON,
    ModelFailure,
    Nacked,
    NoRoute,
    OutcomeUnknown,
    PublishRefused,
    QueueTooLong,
    RateLimited,
    StoreUnavailable,
    UnsupportedMediaType,
)
from provider_gateway.gateway.body_schemas import REQUEST_ID
from provider_gateway.grpc_model.errors import InvalidInference
from provider_gateway.openapi.error_responses import ADMITTED
from provider_gateway.openapi.operation import Answer, Parameter, ref
from provider_gateway.results.errors import (
    Gone,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    NotConfigured,
    RequestCanceled,
    ResultTooLarge,
)

if TYPE_CHECKING:
    from provider_gateway.errors import GatewayError
    from provider_gateway.gateway.offer import Offer
    from provider_gateway.openapi.operation import Schema

#: Of every request that is published.
_PUBLISHED: tuple[type[GatewayError], ...] = (
    *ADMITTED,
    Forbidden,
    NoRoute,
    UnsupportedMediaType,
    InvalidJSON,
    BrokerUnavailable,
    BrokerBlocked,
    Nacked,
    OutcomeUnknown,
    PublishRefused,
)
_KEPT: tuple[type[GatewayError], ...] = (
    IdempotencyInProgress,
    IdempotencyKeyReused,
    Gone,
    RequestCanceled,
    ResultTooLarge,
    StoreUnavailable,
)
ID_PARAMETER = Parameter(name="id", where="path", description="Id of the request.", schema=REQUEST_ID)
#: A body of which nothing is known here.
ANY: Schema = {}
#: An ``Idempotency-Key`` with and without quotes; parameters behind the quotes are taken, too.
_KEY_PATTERN = r"""^([!#-+\--:<-\[\]-~]{1,255}|"([ !#-\[\]-~]|\\["\\]){1,255}")$"""


def publish_errors(offer: Offer) -> tuple[type[GatewayError], ...]:
    """The errors of a request that is published and not waited for."""
    return (*_PUBLISHED, *((RateLimited,) if offer.has_access_file else ()))


def predict_errors(offer: Offer) -> tuple[type[GatewayError], ...]:
    """The errors of a request that is published, and whose answer is the response."""
    kept = _KEPT if offer.has_store else (NotConfigured,)
    return (*publish_errors(offer), InvalidInference, ModelFailure, QueueTooLong, DeadlinePassed, *kept)


def routing_key_parameter(offer: Offer, only: str | None = None) -> Parameter:
    """The ``routing-key`` header.

    Args:
        only: the one key that is taken, for a path that has it; None for a path that takes any.
    """
    schema: dict[str, Any] = {"type": "string", "pattern": r"^[^\x00-\x1f\x7f*#]{1,255}$", "maxLength": 255}
    if only is not None:
        text = "Routing key; this path has one, so it can be left out."
        return Parameter(name="routing-key", where="header", description=text, schema={**schema, "const": only})
    text = "Routing key: says which model is called. At most 255 bytes, without wildcards."
    if offer.has_default_key:
        text += " Without it, the key that the queue file names is used."
    return Parameter(
        name="routing-key",
        where="header",
        description=text,
        schema=schema,
        required=not offer.has_default_key,
        examples=offer.routing_keys,
    )


def waiting_parameters(offer: Offer) -> tuple[Parameter, ...]:
    """The headers of requests whose answer can wait; none without a result store."""
    if not offer.has_store:
        return ()
    prefer = Parameter(
        name="Prefer",
        where="header",
        description=(
            "`respond-async`: answer 202 at once. `wait=5`: answer 202 if there is no answer within five seconds. "
            "What is malformed or unknown is ignored (RFC 7240)."
        ),
        examples=("respond-async", "wait=5"),
    )
    key = Parameter(
        name="Idempotency-Key",
        where="header",
        description=(
            "Makes it safe to repeat the request: with the same key and body, the first answer is given again. "
            "A string in double quotes, or the same without them."
        ),
        schema={"type": "string", "pattern": _KEY_PATTERN},
    )
    webhook = Parameter(
        name="Webhook",
        where="header",
        description="Name of an endpoint of the access file, which is told when the request is final.",
        schema={"enum": list(offer.webhooks)},
    )
    return (prefer, key, webhook) if offer.webhooks else (prefer, key)


def prediction_answers(offer: Offer, content: dict[str, Schema]) -> dict[str, Answer]:
    """The responses to a request whose answer is the model's.

    Args:
        content: of the model's answer.
    """
    replayed = {"Idempotent-Replayed": "`true` if the answer was given before"} if offer.has_store else {}
    answers = {
        "200": Answer(description="The model's answer, as it is.", content=content, headers=replayed),
        "204": Answer(description="The model's answer, without a body."),
        "2XX": Answer(description="The model's answer, with its status.", content={"*/*": ANY}, headers=replayed),
        "4XX": Answer(description="The model refuses the request, in its own words.", content={"*/*": ANY}),
    }
    if offer.has_store:
        answers["202"] = accepted_answer("The request was accepted, and its answer can be fetched")
    return answers


def accepted_answer(description: str) -> Answer:
    """The response 202 with a status document. The model's own 202 is passed on, too."""
    id_ = {"path.id": "$response.body#/id"}
    return Answer(
        description=f"{description}; or the model's answer has this status.",
        content={"application/json": {"anyOf": [ref("RequestStatus"), {}]}, "*/*": ANY},
        headers={
            "Location": "path of the status document",
            "Retry-After": "seconds after which to ask",
            "Preference-Applied": "the preferences that were honoured",
        },
        links={"getRequest": id_, "getResult": id_, "deleteRequest": id_},
    )
