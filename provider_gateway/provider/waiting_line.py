"""The line of messages that wait until a call of their model may begin; each waits for a limited time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from provider_gateway.deadlines import Deadlines
from provider_gateway.provider.pause import DELAYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime


class WaitingLine:
    """Deferreds in the order in which they are let go. Messages that the model has refused go before all others.

    Args:
        clock: times how long each waits.
        patience: seconds after which a Deferred fires with False.
        joined: called when somebody joins the line after a delay.
    """

    def __init__(
        self, clock: IReactorTime, jitter: Callable[[float], float], patience: float, joined: Callable[[], object]
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._joined = joined
        #: In order; dicts, since a Deferred in the middle may be cancelled.
        self._first: dict[Deferred[bool], None] = {}
        self._others: dict[Deferred[bool], None] = {}
        #: Not in line yet.
        self._delayed: dict[Deferred[bool], IDelayedCall] = {}
        self._lets_go = False
        self._deadlines: Deadlines[Deferred[bool]] = Deadlines(clock, patience, self._give_back)

    def __len__(self) -> int:
        return len(self._first) + len(self._others)

    @property
    def delayed(self) -> int:
        """How many have not joined the line yet."""
        return len(self._delayed)

    def join(self, *, is_first: bool, delays: int | None = None) -> Deferred[bool]:
        """A Deferred that fires with True when it is let go, or else with False. It can be cancelled.

        Args:
            delays: it joins the line after a delay, and has had that many before; None without a delay.
        """
        waiting: Deferred[bool] = Deferred(self._forget)
        if delays is not None:
            self._delayed[waiting] = self._clock.callLater(self._jitter(DELAYS(delays)), self._join, waiting)
        else:
            (self._first if is_first else self._others)[waiting] = None
        self._deadlines.start(waiting)
        return waiting

    def _join(self, waiting: Deferred[bool]) -> None:
        del self._delayed[waiting]
        self._first[waiting] = None
        self._joined()

    def let_go(self, may_go: Callable[[], bool]) -> None:
        """Fire the first ones with True.

        Args:
            may_go: asked before each; False ends it.
        """
        if self._lets_go:
            return  # called by one that ended at once: the loop below goes on, however many do
        self._lets_go = True
        try:
            while self and may_go():
                waiting = next(iter(self._first or self._others))
                self._forget(waiting)
                waiting.callback(True)
        finally:
            self._lets_go = False

    def give_back(self, *, keep: int = 0) -> None:
        """Fire with False all but the first ones.

        Args:
            keep: how many go on waiting.
        """
        for waiting in [*self._first, *self._others, *self._delayed][keep:]:
            if not waiting.called:  # by the callback of another
                self._forget(waiting)
                waiting.callback(False)

    def _give_back(self, waiting: Deferred[bool]) -> None:
        self._forget(waiting)
        waiting.callback(False)

    def _forget(self, waiting: Deferred[bool]) -> None:
        self._deadlines.stop(waiting)
        self._first.pop(waiting, None)
        self._others.pop(waiting, None)
        if (delay := self._delayed.pop(waiting, None)) is not None:
            delay.cancel()
