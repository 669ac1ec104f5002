"""Lets the calls of one queue's model begin: at once, later while the model is busy, or not at all while it is away."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime


class State(Enum):
    """What is known of the model."""

    READY = "ready"
    BUSY = "busy"
    AWAY = "away"
    PROBING = "away, and being asked whether it is back"


class ModelGate:
    """The state of one queue's model.

    Each call begins with :meth:`enter`, and ends with one of the methods that tell how it went.

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
        concurrency: calls at a time, at most, for now.
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
        self.concurrency = self.wanted = prefetch
        self.on_change: Callable[[], object] = lambda: None

    def enter(self, *, is_first: bool = False) -> Deferred[bool] | None:
        """Ask to begin a call.

        Args:
            is_first: the model has refused this message before, so it goes before messages that wait for the first time.

        Returns:
            None if it may begin now; else a Deferred that fires with True when it may begin, or with False when the
            message has to be given back to its queue. Cancelling it takes the message out of the line.
        """
        return None

    def succeeded(self, seconds: float) -> None:
        """A call has ended with an answer that shows that the model takes calls.

        Args:
            seconds: how long it took.
        """

    def failed(self) -> None:
        """A call has ended with a failure, or was cancelled."""

    def busy(self, wait: float | None) -> None:
        """A call was refused with 429 or 503.

        Args:
            wait: seconds of ``Retry-After``; None without one.
        """

    def unreachable(self) -> None:
        """No connection could be made for a call."""

    def unused(self) -> None:
        """No call was made after all."""

    def stop(self) -> None:
        """Give back all messages that wait, and those that come later: the process stops."""
