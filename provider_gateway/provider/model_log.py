"""Logs that calls of a queue's model pause, that it is away, with the reason, and that it is back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from provider_gateway.observability.repeats import Repeats
from provider_gateway.provider.model_gate import State

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.errors import ModelFailure
    from provider_gateway.provider.model_gate import ModelGate


class ModelLog:
    """The log lines about one queue's model. A model that has a ready URL is also logged by :class:`.Readiness`.

    Args:
        gate: knows the state of the model.
        clock: a model that is often busy is logged once a minute.

    Attributes:
        is_away: the last line says that the model is away.
    """

    _log = Logger()

    def __init__(self, queue: str, gate: ModelGate, clock: IReactorTime) -> None:
        self.is_away = False
        self._queue = queue
        self._gate = gate
        self._repeats = Repeats(clock)

    def refused(self, failure: ModelFailure, before: State) -> None:
        """Log what a call that was not served has changed.

        Args:
            before: the gate's state before it was told of the failure.
        """
        state = self._gate.state
        if state is before or before is State.PROBING:
            return
        fields = {"queue": self._queue, "reason": failure.detail, "cause": failure.cause}
        if state is State.AWAY:
            self.is_away = True
            self._log.warn("{queue}: the model is away: {reason}", **fields)
        elif self._repeats.left_out("pause", failure.cause or failure.detail) is not None:
            self._log.info("{queue}: calls of the model pause: {reason}", **fields)

    def is_back(self) -> None:
        """Log that a model that was away has served a call."""
        self.is_away = False
        self._log.info("{queue}: the model takes calls again", queue=self._queue)
