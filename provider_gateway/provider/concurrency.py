"""The law by which the number of calls that a model is asked to take at a time changes. It has no timers and no I/O."""

from __future__ import annotations

from math import ceil, sqrt

_CUT = 0.9
_SAME_TIME = 1e-6
_SPREAD = 0.5
_WEIGHT, _SLOW = 0.05, 1.5
_PROOF = 20
_STEP = 1.03
_WINDOW = 5


class Concurrency:
    """The most calls at a time, and the least time between their starts, as the model lets it be.

    Args:
        least, most: the limit is never outside of these.
        is_adaptive: the latency of calls changes the limit, too.

    Attributes:
        limit: calls at a time, at most, for now.
        interval: seconds between starts, for now, if the model limits the rate.
    """

    def __init__(self, least: int, most: int, *, is_adaptive: bool) -> None:
        self._is_adaptive = is_adaptive
        self._least = min(least, most)
        self._most = most
        self.limit = most
        self.interval = 0.0
        self._ceiling = 0
        self._floor = 0.0
        self._is_sticky = False
        self._rate_limit = 0
        self._ramp_to = 0
        self._window = 0
        self._latency = 0.0  # mean of the past
        self._last_start = -1e9
        self._refused_at = 0.0
        self._cost = 0.0
        self._since = 0.0
        self._began = 0.0
        self._starts = 0
        self._in_row = 0
        self._is_pending = False
        self._strikes = 0
        self._former = most
        self._others = 0
        self._pauses = 1
        self._is_paused = False
        self._is_new = False

    @property
    def is_free(self) -> bool:
        """True if a success would change nothing."""
        return self.limit == self._most and not self._is_adaptive and not self.interval and not self._in_row

    def in_hand(self, before: int) -> int:
        """How many deliveries to have in hand, in powers of two.

        Twice as many as the limit: the next message is there while the last reply is still being confirmed. It does not
        fall as soon as the limit does: each change costs a change of consumers.

        Args:
            before: the number until now.
        """
        wanted = self._in_hand_for(self.limit)
        return before if wanted < before <= self._in_hand_for(self.limit + (self.limit + 3) // 4) else wanted

    def _in_hand_for(self, limit: int) -> int:
        return min(self._most, 2 << (limit - 1).bit_length())

    def delay(self, now: float) -> float:
        """Seconds until the next call may begin; 0 if they are not worth a timer."""
        spacing = self.interval
        if not spacing and 1 < self.limit < self._most:
            spacing = _SPREAD * self._latency / self.limit
        delay = self._last_start + spacing - now
        return delay if delay > _SAME_TIME else 0.0

    def started(self, others: int, now: float) -> None:
        """A call begins while a number of others are running."""
        self._last_start = now
        self._others = others
        if self.interval and not self._in_row:
            self._window += 1
            self._relax(now)

    def _is_proven(self, now: float) -> bool:
        return self._window >= _PROOF * self._pauses and now - self._since >= _PROOF * self._cost

    def resumed(self, now: float) -> None:
        """The pause is over."""
        if not self._is_paused:
            return
        self._is_paused = False
        self._cost = now - self._refused_at
        self._pauses += 1
        self._changed(now)

    def _changed(self, now: float) -> None:
        self._window = 0
        self._since = now

    def succeeded(self, seconds: float, now: float) -> None:
        """A call has succeeded, after a number of seconds."""
        self._latency += _WEIGHT * (seconds - self._latency) if self._latency else seconds
        began = now - seconds
        if self._in_row:
            if began > self._refused_at:
                if self._is_pending and self._starts:
                    good = (began - self._began) / self._starts
                    bad = max(self._floor, good / 16)
                    self._set_interval(max(self.interval * _STEP, min(good, sqrt(bad * good))))
                    self._is_sticky = True
                self._is_pending = self._is_new = False
                self._began, self._starts = began, 0
                self._in_row = 0
            elif not self._is_pending:
                self._in_row = 0
                self._is_new = True
        elif self._is_new and began > self._refused_at:
            self._is_new = False
            self._began, self._starts = began, 0
        self._starts += 1
        if not self.interval:
            self._window += 1
            self._grow(now)

    def _grow(self, now: float) -> None:
        if self.limit >= self._most:
            return
        if self.limit < self._ramp_to or (
            self._window >= self.limit and (not self._ceiling or self.limit + 1 < self._ceiling)
        ):
            self.limit += 1
            self._changed(now)
        elif self._window >= self.limit and self._is_proven(now):
            self._floor = 0.0
            self._is_sticky = False
            self._set_interval(self._latency / (self.limit + 1))
            self._changed(now)

    def _relax(self, now: float) -> None:
        if self._is_proven(now):
            self._strikes = 0
        if self._window < (_WINDOW if self._is_sticky else max(_WINDOW, self.limit)):
            return
        if self.interval > self._floor * _STEP * 1.001:
            self._set_interval(max(self._floor * _STEP, sqrt(self.interval * max(self._floor, self.interval / 4))))
        elif self.interval > self._floor:
            if not self._is_proven(now):
                return
            self._set_interval(self.interval / (_STEP * _STEP))
        elif self._window >= _PROOF:
            self._floor = 0.0
            self._set_interval(self.interval / 1.25)
        else:
            return
        self._changed(now)

    def _set_interval(self, interval: float) -> None:
        self.interval = interval
        if interval < self._latency / self._most or interval < 0.0005:
            self.interval = self._floor = 0.0
            self.limit = self._most
            self._ceiling = 0
        else:
            factor = 2 if self._is_sticky else 1
            self.limit = max(self._least, min(self._most, ceil(factor * self._latency / self.interval)))

    def refused(self, running: int, now: float) -> None:
        """A call was refused, and a number of others are running."""
        running = min(max(running, self._others), self.limit)
        self._others -= 1
        self._is_paused = True
        is_first = not self._in_row
        self._in_row += 1
        if is_first:
            self._first_refused(running, now)
        elif not self.interval:
            self.limit = max(self._least, min(self.limit, running))
        if self._is_pending and not running and self._starts and (self._starts == 1 or not self.interval):
            self._floor = max(self._floor, (now - self._began) / self._starts)
        self._window = 0
        if not running and not self._is_pending:
            self._ramp_to = self._former

    def _first_refused(self, running: int, now: float) -> None:
        is_proven = self._is_proven(now)
        self._former = self.limit
        self._refused_at = now
        self._pauses = 0
        self._ramp_to = 0
        if self.interval:
            if is_proven:
                return
            if not running:
                self._strikes = 0
            self._strikes += 1
            if running >= self._least and (not self._is_sticky or self._strikes > 5):
                self.interval = self._floor = 0.0
                self.limit = self._rate_limit = running
                self._ceiling = running + 1
                self._strikes = 0
            else:
                self._floor = max(self._floor, self.interval)
                self._is_pending = True
            return
        self.limit = max(self._least, running)
        if is_proven or not self._latency:
            self._ceiling = 0
            return
        self._ceiling = self.limit + 1
        if self._starts and not self._is_new and (running < self._least or running < 0.7 * self._rate_limit):
            self._rate_limit = 0
            self._is_pending = True
            self._strikes = 0
            self._floor = (now - self._began) / (self._starts + running)

    def restart(self) -> None:
        """The model was away."""
        self._ramp_to = max(self._ramp_to, self.limit)
        self._window = 0
        self.limit = self._least
