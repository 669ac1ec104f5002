"""Where routing keys lead by the bindings of the queue file: to two queues, so that messages run twice, or astray."""

from __future__ import annotations

from itertools import combinations, product
from typing import TYPE_CHECKING

from provider_gateway.errors import SettingsError
from provider_gateway.topology.routing import Routes, matches, matching_key, topic_matches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from provider_gateway.config.queue_file import QueueEntry


def overlaps(entries: Sequence[QueueEntry]) -> Iterator[str]:
    """Pairs of queues that get the same messages, one line each."""
    for one, other in combinations(entries, 2):
        found = _overlap(one, other) if one.exchange and one.exchange == other.exchange else None
        if found is not None:
            yield (
                f"{one.queue_name!r} and {other.queue_name!r} both get {found} from the exchange {one.exchange!r}: "
                "each such message is in both queues, and runs twice. Give each queue a bindingKey of its own"
            )


def _overlap(one: QueueEntry, other: QueueEntry) -> str | None:
    """What two queues of one exchange both get; None if nothing."""
    if one.exchange_type == "fanout":
        return "all messages"
    for key, other_key in product(one.binding_key, other.binding_key):
        if key == other_key:
            return f"the messages of the bindingKey {key!r}"
        if one.exchange_type == "topic" and (common := common_key(key, other_key)) is not None:
            return f"messages such as {common!r} (bindingKey {key!r} and {other_key!r})"
    return None


def can_lead(entry: QueueEntry, pattern: str) -> bool:
    """True if some routing key that a pattern matches leads to an entry's queue.

    Args:
        pattern: as of a topic exchange.
    """
    if entry.exchange and entry.exchange_type == "topic":
        return any(common_key(key, pattern) is not None for key in entry.binding_key)
    return entry.exchange_type == "fanout" or any(topic_matches(pattern, key) for key in entry.taken_keys)


def common_key(one: str, other: str) -> str | None:
    """A routing key that both binding keys of a topic exchange match; None if there is none."""
    patterns = one.split(".") if one else [], other.split(".") if other else []
    #: By position in both patterns, the words of a key that leads there.
    reached: dict[tuple[int, int], list[str]] = {(0, 0): []}
    left = [(0, 0)]
    while left:
        place = left.pop()
        words = reached[place]
        if place == (len(patterns[0]), len(patterns[1])):
            key = ".".join(words)
            # A key of one empty word does not exist.
            return key if topic_matches(one, key) and topic_matches(other, key) else None
        for following, word in _steps(patterns, place):
            if following not in reached:
                reached[following] = words if word is None else [*words, word]
                left.append(following)
    return None


def _steps(
    patterns: tuple[list[str], list[str]], place: tuple[int, int]
) -> Iterator[tuple[tuple[int, int], str | None]]:
    """The positions after a position, each with the word of the key between them; None for no word."""
    a, b = place
    part = patterns[0][a] if a < len(patterns[0]) else None
    other = patterns[1][b] if b < len(patterns[1]) else None
    if part == "#":
        yield (a + 1, b), None
    if other == "#":
        yield (a, b + 1), None
    if part is None or other is None or part == other == "#":
        return
    if part == "#":
        yield (a, b + 1), "any" if other == "*" else other
    elif other == "#":
        yield (a + 1, b), "any" if part == "*" else part
    elif "*" in (part, other) or part == other:
        word = other if part == "*" else part
        yield (a + 1, b + 1), "any" if word == "*" else word


def check_path_keys(entries: Sequence[QueueEntry]) -> None:
    """Check that requests without a routing key, as those to an entry's paths, come to its queue.

    Raises:
        SettingsError: the key leads elsewhere.
    """
    routes = Routes(entries)
    for entry in entries:
        key = entry.path_key
        if key is None or not (entry.paths or entry.open_inference):
            continue
        what = "paths" if entry.paths else "openInference"
        if not matches(entry, key):
            msg = (
                f"{what} of {entry.queue_name!r}: its routingKey {key!r} does not lead to the queue; expected one that "
                f"its bindingKey takes, such as {matching_key(entry)!r}"
            )
            raise SettingsError(msg)
        if routes.exchange(key) != entry.exchange:
            msg = (
                f"{what} of {entry.queue_name!r}: the routing key {key!r} leads to the exchange "
                f"{routes.exchange(key)!r} of an earlier entry; use another routingKey, or put this entry first"
            )
            raise SettingsError(msg)
