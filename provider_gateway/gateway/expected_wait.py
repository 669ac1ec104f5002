"""Tells callers early: refuses a request whose reply is to be expected only when its caller has given up.

What is known comes from the calls of this gateway and their replies alone. The queue is first in, first out, so the
calls that wait here, divided by the rate at which replies come, are the time until a new one is answered (Little's
law). That holds with other gateways and with initiators, too, as long as their share of the queue stays the same. The
wait that replies tell (``pg-waited``) says whether there is a queue at all. No timers: figures change with calls and
replies only.
"""

from __future__ import annotations

from collections import deque
from math import ceil, inf
from typing import TYPE_CHECKING

from provider_gateway.errors import QueueTooLong

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.observability.metrics import Metrics

#: A wait of this part of the caller's time is evidence of a queue. Without it nothing is refused: the rate of replies
#: of a model that is not busy says nothing about its capacity.
_EVIDENCE = 0.1
#: Part of the time that the model's latency leaves, and multiple of the latency's mean deviation: the larger one is
#: kept free, as a margin for errors. The margin is at most the other part.
_MARGIN, _DEVIATIONS, _LARGEST_MARGIN = 0.2, 2, 0.5
#: Part of the time that the latency leaves. Until the newest reply, and the growth of the queue, tell a longer wait,
#: nothing is refused, either: many calls at once are no long queue if most of it belongs to others.
_LONG = 0.4
#: A newest wait of this part of the time that the latency leaves is too long even if the calls tell only the other part
#: of what is too long: the share of others in the queue is growing.
_LONGER, _FEWER = 0.85, 0.7
#: Replies from which the rate is measured.
_REPLIES = 64
#: Marks from which the growth of the queue is measured, and their distance as part of the caller's time.
_MARKS, _DISTANCE = 25, 0.02
#: Weight of the newest value in the averages of latencies.
_NEWEST = 0.1
#: Calls that end at their deadline, with no reply since they began, before the queue counts as stalled.
_UNANSWERED = 2
#: Seconds between the requests that a stalled queue still gets.
_PROBE = 1.0
#: Multiple of the caller's time after which a stall is forgotten if no call waits: nothing says that it goes on.
_OLD = 2
#: Seconds by which the clocks of two machines may differ.
_SKEW = 1.0
#: Seconds after which the newest wait says nothing of now.
_RECENT = 60
#: The longest Retry-After, in seconds.
_LONGEST = 60
#: Routing keys whose figures are kept.
_KEYS = 1000


