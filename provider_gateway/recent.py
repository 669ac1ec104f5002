"""A bounded set that forgets its oldest member."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable


class Recent:
    """The members that were added last.

    Args:
        size: most members that it holds.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._known: dict[Hashable, None] = {}

    def add(self, thing: Hashable) -> None:
        """Add a member, or make it the newest again; forget the oldest beyond the size."""
        self._known.pop(thing, None)
        self._known[thing] = None
        if len(self._known) > self._size:
            del self._known[next(iter(self._known))]

    def __contains__(self, thing: Hashable) -> bool:
        return thing in self._known
