"""Models that are simulated: with slots or with a limit on their rate, and replicas of ours that call them.

A simulation runs on a clock of its own: minutes of calls take a moment, and the same seed gives the same calls.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provider_gateway.provider.model_gate import ModelGate

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.event_clock import EventClock


def constant(mean: float) -> Callable[[random.Random], float]:
    """All calls take the same time."""
    return lambda _: mean


def spread(mean: float) -> Callable[[random.Random], float]:
    """Exponential: most calls are short, some take several times the mean."""
    return lambda rng: rng.expovariate(1 / mean)


def uniform(mean: float) -> Callable[[random.Random], float]:
    """From half of the mean to one and a half."""
    return lambda rng: rng.uniform(0.5 * mean, 1.5 * mean)


def bimodal(mean: float) -> Callable[[random.Random], float]:
    """One call of ten takes ten times as long as the others."""
    return lambda rng: mean / 1.9 * (10 if rng.random() < 0.1 else 1)


class Slots:
    """Takes calls while one of its slots is free.

    Args:
        slots: their number by time.
    """

    def __init__(self, slots: int | Callable[[float], int]) -> None:
        self.slots = slots if callable(slots) else lambda _: slots
        self.running = 0

    def takes(self, now: float) -> bool:
        return self.running < self.slots(now)


class TokenBucket:
    """Takes a call for each token. With one token at most, it is nginx' ``limit_req`` without a burst."""

    def __init__(self, rate: float, burst: float = 1) -> None:
        self.rate, self.burst = rate, burst
        self.tokens, self.at = float(burst), 0.0
        self.running = 0

    def takes(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1 - 1e-9:
            return False
        self.tokens -= 1
        return True


class FixedWindow:
    """Takes a number of calls in each period."""

    def __init__(self, calls: int, period: float) -> None:
        self.calls, self.period = calls, period
        self.window, self.taken = -1, 0
        self.running = 0

    def takes(self, now: float) -> bool:
        window = int(now / self.period)
        if window != self.window:
            self.window, self.taken = window, 0
        self.taken += 1
        return self.taken <= self.calls

    def until_next(self, now: float) -> float:
        return self.period - now % self.period


@dataclass
class Counts:
    """What has happened."""

    succeeded: int = 0
    refused: int = 0
    unreachable: int = 0


class SimulatedModel:
    """A model.

    Args:
        limiter: decides which calls are taken.
        latency: how long a call takes.
        retry_after: seconds that a refusal asks for, by time; None without ``Retry-After``.
        refusal: seconds that a refusal takes.
        is_up: False by time: no connection can be made.
        is_shedding: True by time: everything is refused.
    """

    def __init__(
        self,
        clock: EventClock,
        limiter: Slots | TokenBucket | FixedWindow,
        latency: Callable[[random.Random], float],
        *,
        retry_after: Callable[[float], float | None] = lambda _: None,
        refusal: float = 0.001,
        is_up: Callable[[float], bool] = lambda _: True,
        is_shedding: Callable[[float], bool] = lambda _: False,
        seed: int = 1,
    ) -> None:
        self.clock, self.limiter, self.latency = clock, limiter, latency
        self.retry_after, self.refusal, self.is_up, self.is_shedding = retry_after, refusal, is_up, is_shedding
        self.rng = random.Random(seed)
        self.counts = Counts()

    def call(self, replica: Replica, message: Message) -> None:
        now = self.clock.seconds()
        if not self.is_up(now):
            self.clock.callLater(self.refusal, self._unreachable, replica, message)
        elif message.is_poison or self.is_shedding(now) or not self.limiter.takes(now):
            self.clock.callLater(self.refusal, self._refused, replica, message, self.retry_after(now))
        else:
            self.limiter.running += 1
            seconds = self.latency(self.rng)
            self.clock.callLater(seconds, self._succeeded, replica, message, seconds)

    def _unreachable(self, replica: Replica, message: Message) -> None:
        self.counts.unreachable += 1
        replica.unreachable(message)

    def _refused(self, replica: Replica, message: Message, wait: float | None) -> None:
        self.counts.refused += not message.is_poison
        replica.refused(message, wait)

    def _succeeded(self, replica: Replica, message: Message, seconds: float) -> None:
        self.limiter.running -= 1
        self.counts.succeeded += 1
        replica.succeeded(message, seconds)

    async def is_ready(self) -> bool:
        return self.is_up(self.clock.seconds())


@dataclass(eq=False)
class Message:
    """A message of the queue."""

    published: float = 0.0
    is_poison: bool = False
    refusals: int = 0


class Queue:
    """Messages that wait at the broker.

    Args:
        is_endless: there is always one more.
    """

    def __init__(self, clock: EventClock, *, is_endless: bool, poison: float = 0.0, seed: int = 1) -> None:
        self.clock = clock
        self.is_endless = is_endless
        self.poison = poison
        self.rng = random.Random(seed)
        self.waiting: deque[Message] = deque()
        self.consumers: list[Replica] = []
        self.answered: list[tuple[float, Message]] = []

    def publish(self, message: Message) -> None:
        self.waiting.append(message)
        for replica in self.consumers:
            replica.fill()

    def get(self) -> Message | None:
        if self.waiting:
            return self.waiting.popleft()
        if not self.is_endless:
            return None
        return Message(self.clock.seconds(), self.poison > 0 and self.rng.random() < self.poison)


class Replica:
    """One of our processes: it has as many messages in hand as its gate wants, and calls when the gate lets it.

    Attributes:
        most_running: most calls at a time so far.
        given_back: messages given back to the queue.
    """

    def __init__(
        self, model: SimulatedModel, queue: Queue, *, settling: float = 0.0, seed: int = 1, **gate: object
    ) -> None:
        self.model, self.queue, self.clock = model, queue, model.clock
        self.settling = settling
        rng = random.Random(seed)
        options = {
            "prefetch": 100,
            "min_concurrency": 1,
            "max_pause": 60.0,
            "is_adaptive": False,
            "is_ready": None,
            "jitter": lambda delay: delay * rng.uniform(0.5, 1),
        } | gate
        self.gate = ModelGate(clock=self.clock, **options)  # type: ignore[arg-type]
        self.gate.on_change = self.fill
        self.in_hand = 0
        self.running = 0
        self.given_back = 0
        self.violations = 0
        self._is_filling = False
        queue.consumers.append(self)

    def fill(self) -> None:
        if self._is_filling:
            return
        self._is_filling = True
        while self.in_hand < self.gate.wanted and (message := self.queue.get()) is not None:
            self.in_hand += 1
            self._enter(message)
        self._is_filling = False

    def _enter(self, message: Message) -> None:
        turn = self.gate.enter(refusals=message.refusals)
        if turn is None:
            self._call(message)
        else:
            turn.addCallback(self._turn, message)

    def _turn(self, may_begin: bool, message: Message) -> None:
        if may_begin:
            self._call(message)
            return
        self.in_hand -= 1
        self.given_back += 1
        message.refusals = 0
        self.clock.callLater(0.002, self.queue.publish, message)

    def _call(self, message: Message) -> None:
        self.running += 1
        self.check()
        self.model.call(self, message)

    def check(self) -> None:
        self.violations += self.running > max(self.gate.concurrency, 1)

    def succeeded(self, message: Message, seconds: float) -> None:
        self.running -= 1
        self.queue.answered.append((self.clock.seconds(), message))
        self.gate.succeeded(seconds)
        if self.settling:
            self.clock.callLater(self.settling, self._settled)
        else:
            self._settled()

    def _settled(self) -> None:
        self.in_hand -= 1
        self.fill()

    def refused(self, message: Message, wait: float | None) -> None:
        self.running -= 1
        self.gate.busy(wait, message.refusals)
        message.refusals += 1
        self._enter(message)

    def unreachable(self, message: Message) -> None:
        self.running -= 1
        self.gate.unreachable()
        message.refusals += 1
        self._enter(message)
