"""Notices a broker that has fallen silent (AMQP 0-9-1, 4.2.7). pika waits longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Silence:
    """Times the silence of one connection.

    Args:
        clock: the reactor's.
        on_silence: called once with the number of seconds, when there was no byte for so long.

    Attributes:
        heard: when the last bytes arrived, by the clock.
    """

    def __init__(self, clock: IReactorTime, on_silence: Callable[[float], object]) -> None:
        self._clock = clock
        self._on_silence = on_silence
        self._call: IDelayedCall | None = None
        self.heard = clock.seconds()

    def watch(self, limit: float) -> None:
        """Begin to watch.

        Args:
            limit: seconds.
        """
        left = self.heard + limit - self._clock.seconds()
        if left > 0:
            self._call = self._clock.callLater(left, self.watch, limit)
        else:
            self._on_silence(limit)

    def stop(self) -> None:
        """Watch no more."""
        if self._call is not None and self._call.active():
            self._call.cancel()
