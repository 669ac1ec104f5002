"""``make outages``: models that refuse what is beyond their capacity, while far more waits for them, with figures.

``SHEDDING_SECONDS`` is how long each is watched, after the first 30 s.
"""

from __future__ import annotations

import os

from tests.faults.disturbances import pause
from tests.faults.models import AbsentModelTestCase
from tests.faults.outages import say

#: Seconds in which the number of calls at a time is found, and seconds that count.
FIRST, WATCHED = 30.0, float(os.environ.get("SHEDDING_SECONDS", "30"))
#: The model's calls at a time, and seconds for each: so many calls a second is its capacity.
SLOTS, CALL = 16, 0.1
CAPACITY = SLOTS / CALL
#: Answers a second, as a share of the capacity, at least; refusals as a share of all calls, at most.
GOODPUT, REFUSED = 0.9, 0.1
#: Calls that one provider may make at a time.
PREFETCH = 100


class SheddingTests(AbsentModelTestCase):
    """More waits than the model can take, and a provider may make six times as many calls as it takes at a time."""

    timeout = 300 + FIRST + WATCHED

    async def sheds(
        self, what: str, *, replicas: int = 1, capacity: float = CAPACITY, least: float = GOODPUT, **behaviour: object
    ) -> None:
        """Watch a model that refuses calls in one way."""
        model = await self.begin_model(**{"slots": SLOTS, "seconds": CALL, **behaviour})
        self.keys["prefetch"] = PREFETCH
        providers = [await self.serve_kinds(model, {"shed": {}}) for _ in range(replicas)]
        self.initiator()
        await self.backlog("shed", int(1.1 * capacity * (FIRST + WATCHED)))
        begun = await model.figures("shed")
        await pause(FIRST)
        middle = await model.figures("shed")
        await pause(WATCHED)
        end = await model.figures("shed")
        first, counted = middle.since(begun), end.since(middle)
        goodput = counted.served / WATCHED
        say(
            f"{what:<36} {goodput:6.1f} answers per second of {capacity:.0f}, {goodput / capacity:4.0%}; "
            f"refused {counted.share_refused:5.1%} of all calls, {first.share_refused:.1%} in the first {FIRST:g} s"
        )
        await model.tell(kind="shed", slots=1000, seconds=0.01, rate=0)
        await self.none_failed()
        self.assertEqual([await self.metric(provider, "retried_total") for provider in providers], [0] * replicas)
        self.assertGreaterEqual(goodput, least * capacity)
        self.assertLessEqual(counted.share_refused, REFUSED)

    async def test_429(self) -> None:
        """429 without ``Retry-After``."""
        await self.sheds("429", status=429)

    async def test_429_retry_after(self) -> None:
        """429 with ``Retry-After``."""
        await self.sheds("429, Retry-After: 1", status=429, retry_after="1")

    async def test_503(self) -> None:
        """503 without ``Retry-After``, from a model whose calls take different times."""
        await self.sheds("503, calls of 20 to 180 ms", status=503, spread=0.8)

    async def test_503_retry_after(self) -> None:
        """503 with ``Retry-After``."""
        await self.sheds("503, Retry-After: 2", status=503, retry_after="2")

    async def test_replicas(self) -> None:
        """Two providers share a model."""
        await self.sheds("two replicas, 503", replicas=2, status=503)

    async def test_replicas_retry_after(self) -> None:
        """Two providers share a model that names a time."""
        await self.sheds("two replicas, 429, Retry-After: 1", replicas=2, status=429, retry_after="1")

    async def test_one_at_a_time(self) -> None:
        """The model takes one call at a time."""
        await self.sheds("one call at a time, 503", capacity=1 / CALL, slots=1, status=503)

    async def test_rate_limiter(self) -> None:
        """A proxy before the model takes so many calls a second, and none before its time.

        Of its capacity, less than half is used: docs/delivery.md has the figures.
        """
        await self.sheds("rate limiter, 50 per second", capacity=50, least=0.35, rate=50, slots=1000, status=503)
