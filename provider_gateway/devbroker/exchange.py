"""An exchange: its bindings, and the queues to which it routes a key."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field

from provider_gateway.devbroker.refusals import Refused
from provider_gateway.topology.routing import topic_matches

#: Types of exchanges: functions that compare the key of a binding with that of a message.
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
        raise Refused(540, "exchange type 'headers'")
    if name not in _MATCHES:
        raise Refused(503, f"{'unknown' if name else 'invalid'} exchange type '{name}'")


@dataclass(slots=True, eq=False)
class Exchange:
    """An exchange.

    Args:
        type: ``direct``, ``fanout`` or ``topic``.

    Attributes:
        bindings: queue, key and arguments of each. Bindings of a queue by the same key differ in their arguments.
    """

    name: str
    type: str
    _: KW_ONLY
    durable: bool
    auto_delete: bool = False
    internal: bool = False
    bindings: dict[tuple[str, str, str], None] = field(default_factory=dict, init=False)

    def route(self, key: str) -> list[str]:
        """The names of the queues that get a message with a key, each once."""
        matches = _MATCHES[self.type]
        return list({queue: None for queue, binding, _ in self.bindings if matches(binding, key)})
