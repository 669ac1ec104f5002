"""Publisher confirms of one channel, in the order of their tags unless faults hold some back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pika import spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.devbroker.faults import Faults


class Confirms:
    """The confirms of one channel.

    Args:
        send: sends a method on the channel.
        faults: may hold confirms back.
    """

    def __init__(self, send: Callable[[spec.Basic.Ack | spec.Basic.Nack], None], faults: Faults) -> None:
        self._send = send
        self._faults = faults
        self._last = 0

    def settle(self, *, accepted: bool) -> None:
        """Confirm the next publish: Ack if it was accepted, Nack if not."""
        self._last += 1
        if not accepted:
            self._send(spec.Basic.Nack(self._last))
        elif not self._faults.keeps(self._confirm, self._last):
            self._confirm(self._last, multiple=False)

    def _confirm(self, tag: int, multiple: bool) -> None:
        self._send(spec.Basic.Ack(tag, multiple))
