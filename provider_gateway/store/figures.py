"""Shows the figures of a result store as metrics. They are counted every few seconds, and not at each scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.task import LoopingCall

from provider_gateway.errors import StoreUnavailable

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.clocks import WallClock
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.store.records import Figures, ResultStore

#: Seconds between two counts.
_EVERY = 15.0


class ShownFigures:
    """The figures of a store.

    Args:
        name: of the store, the label of its metrics.
    """

    def __init__(
        self, store: ResultStore, name: str, *, clock: IReactorTime, wall_clock: WallClock, metrics: Metrics
    ) -> None:
        self._store = store
        self._wall_clock = wall_clock
        self._pending = metrics.results_pending.labels(name)
        self._bytes = metrics.result_store_bytes.labels(name)
        self._oldest: float | None = None
        metrics.results_oldest_pending.labels(name).set_function(self._age)
        self._ticks: Any = LoopingCall(self.count)
        self._ticks.clock = clock

    def start(self) -> None:
        """Count now, and every few seconds."""
        self._ticks.start(_EVERY).addErrback(lambda _: None)

    def stop(self) -> None:
        """Count no more."""
        if self._ticks.running:
            self._ticks.stop()

    def count(self) -> Deferred[None]:
        """Count once more."""
        # While the store is away, the figures stay as they were: result_store_up says so.
        return self._store.figures().addCallbacks(self._show, lambda failure: failure.trap(StoreUnavailable) and None)

    def _show(self, figures: Figures) -> None:
        self._pending.set(figures.pending)
        self._bytes.set(figures.bytes)
        self._oldest = figures.oldest_pending

    def _age(self) -> float:
        return 0.0 if self._oldest is None else max(0.0, self._wall_clock() - self._oldest)
