"""Callers told early, as properties of simulated queues: what is offered to models, and what becomes of it.

Refusing too much is worse than refusing too late: a request that is refused would perhaps have been answered.

    python -m tests.unit.gateway.test_overload      prints the figures
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.gateway.simulated_queue import SimulatedQueue, constant, spread

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.unit.gateway.simulated_queue import Outcome


@dataclass(frozen=True)
class Model:
    """A model and its callers: its slots and seconds, and the callers' timeout and gateways."""

    slots: int
    seconds: float
    timeout: float
    gateways: int = 1

    @property
    def capacity(self) -> float:
        """Messages per second."""
        return self.slots / self.seconds

    def queue(self, times: Callable[[float], Callable[[Random], float]], **options: Any) -> SimulatedQueue:
        """A queue in front of it."""
        return SimulatedQueue(self.slots, times(self.seconds), self.timeout, gateways=self.gateways, **options)


#: Models that take at most a third of the callers' time, and less than a sixth of it if they serve few at a time.
MODELS = (
    Model(1, 0.02, 2),
    Model(4, 0.1, 5, 4),
    Model(10, 1, 20, 5),
    Model(1, 1, 30),
    Model(4, 5, 30),
    Model(20, 10, 30, 3),
    Model(50, 30, 90),
    Model(40, 0.5, 10, 20),
    Model(3, 2, 30, 10),
)
#: Models whose time is most of the callers' time, or that serve few messages within it.
SLOW = (Model(100, 30, 40), Model(50, 30, 35), Model(2, 30, 90))


def overload(
    model: Model, times: Callable[[float], Callable[[Random], float]], load: float, *, refuses: bool = True
) -> tuple[Outcome, float]:
    """Offer a multiple of a model's capacity for some time. The first messages of a queue tell nothing of it.

    Returns:
        What happened after the first two timeouts, and which part of the capacity was used for replies in time.
    """
    begin, seconds = 2 * model.timeout, min(max(8 * model.timeout, 300 / model.capacity), 1500 / model.capacity)
    queue = model.queue(times, refuses=refuses)
    queue.callers(load * model.capacity, 0, begin + seconds)
    queue.run(begin)
    queue.outcome.counts.clear()
    outcome = queue.run(begin + seconds)
    return outcome, outcome.counts["answered"] / (model.capacity * seconds)


def _bursts(model: Model, queue: SimulatedQueue, seconds: float) -> None:
    """Bursts after idle, which the model serves in half of the time that it leaves."""
    for at in range(0, int(seconds), max(1, int(2 * model.timeout))):
        queue.burst(at, max(1, int(0.5 * (model.timeout - model.seconds) * model.capacity)))


def _loaded_bursts(model: Model, queue: SimulatedQueue, seconds: float) -> None:
    """The same on 0.3 of the capacity."""
    _bursts(model, queue, seconds)
    queue.callers(0.3 * model.capacity, 0, seconds)


def _backlog(model: Model, queue: SimulatedQueue, seconds: float) -> None:
    """A standing backlog of an initiator, behind which callers wait for 0.3 of the time; the model is nearly full."""
    queue.burst(0, int(0.3 * (model.timeout - model.seconds) * model.capacity) + model.slots, of_initiator=True)
    queue.initiator(0.75 * model.capacity, 0, seconds)
    queue.callers(0.15 * model.capacity, 0, seconds)


def _backlog_and_bursts(model: Model, queue: SimulatedQueue, seconds: float) -> None:
    """Bursts of callers beside such a backlog."""
    queue.burst(0, int(0.3 * (model.timeout - model.seconds) * model.capacity) + model.slots, of_initiator=True)
    queue.initiator(0.8 * model.capacity, 0, seconds)
    queue.callers(0.02 * model.capacity, 0, seconds)
    for at in range(0, int(seconds), max(1, int(model.timeout))):
        queue.burst(at, max(2, int(0.06 * model.timeout * model.capacity)))


def _bursts_of_initiator(model: Model, queue: SimulatedQueue, seconds: float) -> None:
    """Bursts of an initiator beside a few callers."""
    queue.callers(0.2 * model.capacity, 0, seconds)
    for at in range(0, int(seconds), max(1, int(2 * model.timeout))):
        queue.burst(at, int(0.5 * (model.timeout - model.seconds) * model.capacity), of_initiator=True)


