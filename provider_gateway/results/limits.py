"""Limits on what is kept of requests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLimits:
    """Limits on what is kept.

    Attributes:
        ttl: seconds that a result is kept, and for which a request may be pending.
        idempotency_ttl: seconds that an ``Idempotency-Key`` is held.
        max_body: bytes of a body that is kept.
        max_held: bytes of replies that may wait in memory, for the store, and as many for the broker.
        confirm_timeout: seconds to wait for the broker's confirm of a request.
    """

    ttl: float
    idempotency_ttl: float
    max_body: int
    max_held: int
    confirm_timeout: float
