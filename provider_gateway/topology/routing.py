"""The exchange for a routing key, by the bindings of the queue file.

The broker decides in the end: every publish is ``mandatory``, so it returns a message that no queue is bound for.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from provider_gateway.config.short_strings import SHORT_STRING_BYTES
from provider_gateway.errors import BadRequest
from provider_gateway.topology.open_inference import infer_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.config.queue_file import QueueEntry

#: Size of the cache from routing key to exchange.
_KEYS = 1000
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f*#]")


def _words(key: str) -> list[str]:
    """The words of a key; the empty key has none, as in RabbitMQ."""
    return key.split(".") if key else []


def topic_matches(binding_key: str, routing_key: str) -> bool:
    """True if a topic exchange routes this key to that binding.

    RabbitMQ guide, "Topic exchange": ``*`` is one word, ``#`` is zero or more. Not a regular expression: callers choose
    the key, and with some keys matching would take exponential time.
    """
    pattern, words = _words(binding_key), _words(routing_key)
    place = number = 0
    #: Position of the last ``#``, and of the first word after those that it stands for. An earlier ``#`` never needs
    #: another try.
    last, behind = -1, 0
    while number < len(words):
        part = pattern[place] if place < len(pattern) else None
        if part == "#":
            last, behind = place, number
            place += 1
        elif part in ("*", words[number]):
            place += 1
            number += 1
        elif last >= 0:
            behind += 1
            place, number = last + 1, behind
        else:
            return False
    return all(part == "#" for part in pattern[place:])


def checked_routing_key(routing_key: str) -> str:
    """Check the routing key of a caller.

    Raises:
        BadRequest: it is empty, over 255 bytes, or has a wildcard or control character.
    """
    if not routing_key:
        msg = "The routing-key header is empty; expected the routing key of a queue, such as predict.now."
        raise BadRequest(msg)
    if len(routing_key.encode()) > SHORT_STRING_BYTES:
        msg = f"The routing key is longer than {SHORT_STRING_BYTES} bytes."
        raise BadRequest(msg)
    if _FORBIDDEN.search(routing_key):
        msg = "The routing key has a wildcard (* or #) or a control character; those belong in bindings only."
        raise BadRequest(msg)
    return routing_key


class Routes:
    """The exchanges and bindings of the queue file.

    Args:
        entries: at least one.
    """

    def __init__(self, entries: Sequence[QueueEntry]) -> None:
        self._entries = entries
        #: The routing keys of requests by the Open Inference Protocol, by path.
        self.infer_keys = infer_keys(entries)
        #: The routing keys of requests to paths that entries add, these among them.
        self.path_keys: dict[bytes, str] = self.infer_keys | {
            path.encode(): entry.path_key for entry in entries if entry.path_key is not None for path in entry.paths
        }
        defaults = [entry.routing_key for entry in entries if entry.routing_key is not None]
        #: For HTTP requests without a routing key: the first ``routingKey`` of the queue file.
        self.default_routing_key: str | None = defaults[0] if defaults else None
        # Matching a key with a binding costs 3 µs; callers use few keys.
        self._exchange = lru_cache(_KEYS)(self._first_match)

    @property
    def queues(self) -> Sequence[QueueEntry]:
        """The entries of the queue file."""
        return self._entries

    def exchange(self, routing_key: str) -> str:
        """The exchange of the first entry whose binding matches; of the first entry if none does."""
        return self._exchange(routing_key)

    def entries(self, routing_key: str) -> list[QueueEntry]:
        """The entries whose queues get the messages with this key; none if the queue file does not say."""
        exchange = self._exchange(routing_key)
        return [entry for entry in self._entries if entry.exchange == exchange and matches(entry, routing_key)]

    def _first_match(self, routing_key: str) -> str:
        for entry in self._entries:
            if matches(entry, routing_key):
                return entry.exchange
        return self._entries[0].exchange


def served_paths(entries: Sequence[QueueEntry]) -> list[str]:
    """The paths that entries add to the gateway's."""
    return [path for entry in entries for path in entry.paths]


def matches(entry: QueueEntry, routing_key: str) -> bool:
    """True if the entry's exchange routes this key to its queue."""
    if not entry.exchange:
        return entry.queue_name == routing_key
    if entry.exchange_type == "fanout":
        return True
    if entry.exchange_type == "direct":
        return routing_key in entry.binding_key
    return any(topic_matches(key, routing_key) for key in entry.binding_key)


def matching_key(entry: QueueEntry) -> str:
    """A routing key that the entry's exchange routes to its queue."""
    if not entry.exchange:
        return entry.queue_name
    if entry.exchange_type == "fanout":
        return ""
    key = entry.binding_key[0]
    if entry.exchange_type == "direct":
        return key
    words = ["now" if word == "*" else word for word in key.split(".") if word != "#"]
    # One empty word is written as a dot; the empty key has no words at all.
    return "." if words == [""] and key else ".".join(words)
