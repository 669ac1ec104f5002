"""An exchange: its bindings, and to which queues it routes a key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provider_gateway.devbroker.refusals import Refused, check_flag, inequivalent, not_implemented, place
from provider_gateway.routing import topic_matches

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Types, and how each compares a binding's key with a message's.
_MATCHES = {
    "direct": lambda binding, key: binding == key,
    "fanout": lambda _binding, _key: True,
    "topic": topic_matches,
}


def check_type(name: str) -> None:
    """Check the type of an exchange.

    Raises:
        Refused: there is no such type (503), or it is not implemented (540).
    """
    if name == "headers":
        raise not_implemented("exchange type 'headers'")
    if name not in _MATCHES:
        raise Refused(503, f"{'unknown' if name else 'invalid'} exchange type '{name}'")


@dataclass(slots=True, eq=False)
class Exchange:
    """An exchange.

    Args:
        type: ``direct``, ``fanout`` or ``topic``.
    """

    name: str
    type: str
    durable: bool
    auto_delete: bool = False
    internal: bool = False
    #: Queue, key and arguments of each binding; a queue is bound by the same key more than once only with others.
    _bindings: dict[tuple[str, str, str], None] = field(default_factory=dict, init=False)

    def check_equivalent(self, *, type_: str, durable: bool, auto_delete: bool, internal: bool) -> None:
        """Compare with another declaration.

        Raises:
            Refused: they differ (406).
        """
        where = place("exchange", self.name)
        if type_ != self.type:
            raise inequivalent("type", where, f"'{type_}'", f"'{self.type}'")
        check_flag("durable", where, received=durable, current=self.durable)
        check_flag("auto_delete", where, received=auto_delete, current=self.auto_delete)
        check_flag("internal", where, received=internal, current=self.internal)

    @property
    def is_used(self) -> bool:
        """True if something is bound to it."""
        return bool(self._bindings)

    def bind(self, queue: str, key: str, arguments: Mapping[str, Any]) -> None:
        """Add a binding, if it is not there."""
        self._bindings[queue, key, repr(sorted(arguments.items()))] = None

    def unbind(self, queue: str, key: str, arguments: Mapping[str, Any]) -> bool:
        """Take a binding away; True if it was there."""
        binding = (queue, key, repr(sorted(arguments.items())))
        was_there = binding in self._bindings
        self._bindings.pop(binding, None)
        return was_there

    def forget(self, queue: str) -> bool:
        """Take all bindings of a queue away; True if there were any."""
        gone = [each for each in self._bindings if each[0] == queue]
        for each in gone:
            del self._bindings[each]
        return bool(gone)

    def route(self, key: str) -> list[str]:
        """The queues that get a message with this key, each once."""
        matches = _MATCHES[self.type]
        return list({queue: None for queue, binding, _ in self._bindings if matches(binding, key)})
