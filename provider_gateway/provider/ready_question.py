"""Asks a model's ready URL: one question at a time, and not too often."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

#: Seconds from a question to the next one that a sign of trouble leads to, at least.
_BETWEEN = 1.0


class ReadyQuestion:
    """Questions to one model.

    Args:
        is_ready: asks; a failure counts as False. None if the model has no ready URL: then nothing is asked.
        told: called with each answer.
    """

    def __init__(
        self, is_ready: Callable[[], Deferred[bool]] | None, told: Callable[[bool], object], clock: IReactorTime
    ) -> None:
        self._is_ready = is_ready
        self._told = told
        self._clock = clock
        self._asking: Deferred[bool] | None = None
        self._asked_at = clock.seconds() - _BETWEEN
        self._stopped = False

    @property
    def exists(self) -> bool:
        """False if the model has no ready URL."""
        return self._is_ready is not None

    def ask_soon(self) -> None:
        """Ask, unless the model was asked within the last second."""
        if self._clock.seconds() >= self._asked_at + _BETWEEN:
            self.ask()

    def ask(self) -> None:
        """Ask, unless the last question is still open: its answer will do."""
        if self._is_ready is not None and self._asking is None and not self._stopped:
            self._asked_at = self._clock.seconds()
            asking = self._asking = self._is_ready()
            asking.addErrback(lambda _: False).addCallback(self._answered)

    def stop(self) -> None:
        """Ask no more; the answer that is awaited is not told any more."""
        self._stopped = True
        if self._asking is not None:
            self._asking.cancel()

    def _answered(self, is_ready: bool) -> None:
        self._asking = None
        if not self._stopped:
            self._told(is_ready)
