"""What the JSON Schema of the queue file says of keys that depend on each other, as the checks of the entries do.

A schema cannot compare two values: that ``minConcurrency`` is at most ``prefetch`` stays with the checks.
"""

from __future__ import annotations

from typing import Any

from provider_gateway.config.queue_arguments import types_of_arguments
from provider_gateway.config.queue_names import RABBITMQ_EXCHANGES, RESERVED
from provider_gateway.config.schema_details import given, needs

_TEXT = {"type": "string"}
_PLAIN_KEY = {"type": "string", "pattern": "^[^*#]*$"}
_ONE_PLAIN_KEY = {"type": "string", "pattern": "^[^*#]+$"}
#: The queue type that counts: ``x-queue-type`` of ``argQueue`` stands for a ``queueType`` that is not there.
_BY_ARGUMENT = {"allOf": [{"not": given("queueType")}, given("argQueue", given("x-queue-type", {"const": "quorum"}))]}
_IS_QUORUM = {"anyOf": [given("queueType", {"const": "quorum"}), _BY_ARGUMENT]}


def _without(*names: str) -> dict[str, Any]:
    return {"propertyNames": {"not": {"enum": list(names)}}}


def _exchange(name_key: str, type_key: str, *, default: str) -> list[dict[str, Any]]:
    """The exchanges of RabbitMQ's own are used with their types."""
    of_rabbitmq = given(name_key, {"type": "string", "pattern": rf"^{RESERVED.replace('.', '[.]')}"})
    found = [needs(of_rabbitmq, given(name_key, {"enum": sorted(RABBITMQ_EXCHANGES)}))]
    for name, kind in RABBITMQ_EXCHANGES.items():
        consequence: dict[str, Any] = {"properties": {type_key: {"const": kind}}}
        if kind != default:
            consequence["required"] = [type_key]
        found.append(needs(given(name_key, {"const": name}), consequence))
    return found


def _arguments(key: str, *, needs_exchange: dict[str, Any]) -> list[dict[str, Any]]:
    """Arguments that only queues of one type have."""
    of_classic, of_quorum = types_of_arguments()
    is_quorum = _IS_QUORUM if key == "argQueue" else given(key, given("x-queue-type", {"const": "quorum"}))
    for_quorum = {**_without(*of_classic), "properties": {"x-overflow": {"not": {"const": "reject-publish-dlx"}}}}
    return [
        {
            "if": is_quorum,
            "then": {"properties": {key: for_quorum}},
            "else": {"properties": {key: _without(*of_quorum)}},
        },
        needs(
            {"allOf": [given(key, given("x-dead-letter-routing-key")), needs_exchange]},
            given(key, given("x-dead-letter-exchange")),
        ),
    ]


#: Of an entry.
ENTRY: dict[str, Any] = {
    "allOf": [
        needs(
            {"properties": {"topic": {"minLength": 1}, "exchangeType": {"not": {"const": "fanout"}}}},
            given("bindingKey", {"not": {"const": []}}),
        ),
        needs(_IS_QUORUM, {"properties": {"durable": {"not": {"const": False}}}}),
        *(
            needs(
                given("queueType", {"const": kind}),
                {"properties": {"argQueue": {"properties": {"x-queue-type": {"const": kind}}}}},
            )
            for kind in ("classic", "quorum")
        ),
        needs(given("openInference", {"const": True}), given("model", given("name", _TEXT))),
        needs(given("readyUrl", _TEXT), {"properties": {"model": {"properties": {"readyUrl": {"not": _TEXT}}}}}),
        needs(
            {
                "anyOf": [
                    given("openInference", {"const": True}),
                    given("paths", {"not": {"const": []}}),
                ]
            },
            {
                "if": given("routingKey", _TEXT),
                "then": given("routingKey", _PLAIN_KEY),
                "else": {
                    "if": given("topic", {"const": ""}),
                    "then": given("queueName", _PLAIN_KEY),
                    "else": {
                        **given(
                            "bindingKey",
                            {"anyOf": [_ONE_PLAIN_KEY, {"type": "array", "maxItems": 1, "items": _ONE_PLAIN_KEY}]},
                        ),
                        "not": given("exchangeType", {"const": "fanout"}),
                    },
                },
            },
        ),
        *_exchange("topic", "exchangeType", default="topic"),
        needs(
            given("topic", {"enum": sorted(RABBITMQ_EXCHANGES)}),
            {"properties": {"exchangeDurable": {"not": {"const": False}}}},
        ),
        needs(
            {"allOf": [given("dle", {"const": True}), given("dleParams", {"type": "object"})]},
            given("dleParams", given("dleArgs", {"required": ["x-message-ttl", "x-dead-letter-exchange"]})),
        ),
        needs(
            {
                "allOf": [
                    given("dle", {"const": True}),
                    given("dleParams", given("dleExchangeType", {"const": "direct"})),
                ]
            },
            given("exchangeType", {"const": "direct"}),
        ),
        *_arguments("argQueue", needs_exchange={"not": _IS_QUORUM}),
    ]
}
#: Of ``dleParams``.
DLE_PARAMS: dict[str, Any] = {
    "allOf": [*_exchange("dleExchange", "dleExchangeType", default="fanout"), *_arguments("dleArgs", needs_exchange={})]
}
#: Of ``model``.
MODEL: dict[str, Any] = {
    "allOf": [
        needs(given("cert", _TEXT), given("key", _TEXT)),
        needs(given("key", _TEXT), given("cert", _TEXT)),
        needs(given("protocol", {"enum": ["open-inference", "open-inference-grpc"]}), given("name", _TEXT)),
        needs(
            {
                "allOf": [
                    given("protocol", {"enum": ["mlserving-grpc", "open-inference-grpc"]}),
                    given("url", _TEXT),
                ]
            },
            given("url", {"pattern": r"^\s*[A-Za-z]+://[^/?]*/?\s*$"}),
        ),
        needs(
            {"anyOf": [given("cacert", _TEXT), given("cert", _TEXT)]},
            {
                **given("url", _TEXT),
                "anyOf": [given(each, {"pattern": r"^\s*[Hh][Tt][Tt][Pp][Ss]:"}) for each in ("url", "readyUrl")],
            },
        ),
    ]
}
