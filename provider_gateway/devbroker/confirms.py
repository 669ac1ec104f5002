"""Publisher confirms of one channel: their numbers, and which of them one method stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pika import spec

from provider_gateway.devbroker.faults import Held

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from provider_gateway.devbroker.faults import Faults


class Confirms:
    """The confirms of one channel.

    Args:
        send: sends a method on the channel.
        faults: may keep confirms back.
    """

    def __init__(self, send: Callable[[spec.Basic.Ack | spec.Basic.Nack], None], faults: Faults) -> None:
        self._send = send
        self._faults = faults
        self._last = 0
        self._kept: set[int] = set()
        self._accepted: list[int] = []
        self._refused: list[int] = []

    def next_tag(self) -> int:
        """The number of the next publish."""
        self._last += 1
        return self._last

    def settle(self, tag: int, *, accepted: bool) -> None:
        """Note what became of a publish; :meth:`flush` tells it."""
        if not accepted:
            self._refused.append(tag)
        elif self._faults.take_confirm(Held(self, tag, self._release)):
            self._kept.add(tag)
        else:
            self._accepted.append(tag)

    def flush(self) -> None:
        """Send what was settled since the last time."""
        accepted, refused, self._accepted, self._refused = self._accepted, self._refused, [], []
        if len(accepted) == 1:
            self._send(spec.Basic.Ack(accepted[0]))
        else:
            for tag, multiple in _coalesced(accepted, {*refused, *self._kept}):
                self._send(spec.Basic.Ack(tag, multiple))
        for tag, multiple in _coalesced(refused, {*accepted, *self._kept}):
            self._send(spec.Basic.Nack(tag, multiple))

    def _release(self, tag: int, multiple: bool) -> None:
        self._kept = {each for each in self._kept if each != tag and not (multiple and each < tag)}
        self._send(spec.Basic.Ack(tag, multiple))


def _coalesced(tags: list[int], others: Collection[int]) -> list[tuple[int, bool]]:
    """Tags to send, each with ``multiple``: one stands for all that are lower than any other publish's."""
    end = min(others, default=max(tags, default=0) + 1)
    together = [tag for tag in tags if tag < end]
    return [(tag, True) for tag in together[-1:]] + [(tag, False) for tag in tags if tag > end]