def _random(load: float) -> Callable[[Model, SimulatedQueue, float], None]:
    def offer(model: Model, queue: SimulatedQueue, seconds: float) -> None:
        queue.callers(load * model.capacity, 0, seconds)

    offer.__doc__ = f"Requests at random times, {load:g} of the capacity."
    return offer


#: What a model serves in time, or nearly: nothing should be refused.
BEARABLE = (
    *(_random(0.5), _random(0.8), _random(0.95)),
    *(_bursts, _loaded_bursts, _backlog, _backlog_and_bursts, _bursts_of_initiator),
)


def bearable(offer: Callable[[Model, SimulatedQueue, float], None], **options: Any) -> list[Outcome]:
    """Offer something to all models, with constant and with spread times."""
    outcomes = []
    for model in (*MODELS, *SLOW):
        for times in (constant, spread):
            queue = model.queue(times, **options)
            seconds = min(max(8 * model.timeout, 100 / model.capacity), 1000 / model.capacity)
            offer(model, queue, seconds)
            outcomes.append(queue.run(seconds + 2 * model.timeout))
    return outcomes


def share(outcomes: list[Outcome], name: str) -> float:
    """The share of all requests that got a status, or were refused."""
    return sum(each.counts[name] for each in outcomes) / sum(each.counts["offered"] for each in outcomes)


def falsely(outcomes: list[Outcome]) -> float:
    """The share of all requests that were refused, and would have been answered in less than 0.8 of the time."""
    offered = sum(each.counts["offered"] for each in outcomes)
    return sum(each.refused_falsely * each.counts["offered"] for each in outcomes) / offered


class OverloadTests(SynchronousTestCase):
    """More than the model can serve."""

    def test_constant_times(self) -> None:
        """At 1.2 times and twice the capacity, 95 % of those admitted are answered in time. The model stays busy."""
        for model in MODELS:
            for load in (1.2, 2):
                outcome, used = overload(model, constant, load)
                self.assertLess(outcome.late, 0.05, (model, load))
                self.assertGreater(used, 0.95, (model, load))
                self.assertGreater(outcome.refused, 0, (model, load))

    def test_spread_times(self) -> None:
        """The same with spread times, but for models that take more than a seventh of the callers' time on average."""
        for model in MODELS:
            for load in (1.2, 2):
                outcome, used = overload(model, spread, load)
                slow = model.seconds / model.timeout > 1 / 7
                self.assertLess(outcome.late, 0.15 if slow else 0.05, (model, load))
                self.assertGreater(used, 0.8 if slow else 0.92, (model, load))

    def test_initiators(self) -> None:
        """At twice the capacity beside an initiator that takes a third of it, 90 % of those admitted are in time."""
        for model in MODELS:
            if model.seconds / model.timeout > 1 / 7:
                continue
            for times in (constant, spread):
                end = 10 * model.timeout
                queue = model.queue(times)
                queue.callers(2 * model.capacity, 0, end)
                queue.initiator(model.capacity / 3, 0, end)
                outcome = queue.run(end)
                self.assertLess(outcome.late, 0.1, model)
                self.assertGreater(outcome.counts["answered"], 0.8 * 2 / 3 * model.capacity * end, model)

    def test_far_more(self) -> None:
        """At four times the capacity, and with models that take most of the callers' time, no caller is worse off.

        As many are answered in time as if nobody was refused, or more.
        """
        for model, load in [*((each, 4.0) for each in MODELS), *((each, 2.0) for each in SLOW)]:
            for times in (constant, spread):
                _, used = overload(model, times, load)
                _, before = overload(model, times, load, refuses=False)
                self.assertGreater(used, before - 0.02, (model, load, times))

    def test_retry_after(self) -> None:
        """``Retry-After`` is from 1 to 60 s, whatever the load."""
        for model in (MODELS[0], MODELS[3], SLOW[0]):
            outcome, _ = overload(model, spread, 3)
            self.assertTrue(set(outcome.retry_after) <= set(range(1, 61)), model)