class ExpectedWait:
    """The figures of one routing key.

    Args:
        reply_timeout: seconds that a caller waits.
        clock: a monotonic clock.

    Attributes:
        waiting: calls that wait for their reply.
        is_calm: nothing is refused.
    """

    def __init__(self, reply_timeout: float, clock: IReactorTime) -> None:
        self._timeout = reply_timeout
        self._clock = clock
        self.waiting = 0
        self.is_calm = True
        #: Seconds without a call, up to the last one that began; and when the last one ended.
        self._idle, self._idle_since = 0.0, clock.seconds()
        #: When the last replies came, while replies tell of a queue. Time without a call does not count.
        self._replies: deque[float] = deque(maxlen=_REPLIES)
        #: When messages were published and started: some, and the newest.
        self._marks: deque[tuple[float, float]] = deque(maxlen=_MARKS)
        self._newest: tuple[float, float] | None = None
        #: Of the time between the start of a message and its reply: mean, and mean deviation.
        self._latency: float | None = None
        self._deviation = 0.0
        self._replied = -inf
        #: Calls that ended at their deadline since the last reply, the begin of the first one, and the end of the last.
        self._unanswered, self._silent_since, self._expired = 0, inf, -inf
        #: When the last call began.
        self._began = -inf

    def begin(self) -> float:
        """Count a call; returns the time, which identifies it."""
        now = self._clock.seconds()
        if not self.waiting:
            self._idle += now - self._idle_since
        self.waiting += 1
        self._began = now
        return now

    def end(self) -> None:
        """Stop counting a call whose caller has left, or whose message may be in no queue."""
        self.waiting -= 1
        if not self.waiting:
            self._idle_since = self._clock.seconds()

    def take_back(self) -> None:
        """Stop counting a call whose message is in no queue: it takes nobody's place."""
        self.end()
        self._began = -inf

    def expire(self, began: float) -> None:
        """Stop counting a call whose deadline has passed."""
        self.end()
        if self._replied < began:
            is_alone = self._unanswered < _UNANSWERED and began - self._expired > _OLD * self._timeout
            if is_alone or not self._unanswered:
                self._unanswered, self._silent_since = 0, began
            self._unanswered += 1
            self._expired = self._clock.seconds()
            if self._unanswered >= _UNANSWERED:
                self.is_calm = False

    def answer(self, began: float, waited: object, *, is_late: bool = False) -> None:
        """Stop counting a call, and learn from its reply.

        Args:
            began: when the call began.
            waited: ``pg-waited`` of the reply, of any type: whoever replies may have written it.
            is_late: the call has ended before, and is not counted any more.
        """
        now = self._replied = self._clock.seconds()
        if not is_late:
            self.waiting -= 1
            if not self.waiting:
                self._idle_since = now
        if self._unanswered >= _UNANSWERED:
            self._begin_anew()
            self._newest = None
        self._unanswered = 0
        # Without a number: another program's reply, or one to a later attempt. It counts for the rate only.
        if type(waited) is int and 0 <= waited <= 1000 * (now - began + _SKEW):
            self._learn(began, min(now, began + waited / 1000), now)
        if not self.is_calm:
            self._replies.append(self._busy(now))

    def _learn(self, began: float, started: float, now: float) -> None:
        """Learn from the times of one message."""
        latency = now - started
        if self._latency is None:
            self._latency = latency
        error = latency - self._latency
        self._latency += _NEWEST * error
        self._deviation += _NEWEST * (abs(error) - self._deviation)
        before = self._newest
        if before is not None and began < before[0]:
            return  # a message of long ago tells nothing new about the queue
        self._newest = (began, started)
        if started - began < _EVIDENCE * self._timeout:
            if not self.is_calm:
                self._begin_anew()
        elif self.is_calm:
            self.is_calm = False
            self._marks.append(before or self._newest)
        elif started - self._marks[-1][1] >= _DISTANCE * self._timeout:
            self._marks.append(self._newest)

    @property
    def newest(self) -> tuple[float, float] | None:
        """When the message of the newest reply was published and started; None if that is not known, or is long ago."""
        newest = self._newest
        return newest if newest is not None and self._clock.seconds() - newest[1] < _RECENT else None

    def check(self) -> tuple[str, float, int] | None:
        """Decide about a new request.

        Returns:
            None to take it. Else a reason (``wait``: the queue is long; ``stalled``: no replies come), the seconds that
            the wait is to be expected to take, or has taken, and those after which a request may be taken.
        """
        if self.is_calm:
            return None
        now = self._clock.seconds()
        if self._unanswered >= _UNANSWERED:
            if not self.waiting and now - self._idle_since > _OLD * self._timeout:
                self._unanswered = 0
                self._begin_anew()
                return None
            # A request that is refused for another reason after this is no call: another one is taken in its place.
            if now - self._began >= _PROBE:
                return None
            silence = now - self._silent_since
            return "stalled", silence, _whole(silence)
        return self._too_long(now)

    def _too_long(self, now: float) -> tuple[str, float, int] | None:
        assert self._newest is not None
        assert self._latency is not None
        # The first call is always taken: its reply tells how long the queue is.
        if not self.waiting or now - self._newest[0] > _OLD * self._timeout:
            return None
        expected = (self.waiting + 1) * (self._busy(now) - self._replies[0]) / len(self._replies)
        left = max(0.0, self._timeout - self._latency)
        margin = min(max(_MARGIN * left, _DEVIATIONS * self._deviation), _LARGEST_MARGIN * left)
        limit = self._timeout - margin
        if expected > limit and self._projected(now) > _LONG * left:
            return "wait", expected, _whole(expected - limit)
        waited = self._newest[1] - self._newest[0]
        if waited > _LONGER * left and expected > _FEWER * limit:
            return "wait", waited + self._latency, _whole(waited + self._latency - limit)
        return None

    def _projected(self, now: float) -> float:
        """Seconds that a message published now waits if the queue grows as it did before the newest reply."""
        assert self._newest is not None
        began, started = self._newest
        first_began, first_started = self._marks[0]
        growth = 1.0
        if started - first_started >= _DISTANCE * self._timeout:
            growth = max(1.0, (started - first_started) / (began - first_began)) if began > first_began else inf
        return started + growth * (now - began) - now

    def _begin_anew(self) -> None:
        self.is_calm = True
        self._replies.clear()
        self._marks.clear()

    def _busy(self, now: float) -> float:
        """A clock that stands still while no call waits."""
        return (now if self.waiting else self._idle_since) - self._idle


def _whole(seconds: float) -> int:
    return min(_LONGEST, max(1, ceil(seconds)))


class ExpectedWaits:
    """The figures of all routing keys, as many as are kept; callers choose routing keys.

    Args:
        reply_timeout: seconds that a caller waits.
        clock: a monotonic clock.
    """

    def __init__(self, reply_timeout: float, clock: IReactorTime, metrics: Metrics) -> None:
        self._timeout = reply_timeout
        self._clock = clock
        self._refused = {reason: metrics.refused_early.labels(reason) for reason in ("wait", "stalled")}
        self._by_key: dict[str, ExpectedWait] = {}

    def check(self, routing_key: str) -> None:
        """Raise :class:`QueueTooLong` if the reply to a new request is to be expected too late."""
        known = self._by_key.get(routing_key)
        if known is None or known.is_calm:
            return
        refusal = known.check()
        if refusal is None:
            return
        reason, seconds, retry_after = refusal
        self._refused[reason].inc()
        if reason == "stalled":
            msg = f"No request with this routing key was answered for {seconds:.0f} s. One a second is still taken."
        else:
            msg = (
                f"The queue is long: a reply is to be expected in about {ceil(seconds)} s, "
                f"and is waited for {self._timeout:g} s (REPLY_TIMEOUT)."
            )
        raise QueueTooLong(msg, retry_after)

    def of(self, routing_key: str) -> ExpectedWait:
        """The figures of a routing key."""
        known = self._by_key.get(routing_key)
        if known is None:
            if len(self._by_key) >= _KEYS:
                self._forget()
            known = self._by_key[routing_key] = ExpectedWait(self._timeout, self._clock)
        return known

    def newest_wait(self, is_meant: Callable[[str], bool]) -> float | None:
        """Seconds that the message of the newest reply waited in its queue; None if that is not known.

        Args:
            is_meant: says for a routing key whether it is meant.
        """
        newest = [each.newest for key, each in self._by_key.items() if each.newest is not None and is_meant(key)]
        if not newest:
            return None
        began, started = max(newest)
        return started - began

    def _forget(self) -> None:
        """Make room: forget figures that refuse nothing, else the oldest."""
        kept = {key: each for key, each in self._by_key.items() if each.waiting or not each.is_calm}
        if len(kept) >= _KEYS:
            del kept[next(iter(kept))]
        self._by_key = kept
