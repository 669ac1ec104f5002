"""The law by which the number of calls that a model is asked to take at a time changes. It has no timers and no I/O."""

from __future__ import annotations

from math import ceil, sqrt

#: A step beyond a level that was refused comes after so many calls, and after so many times what the last such step has
#: cost. So at most one call of 20 is refused, and a thirtieth of the time is lost in pauses.
_PROOF_CALLS, _PROOF_TIMES = 20, 30
#: The least time between two starts, as part of the mean time between them. Loose: calls that are short by chance are
#: followed soon, and still calls do not come all at once after a pause.
_LOOSE, _EVEN = 0.5, 1.0
#: Steps towards a level that was refused, and beyond it, while calls are spread evenly.
_NEAR, _STEP = 1.06, 1.05
#: The level is not cut to less than this part at once.
_LARGEST_CUT = 1 / 16
#: Weight of the newest call in the mean time of calls.
_NEWEST = 0.05
#: ``adaptive``: a window with calls that are so many times slower than usual cuts the level to this part. What is usual
#: follows a faster window soon, and a slower one slowly.
_SLOW, _CUT = 1.5, 0.9
_FASTER, _SLOWER = 0.4, 0.05
#: Seconds that are no difference: a timer for them would come early by rounding.
_NOTHING = 1e-6


