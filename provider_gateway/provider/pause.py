"""A time in which a model is left alone: as long as it asked for, or longer each time until it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.application.internet import backoffPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds of a pause by its number, from 0.
DELAYS = backoffPolicy(initialDelay=1.0, maxDelay=15.0, factor=2.0, jitter=lambda: 0.0)


class Pause:
    """The pauses of one model, one at a time.

    Without a time that was asked for they last for 1, 2, 4, 8, 15, 15 ... s, less a random part; at :meth:`reset`, that
    begins anew.

    Args:
        longest: seconds that a pause lasts at most.
        ended: called at the end of each pause, unless it was cancelled.

    Attributes:
        number: pauses since the last :meth:`reset`.
    """

    def __init__(
        self, clock: IReactorTime, jitter: Callable[[float], float], longest: float, ended: Callable[[], object]
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._longest = longest
        self._ended = ended
        self.number = 0
        self._is_asked_for = False
        self._timer: IDelayedCall | None = None
        self._stopped = False

    @property
    def is_on(self) -> bool:
        """True during a pause."""
        return self._timer is not None

    def begin(self, wait: float | None = None) -> None:
        """Begin a pause, or make the present one longer.

        Args:
            wait: seconds that the model asked for. Without them, a present pause stays as it is. 0 is as without: else
                calls and refusals would follow each other at once, for as long as the model asks for no pause.
        """
        wait = wait or None
        if self._stopped or (wait is None and self.is_on):
            return
        if not self.is_on:
            self.number += 1
            self._is_asked_for = False
        if wait is None:
            delay = self._jitter(DELAYS(self.number - 1))
        else:
            delay = wait
            self._is_asked_for = True
        delay = min(delay, self._longest)
        if self._timer is None or self._timer.getTime() < self._clock.seconds() + delay:
            self.cancel()
            self._timer = self._clock.callLater(delay, self._end)

    def reset(self) -> bool:
        """Make the next pause as short as the first one, and end a pause that nobody asked for.

        Returns:
            True if that has ended a pause.
        """
        self.number = 0
        if self._timer is None or self._is_asked_for:
            return False
        self.cancel()
        return True

    def cancel(self) -> None:
        """End a pause without a word."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def stop(self) -> None:
        """End a pause without a word, and begin none any more."""
        self._stopped = True
        self.cancel()

    def _end(self) -> None:
        self._timer = None
        self._ended()
