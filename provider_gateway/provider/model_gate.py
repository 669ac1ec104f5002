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
#: Seconds that a message waits for longer than the longest pause before it is given back.
_PATIENCE = 15.0


class State(Enum):
    """What is known of the model."""

    READY = "ready"
    BUSY = "busy"
    AWAY = "away"
    PROBING = "away, and being asked whether it is back"


class ModelGate:
    """The state of one queue's model.

    Each call begins with :meth:`enter`, and ends with one of the methods that tell how it went.

    The states of the model::

             refused, or unreachable
        +-------+ ------------------> +------+ <-. refused, or unreachable, after a pause: the next pause
     -> | READY |                     | BUSY | --'
        +-------+ <------------------ +------+
          ^   |    answered after        |
          |   |    the pause             | unreachable 5 times in a row, or not ready
          |   |                          v
          |   | not ready             +------+
          |   '---------------------> | AWAY | <-.
          |                           +------+   |
          |                              |       | unreachable, or not ready
          |      after 1, 2, 4 ... 15 s  |       |
          |                              v       |
          |   answered, or ready    +---------+  |
          '-------------------------| PROBING |--'
             (503: BUSY)            +---------+

    READY: calls begin while fewer than ``concurrency`` are running.

    BUSY: no call begins in the pause. It lasts for ``Retry-After``, or else for 1, 2, 4, 8, 15, 15 ... s; without
    ``Retry-After``, the success of a call that was running ends it. After the pause, calls begin as in READY if one has
    succeeded since; else one call at a time, until one is answered.

    AWAY: no call begins, and no delivery is wanted. One message may stay as the probe, the others are given back.

    PROBING: the ready URL is asked; without one, a message is called for.

    Args:
        prefetch: most calls at a time.
        min_concurrency: calls at a time that a busy model is asked to take, at least.
        max_pause: seconds that a pause for a busy model lasts at most.
        is_adaptive: the latency of calls changes their number, too.
        clock: times pauses and probes.
        jitter: is given a delay in seconds and returns a shorter one: replicas do not ask at the same time.
        is_ready: asks the model's ready URL; None without one: then a message is the probe.

    Attributes:
        state: what is known of the model.
        wanted: deliveries to have in hand at a time, for now; 0 for none.
        on_change: called when ``wanted`` has changed.
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
        self._prefetch = prefetch
        self._question = None if is_ready is None else ReadyQuestion(is_ready, self._told, clock)
        self._concurrency = Concurrency(min_concurrency, prefetch, is_adaptive=is_adaptive)
        self._line = WaitingLine(clock, max_pause + _PATIENCE)
        self._running = 0
        #: Calls that may run at a time without being looked at further; below 0 unless all is well.
        self._free = prefetch
        #: Calls that may run at a time in BUSY and PROBING; 0 in a pause.
        self._allowed = 0
        self._pause = Pause(clock, jitter, max_pause, self._end_pause)
        self._absence = Pause(clock, jitter, max_pause, self._probe)
        self._has_succeeded = False  # since the last refusal
        self._unreachable = 0  # in a row
        self._stopped = False

    @property
    def concurrency(self) -> int:
        """Calls at a time, at most, for now."""
        return self._concurrency.limit

    @property
    def needs_probe(self) -> bool:
        """True if one more delivery is wanted, however many are in hand."""
        return self.state is State.PROBING and self._question is None and not self._line and not self._is_probed()

    def enter(self, *, is_first: bool = False) -> Deferred[bool] | None:
        """Ask to begin a call.

        Args:
            is_first: the model has refused this message before, so it goes before those that wait for the first time.

        Returns:
            None if it may begin now; else a Deferred that fires with True when it may begin, or with False when the
            message has to be given back to its queue. Cancelling it takes the message out of the line.
        """
        if self._running < self._free:
            self._running += 1
            return None
        return self._enter(is_first=is_first)

    def succeeded(self, seconds: float) -> None:
        """A call has ended with an answer that shows that the model takes calls.

        Args:
            seconds: how long it took.
        """
        self._running -= 1
        if self._free < 0:
            self._succeeded(seconds)

    def failed(self) -> None:
        """A call has ended with a failure, though a connection could be made."""
        self._running -= 1
        self._unreachable = 0
        self._has_trouble()
        self._answered()
        self._go_on()

    def busy(self, wait: float | None) -> None:
        """A call was refused with 429 or 503.

        Args:
            wait: seconds of ``Retry-After``; None without one.
        """
        self._running -= 1
        self._unreachable = 0
        if self._is_away():
            self._come_back()
        self._concurrency.refused(self._running)
        self._be_busy(wait)
        self._has_trouble()
        self._go_on()

    def unreachable(self) -> None:
        """No connection could be made for a call."""
        self._running -= 1
        self._unreachable += 1
        if self._is_away() or self._unreachable >= _MAX_UNREACHABLE:
            self._leave()
        else:
            self._be_busy(None)
            self._has_trouble()
        self._go_on()

    def unused(self) -> None:
        """No call was made after all, or its end tells nothing of the model: it was cancelled."""
        self._running -= 1
        self._go_on()

    def stop(self) -> None:
        """Give back all messages that wait, and those that come later: the process stops."""
        self._stopped = True
        self._free = -1
        self._pause.stop()
        self._absence.stop()
        if self._question is not None:
            self._question.stop()
        self._line.give_back()

    def _is_away(self) -> bool:
        return self.state in {State.AWAY, State.PROBING}

    def _enter(self, *, is_first: bool) -> Deferred[bool] | None:
        if self._stopped or (self._is_away() and (self._line or self._question is not None or self._is_probed())):
            return succeed(False)
        if not self._line and self._may_begin():
            self._running += 1
            return None
        self._free = -1
        return self._line.join(is_first=is_first)

    def _is_probed(self) -> bool:
        """True while a call is the probe."""
        return self.state is State.PROBING and self._running >= self._allowed

    def _may_begin(self) -> bool:
        limit = self._concurrency.limit if self.state is State.READY else self._allowed
        return self._running < limit and not self._stopped

    def _go_on(self) -> None:
        """Let messages go that may begin now, and follow with what is wanted."""
        while self._line and self._may_begin():
            self._running += 1
            self._line.let_go()
        is_well = self.state is State.READY and self._concurrency.is_free and not self._line and not self._stopped
        self._free = self._prefetch if is_well else -1
        self._want()

    def _want(self) -> None:
        if self.state is State.AWAY:
            wanted = 0
        elif self.state is State.PROBING:
            wanted = 1 if self.needs_probe else 0
        else:
            wanted = self._concurrency.in_hand(self.wanted)
        if wanted != self.wanted:
            self.wanted = wanted
            self.on_change()

    def _succeeded(self, seconds: float) -> None:
        self._unreachable = 0
        self._has_succeeded = True
        self._pause.reset()
        self._answered()
        self._absence.reset()
        self._concurrency.succeeded(seconds)
        self._go_on()

    def _answered(self) -> None:
        """A call was answered, and not refused: the model takes calls, after the pause that it asked for."""
        if self._is_away():
            self._come_back()
        elif not self._pause.is_on:
            self.state = State.READY

    def _come_back(self) -> None:
        self._unreachable = 0
        self._absence.cancel()
        self._concurrency.restart()
        self.state = State.READY

    def _be_busy(self, wait: float | None) -> None:
        self.state = State.BUSY
        self._has_succeeded = False
        self._allowed = 0
        self._pause.begin(wait)

    def _end_pause(self) -> None:
        if self._has_succeeded:
            self.state = State.READY
        else:
            self._allowed = min(self._running + 1, self._concurrency.limit)
        self._go_on()

    def _leave(self) -> None:
        """The model is away: wait for the next probe."""
        self.state = State.AWAY
        self._allowed = 0
        self._pause.cancel()
        self._absence.begin()
        self._line.give_back(keep=1 if self._question is None else 0)

    def _probe(self) -> None:
        self.state = State.PROBING
        if self._question is None:
            self._allowed = self._running + 1
        else:
            self._question.ask()
        self._go_on()

    def _has_trouble(self) -> None:
        """Something is wrong: ask the ready URL."""
        if self._question is not None and not self._is_away():
            self._question.ask_soon()

    def _told(self, is_ready: bool) -> None:
        if not is_ready:
            self._leave()
        elif self.state is State.PROBING:
            self._come_back()
        self._go_on()