class Concurrency:
    """The level of calls: how many a model takes at a time.

    It is made for models that have a number of slots, such as workers or places in a queue, and refuse further calls:

    - A refusal says how many calls the model takes: those that are running beside it. That is the new level, and the
      level above it is known as too high.
    - The level grows by one with each window, which is as many successes as the level, up to the one that is too high.
      That one is tried again after a *proof*: 20 calls, and 30 times as long as the last refusal's pause. If it goes
      well, nothing is known as too high any more.

    If the model refuses a call while no other is running, their number is not the reason. The first time, the level
    goes back to what it was, one more with each success: the model may have been busy with something else. If that
    happens again before a proof, the model limits the rate of calls. Then calls are spread *evenly*, and the level is a
    part of the model's time: 0.5 is one call at a time, with as long a time between. The rate that went well since the
    refusal before says where to look: the geometric mean of both is tried next.

    Args:
        least, most: the limit is never outside of these.
        is_adaptive: a window in which calls are slower than usual cuts the level, too.
    """

    def __init__(self, least: int, most: int, *, is_adaptive: bool) -> None:
        self._least = min(least, most)
        self._most = most
        self._is_adaptive = is_adaptive
        self._level = self._before = float(most)
        #: A level that was refused; 0 if none is known.
        self._too_high = 0.0
        self._ramp_to = 0.0
        self._is_even = False
        # Of the call that began last: when it did, and beside how many others.
        self._started, self._beside = float("-inf"), 0
        self._latency = 0.0
        # Since the level has changed: calls that went well, and since when. What a refusal costs in time.
        self._calls, self._since, self._cost = 0, 0.0, 0.0
        # ``adaptive``: calls of this window, their time, and the usual time of one.
        self._window, self._seconds, self._usual = 0, 0.0, 0.0
        # Refusals in a row: until a call succeeds that began after the last one.
        self._in_row = self._was_alone = self._was_proven = False
        self._last_refused = 0.0
        self._paused: float | None = None
        #: How often in a row calls were refused that ran alone, without a proof between.
        self._alone = 0
        # Since the last refusal: calls that the model took, and when the first one began.
        self._taken, self._first = 0, 0.0

    @property
    def limit(self) -> int:
        """Calls at a time, at most, for now."""
        return min(self._most, max(self._least, ceil(self._level)))

    @property
    def is_free(self) -> bool:
        """True if a success would change nothing."""
        return self._level >= self._most and not self._in_row and not self._is_adaptive

    def in_hand(self, before: int) -> int:
        """How many deliveries to have in hand, in powers of two.

        Twice as many as the limit: the next message is there while the last reply is still being confirmed. It does not
        fall as soon as the limit does: each change costs a change of consumers.

        Args:
            before: the number until now.
        """
        limit = self.limit
        wanted = self._in_hand_for(limit)
        return before if wanted < before <= self._in_hand_for(limit + (limit + 3) // 4) else wanted

    def _in_hand_for(self, limit: int) -> int:
        return min(self._most, 2 << (limit - 1).bit_length())

    def delay(self, now: float) -> float:
        """Seconds until the next call may begin."""
        if self._level >= self._most or (self._level <= 1 and not self._is_even):
            return 0.0
        apart = (_EVEN if self._is_even else _LOOSE) * self._latency / self._level
        delay = self._started + apart - now
        return delay if delay > _NOTHING else 0.0

    def started(self, beside: int, now: float) -> None:
        """A call begins, beside others that are running."""
        self._started, self._beside = now, beside

    def refused(self, beside: int, now: float) -> None:
        """A call was refused.

        Args:
            beside: other calls that are running.
        """
        if not self._in_row:
            self._in_row, self._was_alone = True, False
            self._before, self._was_proven = self._level, self._is_proven(now)
        # Some that were running when it began may have ended since.
        beside = max(beside, self._beside)
        self._beside -= 1
        self._last_refused = now
        if self._paused is None:
            self._paused = now
        self._calls, self._ramp_to = 0, 0.0
        if self._is_even and beside >= max(2, self.limit - 1):
            self._is_even = False  # as many as may run: it is their number after all
        if self._is_even or beside < self._least:
            self._was_alone = True
        if not self._is_even:
            self._level = float(max(self._least, min(beside, self.limit)))
            self._too_high = self._level + 1

    def resumed(self, now: float) -> None:
        """The pause is over."""
        if self._paused is not None:
            if self._is_even or not self._was_alone:
                self._cost = now - self._paused
            self._paused = None
            self._begin(now)

    def succeeded(self, seconds: float, now: float) -> None:
        """A call has succeeded, after a number of seconds."""
        self._latency += _NEWEST * (seconds - self._latency) if self._latency else seconds
        began = now - seconds
        self._taken += 1
        if self._in_row:
            if began < self._last_refused:
                return
            self._in_row = False
            if self._was_alone:
                self._refused_alone((self._taken - 1) / max(_NOTHING, began - self._first))
            self._taken, self._first = 1, began
        self._calls += 1
        if self._is_adaptive:
            self._adapt(seconds, now)
        if self._level < self._most:
            self._grow(now)
        if self._level >= self._most:
            self._level = float(self._most)
            self._is_even, self._too_high, self._alone = False, 0.0, 0

    def restart(self) -> None:
        """The model was away."""
        self._ramp_to = max(self._ramp_to, self._level)
        self._level = float(self._least)
        self._calls = 0

    def _begin(self, now: float) -> None:
        """Begin to count: the level has changed."""
        self._calls, self._since = 0, now

    def _is_proven(self, now: float) -> bool:
        return self._calls >= _PROOF_CALLS and now - self._since >= _PROOF_TIMES * self._cost

    def _refused_alone(self, rate: float) -> None:
        """Calls were refused that ran alone.

        Args:
            rate: calls a second that the model has taken since the refusals before, these ones' pauses included.
        """
        self._alone += 1
        if not self._is_even and (self._alone == 1 or self._before >= self._most):
            self._level, self._ramp_to = float(self._least), self._before
            self._too_high = self._before + 1
            return
        self._is_even, self._too_high = True, self._before
        level = self._before
        if not self._was_proven:
            level = sqrt(level * min(level, max(rate * self._latency, _LARGEST_CUT * level)))
        self._level = min(level, self._before / _STEP)

    def _grow(self, now: float) -> None:
        if self._level < self._ramp_to:
            self._level = min(self._level + 1, self._ramp_to)
            self._begin(now)
        elif self._is_even:
            self._grow_evenly(now)
        elif not self._too_high or self._level + 1 < self._too_high:
            if self._calls >= self._level:
                self._level += 1
                self._begin(now)
        elif self._is_proven(now):
            self._level += 1
            self._too_high, self._alone = 0.0, 0
            self._begin(now)

    def _grow_evenly(self, now: float) -> None:
        highest = min(self._too_high or self._most, 2 * self._level)
        if self._level < highest / _NEAR:
            if self._calls >= max(5, self._level):
                self._level = sqrt(self._level * highest)
                self._begin(now)
        elif self._is_proven(now):
            self._level *= _STEP
            if self._level > self._too_high:
                self._too_high = 0.0
            self._begin(now)

    def _adapt(self, seconds: float, now: float) -> None:
        """Cut the level at the end of a window whose calls were slow."""
        self._window += 1
        self._seconds += seconds
        if self._window < self._level:
            return
        mean = self._seconds / self._window
        self._window, self._seconds = 0, 0.0
        if self._usual and mean > _SLOW * self._usual:
            self._level = max(float(self._least), _CUT * self._level)
            self._begin(now)
        self._usual += (_FASTER if mean < self._usual else _SLOWER) * (mean - self._usual) if self._usual else mean
