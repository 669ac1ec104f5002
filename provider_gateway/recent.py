"""A bounded memory: the newest so many things, to be asked whether something is among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable


class Recent:
    """Remembers the newest things that it was given.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._known: dict[Hashable, None] = {}

    def add(self, thing: Hashable) -> None:
        """Remember one, and forget the oldest if there are too many."""
        self._known.pop(thing, None)
        self._known[thing] = None
        if len(self._known) > self._size:
            del self._known[next(iter(self._known))]

    def __contains__(self, thing: Hashable) -> bool:
        return thing in self._known
