"""Gates for model calls, without jitter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.provider.model_gate import ModelGate

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.config.queue_file import QueueEntry


def new_gate(entry: QueueEntry, clock: IReactorTime, is_ready: Callable[[], Deferred[bool]] | None = None) -> ModelGate:
    """The gate of an entry."""
    return ModelGate(
        prefetch=entry.prefetch,
        min_concurrency=entry.min_concurrency,
        max_pause=entry.max_pause,
        is_adaptive=entry.concurrency == "adaptive",
        clock=clock,
        jitter=lambda seconds: seconds,
        is_ready=is_ready,
    )
