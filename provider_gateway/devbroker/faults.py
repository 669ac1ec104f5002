"""Faults on demand: what a broker or a network may do to a client, once or until it is undone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Faults:
    """What goes wrong next. Without a call of its methods nothing does.

    Attributes:
        held: the confirms that are held back, in the order of their publishes: what sends them, with ``multiple`` or
            without, which is the same for all of a channel, and the tag.
        delay: seconds by which everything that is sent comes late.
        blocked: why publishers are blocked; None while they are not.
        listeners: are called when ``blocked`` changes.
    """

    def __init__(self) -> None:
        self.held: list[tuple[Callable[[int, bool], None], int]] = []
        self.delay = 0.0
        self.blocked: str | None = None
        self.listeners: list[Callable[[], None]] = []
        self._due = {"nack": 0, "swallow": 0, "cut": 0}
        self._holding = False

    def nack_publishes(self, count: int = 1) -> None:
        """Refuse the next publishes on channels with confirms: they are nacked, and go to no queue."""
        self._due["nack"] += count

    def swallow_confirms(self, count: int = 1) -> None:
        """Keep the next confirms for ever; the messages go to their queues."""
        self._due["swallow"] += count

    def cut_frames(self, count: int = 1) -> None:
        """End the next connections that something is written to, each in the middle of that frame."""
        self._due["cut"] += count

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
            held = list(dict(held).items())
        for confirm, tag in reversed(held) if backwards else held:
            confirm(tag, multiple)

    def block(self, reason: str | None = "low on memory") -> None:
        """Tell the clients that publishers are blocked; connections that publish are not read until :meth:`unblock`."""
        self.blocked = reason
        for each in list(self.listeners):
            each()

    def unblock(self) -> None:
        """Take messages again."""
        self.block(None)

    def take(self, what: str) -> bool:
        """True if one is due now: ``nack`` of a publish, ``swallow`` of a confirm, ``cut`` of a frame."""
        is_due = self._due[what] > 0
        self._due[what] -= is_due
        return is_due

    def keeps(self, confirm: Callable[[int, bool], None], tag: int) -> bool:
        """True if this confirm is not to be sent now, see ``held``."""
        if self.take("swallow"):
            return True
        if self._holding:
            self.held.append((confirm, tag))
        return self._holding
