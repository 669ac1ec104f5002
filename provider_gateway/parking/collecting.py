"""Collects the result of a look while messages pass by. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.parking.looks import Group, Look, Progress
from provider_gateway.parking.reading import message_of, outline_of

if TYPE_CHECKING:
    from provider_gateway.amqp.message_channel import Content
    from provider_gateway.parking.filters import Filter
    from provider_gateway.parking.parked_message import Outline, ParkedMessage
    from provider_gateway.parking.places import ParkingPlace

#: Groups, and the name of the one for further reasons. There are few, unless somebody makes them up.
_MAX_GROUPS, OTHERS = 100, "(other reasons)"


class Collecting:
    """Reads messages in the order of the queue, and keeps what a look tells.

    Args:
        limit: most messages that are kept.
        after: messages up to this position are counted only.
        counts: what is not kept is of no interest but for its count, and need not be read whole.

    Attributes:
        seen: messages that passed by.
        matching: those that match.
    """

    def __init__(
        self, place: ParkingPlace, filter_: Filter, *, limit: int = 0, after: int = -1, counts: bool = False
    ) -> None:
        self._place = place
        self._filter = filter_
        self._limit = limit
        self._after = after
        self._counts = counts and filter_.is_of_outlines
        self._others = 0
        self._groups: dict[str, _Sum] = {}
        self._kept: list[ParkedMessage] = []
        self._next: int | None = None
        self.seen = self.matching = 0

    @property
    def is_full(self) -> bool:
        """True if the filter wants no more messages than there were."""
        return self._filter.limit is not None and self.matching >= self._filter.limit

    def add(self, content: Content) -> ParkedMessage | None:
        """Take the next message. Returns it if it matches and was read whole."""
        if self._counts and (self.seen <= self._after or not self._limit or self._next is not None):
            self._count(outline_of(content.properties, len(content.body)))
            return None
        message = message_of(self.seen, content.routing_key, content.properties, content.body)
        self.seen += 1
        if message.owner in self._place.sharers:
            self._others += 1
            return None
        if self.is_full or not self._filter.matches(message, content.body):
            return None
        self._add(message)
        if message.position > self._after:
            if len(self._kept) < self._limit:
                self._kept.append(message)
            elif self._next is None and self._limit:
                self._next = self._kept[-1].position
        return message

    def _count(self, message: Outline) -> None:
        self.seen += 1
        if message.owner in self._place.sharers:
            self._others += 1
        elif not self.is_full and self._filter.matches_outline(message):
            self._add(message)

    def _add(self, message: Outline | ParkedMessage) -> None:
        self.matching += 1
        reason = message.reason
        if reason not in self._groups and len(self._groups) >= _MAX_GROUPS:
            reason = OTHERS
        self._groups.setdefault(reason, _Sum()).add(message)

    def progress(self, total: int) -> Progress:
        """How far it is."""
        return Progress(self.seen, total, self.matching)

    def look(self, total: int, at: float) -> Look:
        """The result.

        Args:
            total: messages in the queue.
            at: the time, in seconds since 1970.
        """
        groups = (each.group(reason) for reason, each in self._groups.items())
        return Look(
            queue=self._place.queue,
            parking=self._place.parking.name,
            total=total,
            looked_at=self.seen,
            others=self._others,
            matching=self.matching,
            groups=tuple(sorted(groups, key=lambda group: (-group.count, group.reason))),
            messages=tuple(self._kept),
            next=self._next,
            at=at,
        )


class _Sum:
    """The messages of one reason, added up."""

    __slots__ = ("bytes", "count", "newest", "oldest")

    def __init__(self) -> None:
        self.count = self.bytes = 0
        self.oldest: float | None = None
        self.newest: float | None = None

    def add(self, message: Outline | ParkedMessage) -> None:
        """Add a message."""
        self.count += 1
        self.bytes += message.size
        at = message.parked_at
        if at is not None:
            self.oldest = at if self.oldest is None else min(self.oldest, at)
            self.newest = at if self.newest is None else max(self.newest, at)

    def group(self, reason: str) -> Group:
        """The sum."""
        return Group(reason=reason, count=self.count, oldest=self.oldest, newest=self.newest, bytes=self.bytes)
