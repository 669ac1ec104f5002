"""The OpenAPI document of the HTTP API: what is offered to a caller, by the settings and the queue file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.gateway.body_schemas import OPEN_INFERENCE_SCHEMAS, REQUEST_SCHEMAS, SCHEMAS
from provider_gateway.gateway.open_inference_operations import (
    OPEN_INFERENCE_TAG,
    TAGS as OPEN_INFERENCE_TAGS,
    open_inference_operations,
)
from provider_gateway.gateway.operations import ABOUT_TAG, REQUESTS_TAG, TAGS, added_operations, operations
from provider_gateway.message.http_headers import JSON
from provider_gateway.openapi.document import described, openapi_document
from provider_gateway.openapi.error_responses import ADMITTED
from provider_gateway.openapi.operation import RQUID_PARAMETER, Answer, Operation, Parameter, json_answer
from provider_gateway.workbench.body_schemas import PARKING_SCHEMAS
from provider_gateway.workbench.documents import PARKING
from provider_gateway.workbench.operations import PARKING_TAG, PARKING_TAGS, parking_operations

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provider_gateway.gateway.offer import Offer
    from provider_gateway.openapi.document import Route
    from provider_gateway.openapi.operation import Schema

HTML = "text/html; charset=utf-8"
_IF_NONE_MATCH = Parameter(
    name="If-None-Match", where="header", description="`ETag` of a copy: answered with 304 while it is up to date."
)


def api_operations(offer: Offer) -> dict[Route, Operation | None]:
    """What is said of every route of the API; None for those that are not offered."""
    return {
        **operations(offer),
        **open_inference_operations(offer),
        **parking_operations(offer.parking),
        **_about_operations(),
    }


def api_document(routes: Iterable[Route], offer: Offer) -> dict[str, Any]:
    """The OpenAPI document for a caller, as decoded JSON.

    Args:
        routes: of the API.

    Raises:
        LookupError: nothing is said of one of them.
    """
    offered = added_operations(offer) | described(routes, api_operations(offer))
    tags = {operation.tag for operation in offered.values()}
    schemas = {
        **SCHEMAS,
        **(REQUEST_SCHEMAS if REQUESTS_TAG in tags else {}),
        **(PARKING_SCHEMAS if PARKING_TAG in tags else {}),
        **(OPEN_INFERENCE_SCHEMAS if OPEN_INFERENCE_TAG in tags else {}),
    }
    return openapi_document(
        offered,
        title="provider-gateway",
        description=_description(offer),
        tags={**TAGS, **PARKING_TAGS, **OPEN_INFERENCE_TAGS},
        schemas=schemas,
        has_tls=offer.has_tls,
    )


def _about_operations() -> dict[Route, Operation]:
    return {
        ("GET", "/health"): Operation(
            id="health",
            tag=ABOUT_TAG,
            summary="Tell that the listener runs",
            answers={"200": json_answer("It runs.", "Health")},
        ),
        ("GET", "/openapi.json"): _document(
            "openapi",
            "Get this document: what the caller may use, as OpenAPI",
            "The document.",
            {JSON: {"type": "object"}},
        ),
        ("GET", "/docs"): _document(
            "docs", "Read this document as a page", "The page.", {"text/html": {"type": "string"}}
        ),
        ("GET", "/"): Operation(
            id="home",
            tag=ABOUT_TAG,
            summary="Find this document",
            parameters=(RQUID_PARAMETER,),
            answers={
                "302": Answer(
                    description="To the page.",
                    headers={"Location": "path of the page", "Link": "where document and page are (RFC 8631)"},
                )
            },
            errors=ADMITTED,
        ),
    }


def _document(id_: str, summary: str, found: str, content: dict[str, Schema]) -> Operation:
    """An operation that answers with this document in some form, of which callers may keep a copy."""
    etag = {"ETag": "version of the document", "Cache-Control": "`no-cache`: ask whether it is up to date"}
    return Operation(
        id=id_,
        tag=ABOUT_TAG,
        summary=summary,
        parameters=(_IF_NONE_MATCH, RQUID_PARAMETER),
        answers={
            "200": Answer(description=found, content=content, headers=etag),
            "304": Answer(description="The caller's copy is up to date.", headers=etag),
        },
        errors=ADMITTED,
    )


def _description(offer: Offer) -> str:
    certificate = "Callers show a client certificate (TLS 1.2 or 1.3). " if offer.has_tls else ""
    without_options = f" and those from `{PARKING}`" if offer.parking else ""
    return f"""Requests for machine-learning models, through a queue.

{certificate}This document has what its caller may use.
Every path with `GET` has `HEAD`, and every path but `/health`{without_options} has `OPTIONS`.

Errors are problem documents (RFC 9457), below `/v2` errors of the Open Inference Protocol.
After 503 and 429, `Retry-After` says when to try again: the request was not accepted.
After 504 it may have been executed, or may still be.

{_limits(offer)}"""


def _limits(offer: Offer) -> str:
    kept = ""
    if offer.has_store:
        kept = f"""
- An answer is kept for {offer.result_ttl:,.0f} s, and an `Idempotency-Key` for {offer.idempotency_ttl:,.0f} s."""
    return f"""Limits:

- A caller waits {offer.reply_timeout:,g} s for an answer; {offer.max_in_flight:,} requests are served at a time.
- A body has at most {offer.max_body_bytes:,} bytes; JSON is nested {offer.max_json_depth} levels deep at most.
- A request has at most {offer.max_headers} headers, of {offer.max_header_bytes:,} bytes in all.{kept}"""
