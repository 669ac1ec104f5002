"""The law by which the number of calls that a model is asked to take at a time changes. It has no timers and no I/O."""

from __future__ import annotations

#: What is left of the limit after a refusal.
_CUT = 0.9
#: Weight of the latest window in the mean latency; how much longer a window takes that is clearly slower.
_WEIGHT, _SLOW = 0.4, 1.5


class Concurrency:
    """The most calls at a time, as the model lets it be.

    A refusal cuts the limit to nine tenths, but not below the number of calls that the model is working on. The limit
    grows by one with each window without a refusal; a window is as many successes as the limit. After the model was
    away, it grows by one with each success, up to what it was before.

    Args:
        least, most: the limit is never outside of these.
        is_adaptive: the latency of calls changes the limit, too.

    Attributes:
        limit: calls at a time, at most, for now.
    """

    def __init__(self, least: int, most: int, *, is_adaptive: bool) -> None:
        self._is_adaptive = is_adaptive
        self._least = min(least, most)
        self._most = most
        self.limit = most
        self._ramp_to = 0
        #: Successes since the last change of the limit.
        self._successes = 0
        self._seconds = 0.0  # of these
        self._latency = 0.0  # mean of the past

    @property
    def is_free(self) -> bool:
        """True if a success would change nothing."""
        return self.limit == self._most and not self._is_adaptive

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

    def succeeded(self, seconds: float) -> None:
        """A call has succeeded.

        Args:
            seconds: how long it took.
        """
        self._successes += 1
        self._seconds += seconds
        if self.limit < self._ramp_to or self._successes >= self.limit:
            self._end_window()

    def _end_window(self) -> None:
        latency = self._seconds / self._successes
        self._successes, self._seconds = 0, 0.0
        if self._is_adaptive and self._latency and latency > _SLOW * self._latency:
            self.limit = max(self._least, int(self.limit * _CUT))
        elif self.limit < self._most:
            self.limit += 1
        self._latency += _WEIGHT * (latency - self._latency) if self._latency else latency

    def refused(self, running: int) -> None:
        """A call was refused while the model was working on a number of others."""
        self._successes = self._ramp_to = 0
        self._seconds = 0.0
        self.limit = max(self._least, min(running, self._most), int(self.limit * _CUT))

    def restart(self) -> None:
        """The model was away."""
        self._ramp_to = max(self._ramp_to, self.limit)
        self._successes, self._seconds = 0, 0.0
        self.limit = self._least
