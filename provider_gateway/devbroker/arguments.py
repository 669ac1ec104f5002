"""The arguments of a queue: those that are known, the values that they may have, and whether two declarations agree."""

from __future__ import annotations

from decimal import Decimal
from math import inf
from typing import TYPE_CHECKING, Any

from pika.compat import long

from provider_gateway.devbroker.refusals import Refused, inequivalent, place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pika import spec

#: RabbitMQ's names of types, for error texts. A subclass comes before its base class.
_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "bool"), (long, "long"), (int, "signedint"), (str, "longstr"), (bytes, "longstr"), (Decimal, "decimal"),
    (dict, "table"), (list, "array"), (type(None), "void"),
)  # fmt: skip
#: The most milliseconds that RabbitMQ's timers take: ten years of 365 days.
MAX_MILLISECONDS = 10 * 365 * 86_400_000
#: Arguments that are not implemented: names, or a name with one value.
_NOT_IMPLEMENTED = (
    "x-max-priority", "x-max-length-bytes", "x-max-age", ("x-single-active-consumer", True),
    ("x-queue-type", "stream"), ("x-overflow", "reject-publish-dlx"),
)  # fmt: skip
_QUORUM_ONLY = frozenset({"x-dead-letter-strategy", "x-delivery-limit", "x-quorum-initial-group-size"})


def type_name(value: object) -> str:
    """RabbitMQ's name of a value's type."""
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "timestamp")


def out_of_range(value: int, least: float, most: float) -> str | None:
    """What is wrong with a number, in RabbitMQ's words; None if it is in the range."""
    if least <= value <= most:
        return None
    wrong = "too_large" if value > most else "negative" if value < 0 else "zero"
    return f"{{value_{wrong},{value}}}"


def _integer(least: float, most: float = inf) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        return out_of_range(value, least, most) if is_integer else f'"expected integer, got {type_name(value)}"'

    return check


def _is(kind: type, wrong: str = "", *allowed: str) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if not isinstance(value, kind):
            return f"{{unacceptable_type,{type_name(value)}}}"
        return None if value in allowed or not allowed else wrong.format(value)

    return check


#: Functions that say what is wrong with a value (None: nothing). RabbitMQ compares declarations in this order.
_CHECKS: dict[str, Callable[[Any], str | None]] = {
    "x-expires": _integer(1, MAX_MILLISECONDS),
    "x-message-ttl": _integer(0, MAX_MILLISECONDS),
    "x-dead-letter-exchange": _is(str),
    "x-dead-letter-routing-key": _is(str),
    "x-dead-letter-strategy": _is(str, "invalid_dlx_strategy", "at-most-once", "at-least-once"),
    "x-max-length": _integer(0),
    "x-overflow": _is(str, "invalid_overflow", "drop-head", "reject-publish"),
    "x-queue-mode": _is(str, "invalid_queue_mode", "default", "lazy"),
    "x-single-active-consumer": _is(bool),
    "x-queue-type": _is(str, "\"unsupported queue type '{}'\"", "classic", "quorum"),
    "x-quorum-initial-group-size": _integer(1),
    "x-queue-leader-locator": _is(str),
    "x-delivery-limit": _integer(-inf),
}


class Arguments:
    """The arguments of one queue. Arguments about storage and placement are checked, and have no effect.

    Args:
        queue: its name, for error texts.
        declared: the declaration. Arguments that RabbitMQ does not know are ignored, as RabbitMQ does.

    Raises:
        Refused: a value or a property is wrong (406), or is not implemented (540).

    Attributes:
        is_quorum: True for a quorum queue, which counts deliveries (``delivery_limit``); False for a classic one.
    """

    def __init__(self, queue: str, declared: spec.Queue.Declare) -> None:
        self._where = place("queue", queue)
        get = declared.arguments.get
        for name, value in declared.arguments.items():
            if name in _NOT_IMPLEMENTED or (name, value) in _NOT_IMPLEMENTED:
                raise Refused(540, f"arg '{name}' for {self._where}")
        self._given = {name: declared.arguments[name] for name in _CHECKS if name in declared.arguments}
        for name, value in self._given.items():
            self._check(name, value)
        self.is_quorum = get("x-queue-type") == "quorum"
        self.expires: int | None = get("x-expires")
        self.message_ttl: int | None = get("x-message-ttl")
        self.max_length: int | None = get("x-max-length")
        self.rejects_publish = get("x-overflow") == "reject-publish"
        self.dead_letter_exchange: str | None = get("x-dead-letter-exchange")
        self.dead_letter_routing_key: str | None = get("x-dead-letter-routing-key")
        self.delivery_limit: int | None = get("x-delivery-limit")
        if self.dead_letter_routing_key is not None and self.dead_letter_exchange is None:
            raise self._invalid("x-dead-letter-routing-key", ": routing_key_but_no_dlx_defined")
        kind = "quorum" if self.is_quorum else "classic"
        for name in self._given:
            if name == "x-queue-mode" if self.is_quorum else name in _QUORUM_ONLY:
                raise self._invalid(name, f" of queue type rabbit_{kind}_queue")
        wrong = {
            "auto-delete": declared.auto_delete,
            "exclusive-owner": declared.exclusive,
            "non-durable": not declared.durable,
        }
        for name, is_wrong in wrong.items():
            if self.is_quorum and is_wrong:
                raise Refused(406, f"invalid property '{name}' for {self._where}")

    def _invalid(self, name: str, why: str) -> Refused:
        return Refused(406, f"invalid arg '{name}' for {self._where}{why}")

    def _check(self, name: str, value: object) -> None:
        if name == "x-dead-letter-exchange" and not isinstance(value, str):
            raise Refused(406, f"invalid type '{type_name(value)}' for arg '{name}' in {self._where}")
        why = _CHECKS[name](value)
        if why is not None:
            raise self._invalid(name, f": {why}")

    def check_equivalent(self, given: Mapping[str, Any]) -> None:
        """Compare with the arguments of another declaration.

        Raises:
            Refused: they differ (406).
        """
        for name in _CHECKS:
            default = {"x-queue-type": "classic"}.get(name)
            received, current = given.get(name, default), self._given.get(name, default)
            if received == current:
                continue
            if received is not None and current is not None and name in given and name in self._given:
                raise inequivalent(name, self._where, f"'{received}'", f"'{current}'")
            raise inequivalent(name, self._where, *(_described(each.get(name)) for each in (given, self._given)))


def _described(value: object) -> str:
    shown = str(value).lower() if isinstance(value, bool) else value
    return "none" if value is None else f"the value '{shown}' of type '{type_name(value)}'"
