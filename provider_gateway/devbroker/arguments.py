"""The arguments of a queue: which are understood, what they may be, and when two declarations agree."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pika.compat import long

from provider_gateway.devbroker.refusals import Refused, inequivalent, not_implemented, place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Names of types in RabbitMQ's texts; of classes that inherit from each other, the special one first.
_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "bool"), (long, "long"), (int, "signedint"), (str, "longstr"), (bytes, "longstr"), (Decimal, "decimal"),
    (dict, "table"), (list, "array"), (type(None), "void"),
)  # fmt: skip
#: Milliseconds that RabbitMQ's timers can wait: a hundred years of 365 days.
_LONGEST = 100 * 365 * 86_400_000
_CLASSIC_ONLY = frozenset({"x-max-priority", "x-queue-mode"})
_QUORUM_ONLY = frozenset({"x-dead-letter-strategy", "x-delivery-limit", "x-quorum-initial-group-size"})
_NOT_IMPLEMENTED = frozenset({"x-max-priority", "x-single-active-consumer", "x-max-age"})


def _type(value: object) -> str:
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "timestamp")


def _integer(value: Any) -> str | None:
    return None if isinstance(value, int) and not isinstance(value, bool) else f'"expected integer, got {_type(value)}"'


def milliseconds(value: int) -> str | None:
    """What is wrong with a time in milliseconds, None if nothing is."""
    if value < 0:
        return f"{{value_negative,{value}}}"
    return f"{{value_too_large,{value}}}" if value > _LONGEST else None


def _not_negative(value: Any) -> str | None:
    return _integer(value) or (f"{{value_negative,{value}}}" if value < 0 else None)


def _positive(value: Any) -> str | None:
    return _not_negative(value) or (None if value else "{value_zero,0}")


def _string(value: Any) -> str | None:
    return None if isinstance(value, str) else f"{{unacceptable_type,{_type(value)}}}"


def _one_of(wrong: str, *allowed: str) -> Callable[[Any], str | None]:
    return lambda value: _string(value) or (None if value in allowed else wrong.format(value))


#: What is wrong with a value, None if nothing is; RabbitMQ compares declarations in this order.
_CHECKS: dict[str, Callable[[Any], str | None]] = {
    "x-expires": lambda value: _positive(value) or milliseconds(value),
    "x-message-ttl": lambda value: _integer(value) or milliseconds(value),
    "x-dead-letter-exchange": _string,
    "x-dead-letter-routing-key": _string,
    "x-dead-letter-strategy": _one_of("invalid_dlx_strategy", "at-most-once", "at-least-once"),
    "x-max-length": _not_negative,
    "x-max-length-bytes": _not_negative,
    "x-max-priority": _not_negative,
    "x-overflow": _one_of("invalid_overflow", "drop-head", "reject-publish", "reject-publish-dlx"),
    "x-queue-mode": _one_of("invalid_queue_mode", "default", "lazy"),
    "x-single-active-consumer": lambda _: None,
    "x-max-age": _string,
    "x-queue-type": _one_of("\"unsupported queue type '{}'\"", "classic", "quorum", "stream"),
    "x-quorum-initial-group-size": _positive,
    "x-queue-leader-locator": _string,
    "x-delivery-limit": _integer,
}


class Arguments:
    """The arguments of one queue. Those that say how to store or place it mean nothing in the memory of one process.

    Args:
        queue: its name, for texts.
        given: the arguments of the declaration; those that RabbitMQ does not know are ignored, as it does.

    Raises:
        Refused: a value is wrong (406), or what it asks for is not implemented (540).

    Attributes:
        is_quorum: the queue counts deliveries, see ``delivery_limit``; else it is as a classic one.
    """

    def __init__(self, queue: str, given: Mapping[str, Any]) -> None:
        self._where = place("queue", queue)
        self._given = {name: given[name] for name in _CHECKS if name in given}
        for name, value in self._given.items():
            self._check(name, value)
        get = self._given.get
        self.is_quorum = get("x-queue-type") == "quorum"
        self.expires: int | None = get("x-expires")
        self.message_ttl: int | None = get("x-message-ttl")
        self.max_length: int | None = get("x-max-length")
        self.max_bytes: int | None = get("x-max-length-bytes")
        self.rejects_publish = get("x-overflow") == "reject-publish"
        self.dead_letter_exchange: str | None = get("x-dead-letter-exchange")
        self.dead_letter_routing_key: str | None = get("x-dead-letter-routing-key")
        self.delivery_limit: int | None = get("x-delivery-limit")
        #: RabbitMQ falls back to at-most-once without reject-publish.
        self.dead_letters_surely = get("x-dead-letter-strategy") == "at-least-once" and self.rejects_publish
        if self.dead_letter_routing_key is not None and self.dead_letter_exchange is None:
            raise self._invalid("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined")
        for name in self._given:
            if name in (_CLASSIC_ONLY if self.is_quorum else _QUORUM_ONLY):
                kind = "rabbit_quorum_queue" if self.is_quorum else "rabbit_classic_queue"
                raise Refused(406, f"invalid arg '{name}' for {self._where} of queue type {kind}")
            if name in _NOT_IMPLEMENTED or self._given[name] in ("stream", "reject-publish-dlx"):
                raise not_implemented(f"arg '{name}' for {self._where}")

    def _invalid(self, name: str, why: str) -> Refused:
        return Refused(406, f"invalid arg '{name}' for {self._where}: {why}")

    def _check(self, name: str, value: object) -> None:
        if name == "x-dead-letter-exchange" and not isinstance(value, str):
            raise Refused(406, f"invalid type '{_type(value)}' for arg '{name}' in {self._where}")
        why = _CHECKS[name](value)
        if why is not None:
            raise self._invalid(name, why)

    def check_properties(self, *, durable: bool, exclusive: bool, auto_delete: bool) -> None:
        """Check what a quorum queue cannot be.

        Raises:
            Refused: it is asked for (406).
        """
        wrong = {"auto-delete": auto_delete, "exclusive-owner": exclusive, "non-durable": not durable}
        for name, is_wrong in wrong.items():
            if self.is_quorum and is_wrong:
                raise Refused(406, f"invalid property '{name}' for {self._where}")

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
    return "none" if value is None else f"the value '{value}' of type '{_type(value)}'"
