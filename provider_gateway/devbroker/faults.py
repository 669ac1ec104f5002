"""Faults on demand: what a broker or a network may do to a client, once or until it is switched off."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Faults:
    """Faults that are due; none until a method asks for one.

    Attributes:
        held: confirms that are held back, in the order of their publishes. Each is a function that sends a confirm,
            given a tag and ``multiple``, and the tag. All confirms of a channel have the same function.
        refusal: the code with which a message with a body is refused, which closes its channel or its connection; 0 to
            accept it.
        delay: seconds by which everything that the broker sends is delayed.
        blocked: why publishers are blocked; None while they are not.
        listeners: called when ``blocked`` changes.
    """

    def __init__(self) -> None:
        self.held: list[tuple[Callable[[int, bool], None], int]] = []
        self.refusal: Callable[[bytes], int] = lambda _: 0
        self.delay = 0.0
        self.blocked: str | None = None
        self.listeners: list[Callable[[], None]] = []
        self._due = {"nack": 0, "swallow": 0, "cut": 0}
        self._holding = False

    def nack_publishes(self, count: int = 1) -> None:
        """Nack the next publishes on channels with confirms; the messages are not routed."""
        self._due["nack"] += count

    def swallow_confirms(self, count: int = 1) -> None:
        """Never send the next confirms; the messages are routed."""
        self._due["swallow"] += count

    def cut_frames(self, count: int = 1) -> None:
        """Cut the next frames that are written: half of each is sent, then its connection is closed."""
        self._due["cut"] += count

    def hold_confirms(self) -> None:
        """Hold confirms back until :meth:`release_confirms`; the messages are routed."""
        self._holding = True

    def release_confirms(self, *, backwards: bool = False, multiple: bool = False) -> None:
        """Send the confirms that are held back, and hold back no more.

        Args:
            backwards: send the last one first.
            multiple: send one confirm for each channel, with ``multiple`` set.
        """
        self._holding = False
        held, self.held = self.held, []
        if multiple:
            held = list(dict(held).items())
        for confirm, tag in reversed(held) if backwards else held:
            confirm(tag, multiple)

    def block(self, reason: str | None = "low on memory") -> None:
        """Send Connection.Blocked; connections that publish are not read until :meth:`unblock`."""
        self.blocked = reason
        for each in list(self.listeners):
            each()

    def unblock(self) -> None:
        """Send Connection.Unblocked, and read all connections again."""
        self.block(None)

    def take(self, what: str) -> bool:
        """True if a fault is due now, which uses it up: ``nack`` a publish, ``swallow`` a confirm, ``cut`` a frame."""
        is_due = self._due[what] > 0
        self._due[what] -= is_due
        return is_due

    def keeps(self, confirm: Callable[[int, bool], None], tag: int) -> bool:
        """True if a confirm is not to be sent now; see ``held``."""
        if self.take("swallow"):
            return True
        if self._holding:
            self.held.append((confirm, tag))
        return self._holding
