"""Lets the calls of one queue's model begin: at once, later while the model is busy, or not at all while it is away."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from twisted.internet.defer import succeed

from provider_gateway.provider.concurrency import Concurrency
from provider_gateway.provider.pause import Pause
from provider_gateway.provider.ready_question import ReadyQuestion
from provider_gateway.provider.waiting_line import WaitingLine

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

#: Calls in a row for which no connection could be made, after which the model is away.
_MAX_UNREACHABLE = 5
#: Refusals of a message after which it is peculiar, if others succeed: it has a back-off of its own.
_PECULIAR = 2
#: Seconds that a message waits for longer than the longest pause before it is given back.
PATIENCE = 15.0


class State(Enum):
    """What is known of the model."""

    READY = "ready"
    BUSY = "busy"
    AWAY = "away"
    PROBING = "away, and being asked whether it is back"


class ModelGate:
    """The state of one queue's model.

    Each call begins with :meth:`enter`, and ends with one of the methods that tell how it went. The states::

           +-------+  refused, or unreachable     +------+ <-. refused, or unreachable,
        -> | READY | ---------------------------> | BUSY | --' after the pause
           +-------+ <--------------------------- +------+
            |    ^     answered after the pause      |
            |    |                                   | unreachable 5 times in a row, or not ready
            |    |         not ready                 v
            '----+---------------------------->   +------+
                 |                                | AWAY | <-. unreachable, or not ready
                 |                                +------+   |
                 |                     after 1, 2,   |       |
                 |                     4 ... 15 s    v       |
                 | answered, or ready          +---------+   |
                 '---------------------------- | PROBING | --'
                   (BUSY, if it refuses)       +---------+

    - READY: calls begin as :class:`.Concurrency` lets them.
    - BUSY: no call begins in the pause. It lasts for ``Retry-After``, or else for 1, 2, 4, 8, 15, 15 ... s; without
      ``Retry-After``, the success of a call that was running ends it. If none has succeeded when it ends, one call is
      tried at a time.
    - AWAY: no call begins, and no delivery is wanted. One message stays as the probe, and the others are given back.
    - PROBING: the ready URL is asked. Without one, that message is tried, or else one delivery is wanted.

    Args:
        prefetch: most calls at a time.
        min_concurrency: calls at a time that a busy model is asked to take, at least.
        max_pause: seconds that a pause lasts at most.
        is_adaptive: the latency of calls changes their number, too.
        clock: times pauses and probes.
        jitter: is given a delay in seconds and returns a shorter one: replicas do not ask at the same time.
        is_ready: asks the model's ready URL; None without one: then a message is the probe.

    Attributes:
        state: what is known of the model.
        wanted: deliveries to have in hand at a time, for now; 0 for none.
        on_change: called when ``wanted`` has changed.
        on_pause: called when the model becomes ``"away"``, and for each pause before: ``"busy"`` if it refused a call.
    """

    def __init__(
        self,
        *,
        prefetch: int,
        min_concurrency: int,
        max_pause: float,
        is_adaptive: bool,
        clock: IReactorTime,
        jitter: Callable[[float], float],
        is_ready: Callable[[], Deferred[bool]] | None,
    ) -> None:
        self.state = State.READY
        self.wanted = prefetch
        self.on_change: Callable[[], object] = lambda: None
        self.on_pause: Callable[[str], object] = lambda _: None
        self._prefetch = prefetch
        self._clock = clock
        self._question = ReadyQuestion(is_ready, self._told, clock)
        self._concurrency = Concurrency(min_concurrency, prefetch, is_adaptive=is_adaptive)
        self._line = WaitingLine(clock, jitter, max_pause + PATIENCE, self._go_on)
        self._running = self._unreachable = 0  # calls; failed connections in a row
        #: Calls that may run at a time without being looked at further; below 0 unless all is well.
        self._free = prefetch
        #: Calls that may run at a time in BUSY and PROBING; 0 in a pause.
        self._allowed = 0
        self._pause = Pause(clock, jitter, max_pause, self._end_pause)
        self._absence = Pause(clock, jitter, max_pause, self._probe)
        self._spacing = Pause(clock, jitter, max_pause, self._go_on)
        self._stopped = self._has_succeeded = False  # succeeded: since the last refusal

    @property
    def concurrency(self) -> int:
        """Calls at a time, at most, for now."""
        return self._concurrency.limit

    @property
    def needs_probe(self) -> bool:
        """True if one more delivery is wanted, as the probe, however many are in hand."""
        return self.state is State.PROBING and not self._question.exists and not self._line and self._may_begin()

    def enter(self, *, refusals: int = 0) -> Deferred[bool] | None:
        """Ask to begin a call.

        Args:
            refusals: how often in a row the model has refused this message; 1 if it could not be reached for it. Such
                a message goes before those that wait for the first time.

        Returns:
            None if it may begin now; else a Deferred that fires with True when it may begin, or with False when the
            message has to be given back to its queue. It can be cancelled.
        """
        if self._running < self._free:
            self._running += 1
            return None
        return self._enter(refusals)

    def succeeded(self, seconds: float) -> None:
        """A call has ended with an answer that shows that the model takes calls, after a number of seconds."""
        self._running -= 1
        if self._free < 0:
            self._succeeded(seconds)

    def failed(self) -> None:
        """A call has ended with a failure, though a connection could be made."""
        self._running -= 1
        self._unreachable = 0
        self._question.ask_soon()
        self._answered()
        self._go_on()

    def busy(self, wait: float | None, refusals: int = 0) -> None:
        """A call was refused with 429 or 503.

        Args:
            wait: seconds of ``Retry-After``; None without one.
            refusals: of this message before.
        """
        self._running -= 1
        self._unreachable = 0
        if self._is_away():
            self._come_back()
            self._be_busy(wait)
        elif not self._is_peculiar(refusals):
            self._concurrency.refused(self._running, self._clock.seconds())
            self._be_busy(wait)
        self._go_on()

    def unreachable(self) -> None:
        """No connection could be made for a call."""
        self._running -= 1
        self._unreachable += 1
        if self._is_away() or self._unreachable >= _MAX_UNREACHABLE:
            self._leave()
        else:
            self._be_busy(None, "away")
        self._go_on()

    def unused(self) -> None:
        """No call was made after all, or it was cancelled."""
        self._running -= 1
        self._go_on()

    def stop(self) -> None:
        """Give back all messages, those that wait and those that come: the process stops."""
        self._stopped, self._free = True, -1
        for each in (self._pause, self._absence, self._spacing, self._question):
            each.stop()
        self._line.give_back()

    def _is_away(self) -> bool:
        return self.state in {State.AWAY, State.PROBING}

    def _enter(self, refusals: int) -> Deferred[bool] | None:
        if self._stopped or (self.state is State.AWAY and (self._line or self._question.exists)):
            return succeed(False)
        delays = refusals - _PECULIAR if self._is_peculiar(refusals) else None
        if not self._line and delays is None and self._may_begin():
            self._begin()
            turn = None
        else:
            self._free = -1
            turn = self._line.join(is_first=refusals > 0, delays=delays)
        self._want()
        return turn

    def _is_peculiar(self, refusals: int) -> bool:
        return refusals >= _PECULIAR and refusals > self._pause.number

    def _may_begin(self) -> bool:
        is_ready = self.state is State.READY
        if self._running >= (self._concurrency.limit if is_ready else self._allowed) or self._stopped:
            return False
        delay = self._concurrency.delay(self._clock.seconds()) if is_ready else 0.0
        if delay:
            self._spacing.begin(delay)
        return not delay

    def _begin(self) -> None:
        self._concurrency.started(self._running, self._clock.seconds())
        self._running += 1

    def _begin_next(self) -> bool:
        if may_begin := self._may_begin():
            self._begin()
        return may_begin

    def _go_on(self) -> None:
        self._line.let_go(self._begin_next)
        is_well = self.state is State.READY and self._concurrency.is_free and not self._line and not self._stopped
        self._free = self._prefetch if is_well else -1
        self._want()

    def _want(self) -> None:
        in_hand = min(self._concurrency.in_hand(self.wanted) + self._line.delayed, self._prefetch)
        wanted = int(self.needs_probe) if self._is_away() else in_hand
        if wanted != self.wanted:
            self.wanted = wanted
            self.on_change()

    def _succeeded(self, seconds: float) -> None:
        self._unreachable = 0
        self._has_succeeded = True
        if self._pause.reset():
            self._concurrency.resumed(self._clock.seconds())
        self._answered()
        self._absence.reset()
        self._concurrency.succeeded(seconds, self._clock.seconds())
        self._go_on()

    def _answered(self) -> None:
        if self._is_away():
            self._come_back()
        elif not self._pause.is_on:
            self.state = State.READY

    def _come_back(self) -> None:
        self._unreachable = 0
        self._absence.cancel()
        self._concurrency.restart()
        self.state = State.READY

    def _be_busy(self, wait: float | None, reason: str = "busy") -> None:
        if not self._pause.is_on:
            self.on_pause(reason)
        self.state = State.BUSY
        self._has_succeeded, self._allowed = False, 0
        self._pause.begin(wait)
        self._question.ask_soon()

    def _end_pause(self) -> None:
        self._concurrency.resumed(self._clock.seconds())
        if self._has_succeeded:
            self.state = State.READY
        else:
            self._allowed = min(self._running + 1, self._concurrency.limit)
        self._go_on()

    def _leave(self) -> None:
        if not self._is_away():
            self.on_pause("away")
        self.state, self._allowed = State.AWAY, 0
        self._pause.cancel()
        self._absence.begin()
        self._line.give_back(keep=0 if self._question.exists else 1)

    def _probe(self) -> None:
        self.state = State.PROBING
        if self._question.exists:
            self._question.ask()
        else:
            self._allowed = self._running + 1
        self._go_on()

    def _told(self, is_ready: bool) -> None:
        if not is_ready:
            self._leave()
        elif self.state is State.PROBING:
            self._come_back()
        self._go_on()
