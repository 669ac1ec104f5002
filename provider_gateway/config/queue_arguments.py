"""Arguments of a queue's declaration: what AMQP can carry, and what RabbitMQ accepts, so that the start finds mistakes.

RabbitMQ's versions differ in few arguments. Those that one of them accepts are accepted here; the broker has the last
word. Arguments that RabbitMQ does not know are passed on: they may be a plug-in's.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from provider_gateway.config.schema_details import SchemaDetails, no_controls
from provider_gateway.config.short_strings import SHORT_STRING_BYTES, check_short_string, text_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: The most milliseconds that RabbitMQ's timers take: ten years of 365 days.
_MAX_MILLISECONDS = 10 * 365 * 86_400_000
_FOUND: dict[type, str] = {
    type(None): "nothing; remove the key or give it a value",
    list: "a list",
    dict: "a mapping",
    bytes: "binary data",
    date: "a date; put it in quotes if it is text",
    datetime: "a time; put it in quotes if it is text",
}
_CLASSIC, _QUORUM = frozenset({"classic"}), frozenset({"quorum"})


def _found(value: object) -> str:
    """A value for an error. Long ones are cut, and Python does not write numbers of thousands of digits."""
    if isinstance(value, str | bool | int | float):
        shown = repr(value)
        return shown if len(shown) <= 80 else f"{shown[:80]}…"
    return _FOUND.get(type(value), type(value).__name__)


class _Argument(NamedTuple):
    """What RabbitMQ takes as the value of an argument.

    Attributes:
        problem: says what is wrong with a value; None if nothing is.
        schema: the JSON Schema of the value.
    """

    problem: Callable[[Any], str | None]
    schema: dict[str, Any]


def _whole_number(least: int, most: int = 2**63 - 1, unit: str = "") -> _Argument:
    def check(value: Any) -> str | None:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return None
        limits = f"from {least} to {most}" if most < 2**63 - 1 else f"from {least} on"
        quotes = "; remove the quotes" if isinstance(value, str) and value.strip("-").isdecimal() else ""
        return f"expected a whole number{unit} {limits}, found {_found(value)}{quotes}"

    return _Argument(check, {"type": "integer", "minimum": least, "maximum": most})


def _one_of(*allowed: str) -> _Argument:
    def check(value: Any) -> str | None:
        return None if value in allowed else f"expected {' or '.join(map(repr, allowed))}, found {_found(value)}"

    return _Argument(check, {"enum": list(allowed)})


def _name_problem(value: Any) -> str | None:
    """Check the name of an exchange, or a routing key."""
    if not isinstance(value, str):
        return f"expected text, found {_found(value)}"
    try:
        check_short_string(value)
    except ValueError as error:
        return str(error)
    return None


def _true_or_false(value: Any) -> str | None:
    return None if isinstance(value, bool) else f"expected true or false, found {_found(value)}"


def _of_streams(_value: Any) -> str | None:
    return "is an argument of streams, which this program cannot consume; remove it"


_MILLISECONDS = " of milliseconds"
_NAME = _Argument(_name_problem, {"type": "string", **no_controls(SHORT_STRING_BYTES)})
_TRUE_OR_FALSE = _Argument(_true_or_false, {"type": "boolean"})
_OF_STREAMS = _Argument(_of_streams, {"not": {}})
#: Every argument that RabbitMQ 3.10 to 4.x reads, with the check of its value.
_CHECKS: dict[str, _Argument] = {
    "x-expires": _whole_number(1, _MAX_MILLISECONDS, _MILLISECONDS),
    "x-message-ttl": _whole_number(0, _MAX_MILLISECONDS, _MILLISECONDS),
    "x-dead-letter-exchange": _NAME,
    "x-dead-letter-routing-key": _NAME,
    "x-dead-letter-strategy": _one_of("at-most-once", "at-least-once"),
    "x-max-length": _whole_number(0),
    "x-max-length-bytes": _whole_number(0),
    "x-max-in-memory-length": _whole_number(0),
    "x-max-in-memory-bytes": _whole_number(0),
    "x-max-priority": _whole_number(0, 255),
    "x-overflow": _one_of("drop-head", "reject-publish", "reject-publish-dlx"),
    "x-queue-mode": _one_of("default", "lazy"),
    "x-queue-version": _whole_number(1, 2),
    "x-queue-type": _one_of("classic", "quorum"),
    "x-single-active-consumer": _TRUE_OR_FALSE,
    "x-consumer-timeout": _whole_number(0, _MAX_MILLISECONDS, _MILLISECONDS),
    "x-delivery-limit": _whole_number(-1),
    "x-quorum-initial-group-size": _whole_number(1),
    "x-quorum-target-group-size": _whole_number(1),
    "x-queue-leader-locator": _one_of("client-local", "balanced", "random", "least-leaders"),
    "x-queue-master-locator": _one_of("client-local", "min-masters", "random"),
    "x-max-age": _OF_STREAMS,
    "x-stream-max-segment-size-bytes": _OF_STREAMS,
    "x-stream-filter-size-bytes": _OF_STREAMS,
    "x-initial-cluster-size": _OF_STREAMS,
}
#: Arguments that only queues of one type have.
_TYPES = {
    "x-max-priority": _CLASSIC,
    "x-queue-mode": _CLASSIC,
    "x-queue-version": _CLASSIC,
    "x-queue-master-locator": _CLASSIC,
    "x-dead-letter-strategy": _QUORUM,
    "x-delivery-limit": _QUORUM,
    "x-max-in-memory-length": _QUORUM,
    "x-max-in-memory-bytes": _QUORUM,
    "x-quorum-initial-group-size": _QUORUM,
    "x-quorum-target-group-size": _QUORUM,
}


def _carried(value: object) -> object:
    """Check a value's type: text, a whole number or a truth value. No argument that RabbitMQ knows has another."""
    if isinstance(value, float):
        whole = f"; write {int(value)}" if value.is_integer() else ""
        msg = f"expected text, a whole number, true or false, found {value!r}{whole}"
        raise ValueError(msg)
    if isinstance(value, str):
        if problem := text_problem(value, controls=True):
            raise ValueError(problem)
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    found = "a greater one" if isinstance(value, int) else _found(value)
    msg = f"expected text, a number of at most 64 bits, true or false, found {found}"
    raise ValueError(msg)