class BearableTests(SynchronousTestCase):
    """What the model can serve in time, or nearly."""

    def test_half(self) -> None:
        """At half the capacity nothing is refused: not by models that serve many at a time and take long, either."""
        outcomes = bearable(_random(0.5))
        self.assertLess(share(outcomes, "refused"), 0.0005)

    def test_all(self) -> None:
        """Of what is nearly always served in time, hardly anything is refused that would have been served well in time.

        At most 0.5 %, and 2 % for bursts of callers beside a backlog of others, which a gateway cannot tell from one of
        its own before the first replies.
        Bursts after idle, backlogs and bursts of initiators beside, other gateways: see the functions.
        """
        for offer in BEARABLE:
            outcomes = bearable(offer)
            self.assertLess(falsely(outcomes), 0.02 if offer is _backlog_and_bursts else 0.005, offer.__doc__)
            late = share(bearable(offer, refuses=False), "late")
            self.assertLess(share(outcomes, "late"), late + 0.001, offer.__doc__)

    def test_clocks_differ(self) -> None:
        """The same if the clocks of gateway and provider differ by up to a second, or by hours."""
        for skew in (-7200, -0.9, 0.9, 7200):
            self.assertLess(falsely(bearable(_loaded_bursts, skew=skew)), 0.01, skew)


class OutageTests(SynchronousTestCase):
    """The model serves nothing for a time."""

    def test_short(self) -> None:
        """After an outage of a third of the callers' time, at half the capacity, nothing is refused for long."""
        for model in MODELS:
            queue = model.queue(constant)
            end = 12 * model.timeout
            queue.callers(0.5 * model.capacity, 0, end)
            queue.outage(3 * model.timeout, 3.3 * model.timeout)
            before = queue.run(6 * model.timeout)
            refused = before.counts["refused"]
            self.assertLess(before.refused_falsely, 0.02, model)
            self.assertEqual(queue.run(end).counts["refused"], refused, model)

    def test_long(self) -> None:
        """In a long outage callers are told early, but for one a second. After it, service resumes by itself."""
        for model in MODELS:
            queue = model.queue(constant)
            down, up = 3 * model.timeout, 9 * model.timeout
            queue.callers(0.5 * model.capacity, 0, up + 6 * model.timeout)
            queue.outage(down, up)
            queue.run(down + 2.5 * model.timeout)
            late, offered, refused = (queue.outcome.counts[name] for name in ("late", "offered", "refused"))
            queue.run(up)
            told = queue.outcome.counts
            seconds = up - down - 2.5 * model.timeout
            self.assertLessEqual(told["offered"] - offered - told["refused"] + refused, model.gateways * (seconds + 1))
            self.assertLessEqual(told["late"] - late, model.gateways * (seconds + model.timeout + 1))
            queue.run(up + 3 * model.timeout)
            refused, late = queue.outcome.counts["refused"], queue.outcome.counts["late"]
            queue.run(up + 8 * model.timeout)
            self.assertEqual((queue.outcome.counts["refused"], queue.outcome.counts["late"]), (refused, late), model)

    def test_initiators_backlog(self) -> None:
        """An initiator's backlog of three times the callers' time: callers are told early until it is served."""
        for model in MODELS:
            queue = model.queue(constant)
            queue.callers(0.3 * model.capacity, 0, 12 * model.timeout)
            queue.burst(model.timeout, int(3 * model.timeout * model.capacity), of_initiator=True)
            outcome = queue.run(8 * model.timeout)
            refused = outcome.counts["refused"]
            self.assertGreater(refused, 0)
            queue.run(14 * model.timeout)
            self.assertEqual(outcome.counts["refused"], refused, model)


def main() -> None:
    """Print the figures."""
    for load in (1.2, 2.0, 4.0):
        for model in (*MODELS, *SLOW):
            for times in (constant, spread):
                outcome, used = overload(model, times, load)
                sys.stdout.write(
                    f"load {load:g}  {model.slots:3} x {model.seconds:5g} s {times.__name__:8}  "
                    f"timeout {model.timeout:2g} s  gateways {model.gateways:2}  refused {outcome.refused:6.1%}  "
                    f"admitted and late {outcome.late:6.1%}  "
                    f"capacity used {used:6.1%}\n"
                )
    for offer in BEARABLE:
        outcomes, blind = bearable(offer), bearable(offer, refuses=False)
        sys.stdout.write(
            f"{offer.__doc__}\n    refused {share(outcomes, 'refused'):.2%}, falsely {falsely(outcomes):.2%}; "
            f"late {share(outcomes, 'late'):.2%}, without refusing {share(blind, 'late'):.2%}\n"
        )


if __name__ == "__main__":
    main()
