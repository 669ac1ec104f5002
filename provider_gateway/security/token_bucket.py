"""Limits a rate by tokens that come back with time."""

from __future__ import annotations


class TokenBucket:
    """Limits a rate: each request takes a token, and tokens come back with time.

    Args:
        rate: tokens per second that come back.
        burst: tokens at the beginning, and at most.
        now: seconds of the clock that all methods use.
    """

    __slots__ = ("_burst", "_rate", "_then", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = self._tokens = burst
        self._then = now

    def is_full(self, now: float) -> bool:
        """True if the bucket is like a new one."""
        return self._refill(now) >= self._burst

    def _refill(self, now: float) -> float:
        # If the clock was set back, tokens stay as they are.
        self._tokens = min(self._burst, self._tokens + self._rate * max(0.0, now - self._then))
        self._then = now
        return self._tokens

    def take(self, now: float) -> float:
        """Take a token.

        Returns:
            0 if there was one, else the seconds after which there will be one.
        """
        if self._refill(now) >= 1:
            self._tokens -= 1
            return 0
        return (1 - self._tokens) / self._rate
