"""A queue in front of a model, simulated with what gateways know of it: calls and replies, and no more.

The queue is first in, first out. The model serves so many messages at a time. Expired messages are dropped, as the
provider does. Each second takes no time at all.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from dataclasses import dataclass, field
from math import exp, inf
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.task import Clock

from provider_gateway.gateway.expected_wait import ExpectedWaits
from provider_gateway.observability.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.gateway.expected_wait import ExpectedWait

from provider_gateway.errors import QueueTooLong

KEY = "predict.now"


def constant(seconds: float) -> Callable[[Random], float]:
    """A model that takes the same time for each message."""
    return lambda _: seconds


def spread(seconds: float) -> Callable[[Random], float]:
    """A model whose times are spread around a mean, log-normally: 1 of 20 takes more than twice the mean."""
    return lambda random: seconds * exp(random.gauss(-0.125, 0.5))


@dataclass(eq=False)
class Sent:
    """A message.

    Attributes:
        gateway: the number of the gateway that waits for the reply; None for an initiator's.
        seconds: time that the model takes for it.
        is_awaited: the caller waits.
    """

    gateway: int | None
    at: float
    seconds: float
    deadline: float = inf
    started: float = inf
    began: float = 0
    is_awaited: bool = True
    expected: ExpectedWait | None = None


@dataclass
class Outcome:
    """What became of the requests.

    Attributes:
        counts: ``offered``, ``refused``, ``late`` (504) and ``answered`` ones.
        needed: for each refused request, the part of the caller's time after which it would have been answered.
        retry_after: of each refusal.
    """

    counts: Counter[str] = field(default_factory=Counter)
    needed: list[float] = field(default_factory=list)
    retry_after: list[int] = field(default_factory=list)

    @property
    def admitted(self) -> int:
        """Requests that were not refused."""
        return self.counts["offered"] - self.counts["refused"]

    @property
    def late(self) -> float:
        """Share of the admitted requests that got 504."""
        return self.counts["late"] / max(1, self.admitted)

    @property
    def refused(self) -> float:
        """Share of all requests that were refused."""
        return self.counts["refused"] / max(1, self.counts["offered"])

    @property
    def refused_falsely(self) -> float:
        """Share of all requests that were refused, and would have been answered in less than 0.8 of the time."""
        return sum(needed < 0.8 for needed in self.needed) / max(1, self.counts["offered"])


class SimulatedQueue:
    """A model, its queue, and gateways.

    Args:
        slots: messages that the model serves at a time.
        seconds: time that it takes for a message.
        timeout: seconds that callers wait.
        skew: seconds by which the provider's clock is ahead of the gateways'.
        refuses: False for gateways that take everything.
    """

    def __init__(
        self,
        slots: int,
        seconds: Callable[[Random], float],
        timeout: float,
        *,
        gateways: int = 1,
        skew: float = 0,
        seed: int = 1,
        refuses: bool = True,
    ) -> None:
        self.random = Random(seed)
        self.clock = Clock()
        self.timeout = timeout
        self.outcome = Outcome()
        self.is_up = True
        self._slots = slots
        self._seconds = seconds
        self._skew = skew
        self._refuses = refuses
        self._gateways = [ExpectedWaits(timeout, self.clock, Metrics()) for _ in range(gateways)]
        self._waiting: deque[Sent] = deque()
        self._serving: dict[Sent, float] = {}
        self._events: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._number = 0

    def run(self, until: float) -> Outcome:
        """Run up to a time; returns what has happened so far."""
        while self._events and self._events[0][0] <= until:
            at, _, happen, arguments = heapq.heappop(self._events)
            self.clock.rightNow = at
            happen(*arguments)
        self.clock.rightNow = until
        return self.outcome

    def at(self, seconds: float, happen: Callable[..., object], *arguments: Any) -> None:
        """Let something happen at a time."""
        self._number += 1
        heapq.heappush(self._events, (seconds, self._number, happen, arguments))

    def callers(self, rate: float, start: float, end: float) -> None:
        """Requests at random times, at random gateways."""
        self._arrivals(rate, start, end, self.request)

    def initiator(self, rate: float, start: float, end: float) -> None:
        """Messages of an initiator at random times."""
        self._arrivals(rate, start, end, self.publish)

    def _arrivals(self, rate: float, start: float, end: float, arrive: Callable[[], None]) -> None:
        at = start + self.random.expovariate(rate)
        if at < end:
            self.at(at, self._arrive, rate, at, end, arrive)

    def _arrive(self, rate: float, now: float, end: float, arrive: Callable[[], None]) -> None:
        arrive()
        self._arrivals(rate, now, end, arrive)

    def burst(self, seconds: float, count: int, *, of_initiator: bool = False) -> None:
        """Many requests, or messages of an initiator, at the same time."""
        for _ in range(count):
            self.at(seconds, self.publish if of_initiator else self.request)

    def outage(self, start: float, end: float) -> None:
        """Let the model begin nothing for a time."""
        self.at(start, self._set_up, False)
        self.at(end, self._set_up, True)

    def _set_up(self, is_up: bool) -> None:
        self.is_up = is_up
        self._begin()

    def publish(self) -> None:
        """A message of an initiator."""
        self._waiting.append(Sent(None, self.clock.seconds(), self._seconds(self.random)))
        self._begin()

    def request(self) -> None:
        """A request."""
        number = self.random.randrange(len(self._gateways))
        waits = self._gateways[number]
        now = self.clock.seconds()
        sent = Sent(number, now, self._seconds(self.random), now + self.timeout)
        self.outcome.counts["offered"] += 1
        try:
            if self._refuses:
                waits.check(KEY)
        except QueueTooLong as error:
            self.outcome.counts["refused"] += 1
            self.outcome.retry_after.append(error.retry_after or 0)
            self.outcome.needed.append(self._needed(sent))
            return
        sent.expected = waits.of(KEY)
        sent.began = sent.expected.begin()
        self.at(sent.deadline, self._expire, sent)
        self._waiting.append(sent)
        self._begin()

    def _expire(self, sent: Sent) -> None:
        if sent.is_awaited:
            sent.is_awaited = False
            self.outcome.counts["late"] += 1
            assert sent.expected is not None
            sent.expected.expire(sent.began)

    def _begin(self) -> None:
        while self.is_up and self._waiting and len(self._serving) < self._slots:
            sent = self._waiting.popleft()
            now = self.clock.seconds()
            if now < sent.deadline:
                sent.started = now
                self._serving[sent] = now + sent.seconds
                self.at(now + sent.seconds, self._end, sent)

    def _end(self, sent: Sent) -> None:
        del self._serving[sent]
        if sent.expected is not None:
            waited = int(1000 * (sent.started - sent.at + self._skew))
            sent.expected.answer(sent.began, waited if waited >= 0 else None, is_late=not sent.is_awaited)
            if sent.is_awaited:
                sent.is_awaited = False
                self.outcome.counts["answered"] += 1
        self._begin()

    def _needed(self, refused: Sent) -> float:
        """After which part of the caller's time a request would have been answered, had it been taken."""
        if not self.is_up:
            return inf
        now = self.clock.seconds()
        free = sorted(self._serving.values()) + [now] * (self._slots - len(self._serving))
        heapq.heapify(free)
        for sent in self._waiting:
            if free[0] < sent.deadline:
                heapq.heapreplace(free, free[0] + sent.seconds)
        return (free[0] + refused.seconds - now) / self.timeout
