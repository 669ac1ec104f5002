"""The law of concurrency, by models that are simulated: how much of their capacity is used, and how much is refused."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.provider.concurrency import Concurrency
from tests.support.event_clock import EventClock
from tests.support.simulated_model import (
    FixedWindow,
    Message,
    Queue,
    Replica,
    SimulatedModel,
    Slots,
    TokenBucket,
    bimodal,
    constant,
    spread,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    Latency = Callable[[random.Random], float]

#: The parts of the capacity that are used at least, and of the calls that are refused at most.
USED, REFUSED = 0.9, 0.1
#: Seconds in which the law may find out.
WARM = 30.0


class Figures(NamedTuple):
    """What came out after the first seconds.

    Attributes:
        used: calls that the model has answered, as a part of its capacity.
        refused: as a part of all calls.
    """

    used: float
    refused: float


def simulated(
    limiter: Slots | TokenBucket | FixedWindow,
    latency: Latency,
    capacity: float,
    *,
    retry_after: float | None = None,
    replicas: int = 1,
    slowness: float = 0.0,
) -> Figures:
    """Let replicas with an endless queue call a model that is offered more than its capacity.

    Args:
        capacity: calls a second.
        slowness: seconds that a call takes; slow models get more time to be found out.
    """
    clock = EventClock()
    model = SimulatedModel(clock, limiter, latency, retry_after=lambda _: retry_after)
    queue = Queue(clock, is_endless=True)
    ours = [Replica(model, queue, seed=number + 1) for number in range(replicas)]
    for replica in ours:
        replica.fill()
    clock.run_until(max(WARM, 15 * slowness))
    counts = model.counts
    succeeded, refused, began = counts.succeeded, counts.refused, clock.seconds()
    seconds = min(max(120.0, 400 / capacity), max(60.0, 4000 / capacity))
    clock.run_until(began + seconds)
    succeeded, refused = counts.succeeded - succeeded, counts.refused - refused
    assert not any(replica.violations for replica in ours)
    return Figures(succeeded / (capacity * seconds), refused / (succeeded + refused))


def table() -> dict[str, Figures]:
    """Figures by cases, the worst of each kind; printed by ``python -m tests.unit.provider.test_concurrency``."""
    worst: dict[str, Figures] = {}

    def add(kind: str, figures: Figures) -> None:
        known = worst.get(kind, figures)
        worst[kind] = Figures(min(known.used, figures.used), max(known.refused, figures.refused))

    for replicas in (1, 2):
        for slots, seconds in ((1, 0.1), (1, 1.0), (4, 0.02), (4, 1.0), (16, 0.1), (16, 20.0), (64, 1.0)):
            few = "1 slot" if slots == 1 else "4 to 64 slots"
            for latency in (constant, spread, bimodal):
                for wait in (None, 1.0, 5.0):
                    asks = "" if wait is None else ", Retry-After"
                    figures = simulated(
                        Slots(slots),
                        latency(seconds),
                        slots / seconds,
                        retry_after=wait,
                        replicas=replicas,
                        slowness=seconds,
                    )
                    add(f"{few}, {replicas} of ours{asks}", figures)
        for rate in (1.0, 10.0, 100.0):
            add(
                f"rate, no burst, {replicas} of ours",
                simulated(TokenBucket(rate), constant(0.5 / rate), rate, replicas=replicas),
            )
            add(
                f"rate, burst of 10, {replicas} of ours",
                simulated(TokenBucket(rate, 10), constant(0.5 / rate), rate, replicas=replicas),
            )
            add(
                f"rate by 10 s, {replicas} of ours",
                simulated(FixedWindow(int(10 * rate), 10), constant(3 / rate), rate, replicas=replicas),
            )
    return worst


class SlotsTests(SynchronousTestCase):
    """Models with slots, which refuse further calls."""

    def assert_well(self, figures: Figures, what: str) -> None:
        self.assertGreaterEqual(figures.used, USED, f"{what}: {figures}")
        self.assertLessEqual(figures.refused, REFUSED, f"{what}: {figures}")

    def test_one_process(self) -> None:
        """Nine tenths of the capacity are used, and one tenth of the calls is refused at most, after half a minute."""
        for slots, seconds in ((1, 0.1), (1, 1.0), (4, 0.02), (4, 1.0), (16, 0.1), (64, 1.0)):
            for latency in (constant, spread):
                for wait in (None, 1.0, 5.0):
                    what = f"{slots} slots of {seconds} s, {latency.__name__}, Retry-After {wait}"
                    figures = simulated(
                        Slots(slots), latency(seconds), slots / seconds, retry_after=wait, slowness=seconds
                    )
                    self.assert_well(figures, what)

    def test_two_processes(self) -> None:
        """The same for two processes that share the slots."""
        for slots, seconds in ((4, 0.1), (16, 0.1)):
            for wait in (None, 1.0):
                figures = simulated(Slots(slots), constant(seconds), slots / seconds, retry_after=wait, replicas=2)
                self.assert_well(figures, f"{slots} slots of {seconds} s, Retry-After {wait}")

    def test_capacity_changes(self) -> None:
        """More slots are used within a minute, and fewer are found out again."""
        clock = EventClock()
        slots = Slots(lambda now: 40 if 60 <= now < 180 else 4)
        model = SimulatedModel(clock, slots, constant(0.1))
        queue = Queue(clock, is_endless=True)
        replica = Replica(model, queue)
        replica.fill()
        for begin, end, capacity in ((30, 60, 40), (120, 180, 400), (210, 270, 40)):
            clock.run_until(begin)
            before = model.counts.succeeded
            clock.run_until(end)
            self.assertGreater(model.counts.succeeded - before, 0.85 * capacity * (end - begin), (begin, end))

    def test_poison(self) -> None:
        """Messages that the model refuses each time do not keep others from being answered."""
        clock = EventClock()
        model = SimulatedModel(clock, Slots(8), constant(0.1))
        queue = Queue(clock, is_endless=True, poison=0.01)
        Replica(model, queue).fill()
        clock.run_until(60)
        self.assertGreater(model.counts.succeeded, 0.5 * 80 * 60)


class OtherReasonsTests(SynchronousTestCase):
    """Models that refuse calls for other reasons than their number."""

    def test_all_refused_for_a_while(self) -> None:
        """A model that refuses everything for a while, with 100 calls or with 8 slots, is used again at once."""
        for slots in (1000, 8):
            for away in (25, 300):
                clock = EventClock()
                model = SimulatedModel(
                    clock, Slots(slots), constant(0.1), is_shedding=lambda now, end=60 + away: 60 <= now < end
                )
                queue = Queue(clock, is_endless=True)
                Replica(model, queue).fill()
                clock.run_until(60 + away + 15 + 10)
                before = model.counts.succeeded
                clock.run_until(60 + away + 15 + 30)
                least = 0.85 * min(slots, 100) / 0.1 * 20
                self.assertGreater(model.counts.succeeded - before, least, (slots, away))

    def test_flapping(self) -> None:
        """A model that is away for 5 s of each 10 s is used for most of the others."""
        clock = EventClock()
        model = SimulatedModel(clock, Slots(1000), constant(0.05), is_up=lambda now: now % 10 < 5)
        queue = Queue(clock, is_endless=False)
        replica = Replica(model, queue)
        for _ in range(5000):
            queue.publish(Message())
        replica.fill()
        clock.run_until(120)
        self.assertEqual(5000, model.counts.succeeded)

    def test_rate(self) -> None:
        """A model that limits the rate of calls, with a burst or without: most of it is used, and few are refused."""
        for rate, seconds, burst in ((1.0, 0.05, 1), (10.0, 0.005, 1), (100.0, 0.005, 1), (100.0, 0.005, 10)):
            for wait in (None, 1.0):
                figures = simulated(TokenBucket(rate, burst), constant(seconds), rate, retry_after=wait)
                self.assertGreater(figures.used, 0.85, (rate, seconds, wait, figures))
                self.assertLess(figures.refused, REFUSED, (rate, seconds, wait, figures))

    def test_quota(self) -> None:
        """A model with a quota for each 10 s: nearly all of it is used."""
        for rate, seconds in ((1.0, 0.05), (10.0, 0.3)):
            figures = simulated(FixedWindow(int(10 * rate), 10), constant(seconds), rate)
            self.assertGreater(figures.used, USED, (rate, seconds, figures))


class LimitTests(SynchronousTestCase):
    """The limit itself."""

    def test_bounds(self) -> None:
        """The limit is never below the least, or above the most, whatever happens."""
        law = Concurrency(3, 20, is_adaptive=False)
        for number in range(2000):
            now = number / 10
            if number % 7 == 0:
                law.refused(number % 5, now)
                law.resumed(now + 0.05)
            elif number % 501 == 0:
                law.restart()
            else:
                law.started(2, now)
                law.succeeded(0.01 + number % 3, now)
            self.assertTrue(3 <= law.limit <= 20, law.limit)

    def test_least_over_most(self) -> None:
        """A least above the most counts as the most."""
        law = Concurrency(9, 4, is_adaptive=False)
        law.refused(0, 1.0)
        self.assertEqual(4, law.limit)

    def test_cut(self) -> None:
        """A refusal leaves as many calls as are running beside it."""
        law = Concurrency(1, 100, is_adaptive=False)
        for beside in range(99, 3, -1):
            law.refused(beside, 1.0)
        self.assertEqual(4, law.limit)

    def test_after_an_absence(self) -> None:
        """When the model is back, the limit grows by one with each success, up to what it was."""
        law = Concurrency(1, 8, is_adaptive=False)
        law.restart()
        limits = []
        for number in range(8):
            limits.append(law.limit)
            law.succeeded(0.1, number + 0.2)
        self.assertEqual([1, 2, 3, 4, 5, 6, 7, 8], limits)
        self.assertTrue(law.is_free)

    def test_adaptive(self) -> None:
        """With ``adaptive``, calls that become slower cut the limit; with ``fixed``, they do not."""
        for is_adaptive, cut in ((True, True), (False, False)):
            law = Concurrency(1, 16, is_adaptive=is_adaptive)
            now = 0.0
            for seconds in 10 * 16 * [0.1] + 3 * 16 * [0.5]:
                now += seconds
                law.started(2, now - seconds)
                law.succeeded(seconds, now)
            self.assertEqual(cut, law.limit < 16, law.limit)


if __name__ == "__main__":
    for name, each in table().items():
        sys.stdout.write(f"{name:<40} {each.used:6.0%} {each.refused:6.1%}\n")