def _check_values(arguments: dict[str, Any]) -> dict[str, Any]:
    """Check the arguments that RabbitMQ knows.

    Raises:
        ValidationError: its errors have the arguments' names as their places.
    """
    errors = []
    for name, value in arguments.items():
        problem = _CHECKS[name].problem(value) if name in _CHECKS else None
        if problem is not None:
            kind = PydanticCustomError("value_error", "{problem}", {"problem": problem})
            errors.append(InitErrorDetails(type=kind, loc=(name,), input=value))
    if errors:
        raise ValidationError.from_exception_data("arguments", errors)
    return arguments


def wrong_together(arguments: Mapping[str, object], queue_type: str, *, is_completed: bool) -> Iterator[str]:
    """The arguments that a queue of this type cannot have, or not without another one, each with what is wrong.

    Args:
        is_completed: we add a dead-letter exchange where the file has none.
    """
    if not is_completed and "x-dead-letter-routing-key" in arguments and "x-dead-letter-exchange" not in arguments:
        yield "x-dead-letter-routing-key: needs x-dead-letter-exchange beside it"
    for name in arguments:
        types = _TYPES.get(name)
        if types is not None and queue_type not in types:
            yield f"{name}: a {queue_type} queue does not have it, only a {', '.join(types)} one"
    if queue_type == "quorum" and arguments.get("x-overflow") == "reject-publish-dlx":
        yield "x-overflow: a quorum queue does not have 'reject-publish-dlx'; expected 'reject-publish' or 'drop-head'"


def types_of_arguments() -> tuple[list[str], list[str]]:
    """The arguments that only classic queues have, and those that only quorum queues have."""
    of_classic, of_quorum = ([name for name, types in _TYPES.items() if types == only] for only in (_CLASSIC, _QUORUM))
    return of_classic, of_quorum


ArgumentName = Annotated[str, AfterValidator(check_short_string)]
_SCHEMA = {
    "propertyNames": no_controls(SHORT_STRING_BYTES),
    "properties": {name: argument.schema for name, argument in _CHECKS.items()},
    "additionalProperties": {"type": ["string", "integer", "boolean"], "minimum": -(2**63), "maximum": 2**63 - 1},
}
#: Arguments as the queue file has them.
Arguments = Annotated[
    dict[ArgumentName, Annotated[Any, BeforeValidator(_carried)]], AfterValidator(_check_values), SchemaDetails(_SCHEMA)
]
