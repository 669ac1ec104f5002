"""The pace of a look: it works in short turns, and rests between them, for longer the more others have to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.deferreds import sleep

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

#: Seconds of a turn if all of the time is ours, and the most that counts as one. With a smaller share turns are shorter
#: by as much: requests of the same process wait for the end of each.
_TURN, _MAX_TURN = 0.004, 0.02
#: A pause ends late if others have work: the process, or the processor. By so many times the delay the next pause is
#: longer, up to so many seconds. A shorter delay is our own: that of what the broker has sent meanwhile.
_GIVES_WAY, _MAX_PAUSE, _OWN_DELAY = 8.0, 0.05, 0.0005
#: Seconds from the beginning in which it does not give way: most looks are over by then, and others may want the queue.
_SHORT = 0.5


class Pace:
    """Turns and pauses.

    Args:
        share: share of the time that turns may take, over 0 and up to 1, while nobody else has work.
    """

    def __init__(self, clock: IReactorTime, share: float) -> None:
        self._clock = clock
        self._rest = 1 / share - 1
        self._turn = _TURN * share
        self._since = self._began = clock.seconds()
        #: Seconds that the last pause took too long.
        self._delay = 0.0

    @property
    def is_over(self) -> bool:
        """True if the turn is over, and :meth:`pause` is to be awaited."""
        return self._clock.seconds() - self._since >= self._turn

    async def pause(self) -> None:
        """Rest. The next turn begins when this returns."""
        now = self._clock.seconds()
        pause = min(now - self._since, _MAX_TURN) * self._rest
        if now - self._began >= _SHORT:
            pause += min(_GIVES_WAY * max(self._delay - _OWN_DELAY, 0.0), _MAX_PAUSE)
        await sleep(self._clock, pause)
        self._since = self._clock.seconds()
        self._delay = self._since - now - pause
