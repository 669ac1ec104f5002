"""Faults on demand: what a broker or a network may do to a client, once or until it is undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Held(NamedTuple):
    """A confirm that is held back.

    Attributes:
        channel: which channel's, for those that belong together.
        tag: of the publish.
        confirm: sends it, with ``multiple`` or without.
    """

    channel: object
    tag: int
    confirm: Callable[[int, bool], None]


class Faults:
    """What goes wrong next. Without a call of its methods nothing does.

    Attributes:
        delay: seconds that each write waits.
        held: the confirms that are held back, in the order of their publishes.
        blocked: why publishers are blocked; None while they are not.
        listeners: are called when ``blocked`` changes.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        self.held: list[Held] = []
        self.blocked: str | None = None
        self.listeners: list[Callable[[], None]] = []
        self._nacks = 0
        self._swallows = 0
        self._cuts = 0
        self._holding = False

    def nack_publishes(self, count: int = 1) -> None:
        """Refuse the next publishes on channels with confirms: they are nacked, and go to no queue."""
        self._nacks += count

    def swallow_confirms(self, count: int = 1) -> None:
        """Keep the next confirms for ever; the messages go to their queues."""
        self._swallows += count

    def hold_confirms(self) -> None:
        """Hold the confirms from now on, until :meth:`release_confirms`; the messages go to their queues."""
        self._holding = True

    def release_confirms(self, *, backwards: bool = False, multiple: bool = False) -> None:
        """Send the confirms that were held, and hold no more.

        Args:
            backwards: the last one first.
            multiple: one confirm for each channel, which stands for all of them.
        """
        self._holding = False
        held, self.held = self.held, []
        if multiple:
            held = list({each.channel: each for each in held}.values())
        for each in reversed(held) if backwards else held:
            each.confirm(each.tag, multiple)

    def block(self, reason: str = "low on memory") -> None:
        """Tell the clients that publishers are blocked; connections that publish are not read until :meth:`unblock`."""
        self._set_blocked(reason)

    def unblock(self) -> None:
        """Take messages again."""
        self._set_blocked(None)

    def _set_blocked(self, reason: str | None) -> None:
        self.blocked = reason
        for each in list(self.listeners):
            each()

    def cut_frames(self, count: int = 1) -> None:
        """Drop the next connections that something is written to, each in the middle of that frame."""
        self._cuts += count

    def take_nack(self) -> bool:
        """True if this publish is to be nacked."""
        self._nacks, taken = max(0, self._nacks - 1), self._nacks > 0
        return taken

    def take_confirm(self, held: Held) -> bool:
        """True if this confirm is not to be sent now."""
        if self._swallows:
            self._swallows -= 1
            return True
        if self._holding:
            self.held.append(held)
        return self._holding

    def take_cut(self) -> bool:
        """True if this frame is to be cut."""
        self._cuts, taken = max(0, self._cuts - 1), self._cuts > 0
        return taken
