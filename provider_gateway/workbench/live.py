"""The figures of the overview, as texts; while somebody watches, they are sent every other second."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from provider_gateway.deferreds import InFlight, sleep
from provider_gateway.workbench import texts
from provider_gateway.workbench.access import RIGHTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.clocks import WallClock
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.http_server.event_stream import EventStream, EventStreams
    from provider_gateway.parking.operators import Operator
    from provider_gateway.workbench.figures import Figures, ProcessFigures
    from provider_gateway.workbench.queue_counts import QueueCount, QueueCounts

#: Seconds between two events, and for which counts of the broker are good for a page.
_EVERY, _FRESH = 2.0, 1.0
#: The states of a model by their numbers (docs/operation.md): what the page says, and how it looks.
_MODEL = {0: ("ready", "good"), 1: ("busy", "warn"), 2: ("away", "bad")}


def may_see(operator: Operator, queue: str) -> bool:
    """True if an operator has any right on the parking queue of a work queue."""
    return any(operator.may(right, queue) for right in RIGHTS)


@dataclass(frozen=True, slots=True)
class Flow:
    """One work queue on the overview.

    Attributes:
        key: begins the names of its figures.
        delay: seconds until the next attempt; None if failures are not tried again.
        attempts: at most.
    """

    key: str
    queue: str
    parking: str
    retry: str | None
    delay: float | None
    attempts: int

    @classmethod
    def of(cls, index: int, entry: QueueEntry) -> Flow:
        """The flow of an entry of the queue file."""
        route = entry.seed_route
        delay: Any = entry.retry_delay if route is None else route.dle_args.get("x-message-ttl")
        return cls(
            key=f"q{index}",
            queue=entry.queue_name,
            parking=entry.parking,
            retry=None if not entry.dle else entry.retry_queue if route is None else route.dle_queue,
            delay=delay / 1000 if entry.dle and isinstance(delay, int | float) else None,
            attempts=entry.max_attempts,
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """Figures as texts, and how some of them look, by their names."""

    texts: dict[str, str]
    states: dict[str, str]


class LiveFigures:
    """Has the figures, and sends them to those who watch.

    Args:
        figures: of this process.
        counts: of queues.
        held: how many messages of a parking queue, named by its work queue, this process holds for a look or a job. The
            broker does not count them as ready.
        entries: all of the queue file.
        streams: of those who watch.
        who: the operator of a request; None if it has no right any more.
        clock: times the events.
    """

    _log = Logger()

    def __init__(
        self,
        figures: Figures,
        counts: QueueCounts,
        held: Callable[[str], int],
        entries: Sequence[QueueEntry],
        *,
        streams: EventStreams,
        who: Callable[[Any], Operator | None],
        clock: IReactorTime,
        wall_clock: WallClock,
    ) -> None:
        self.flows = tuple(Flow.of(index, entry) for index, entry in enumerate(entries))
        self._figures = figures
        self._counts = counts
        self._held = held
        self._streams = streams
        self._who = who
        self._clock = clock
        self._wall_clock = wall_clock
        self._asked: tuple[float, Mapping[str, QueueCount]] | None = None
        self._pause: Deferred[None] | None = None
        self._sending = InFlight(lambda failure: self._log.failure("Live figures could not be sent", failure))

    async def shown(self, operator: Operator) -> Shown:
        """The figures now, of the queues that an operator may see."""
        return self._texts(operator, self._figures.now(), await self._ask())

    def watch(self, stream: EventStream) -> None:  # noqa: ARG002 - it is among the streams
        """Send the figures to a new stream, and go on until there is none."""
        if not len(self._sending):
            self._sending.start(self._send())
        elif self._pause is not None:
            self._pause.cancel()

    def stop(self) -> None:
        """Send no more."""
        self._sending.cancel()

    async def _send(self) -> None:
        while len(self._streams):
            counts = await self._ask()
            figures, at = self._figures.now(), texts.time(self._wall_clock())
            for stream in self._streams:
                operator = self._who(stream.request)
                if operator is None:
                    stream.end()  # the access file, or the certificate, gives no right any more
                    continue
                shown = self._texts(operator, figures, counts)
                stream.send("figures", json.dumps({"at": at, "texts": shown.texts, "states": shown.states}))
            self._pause = sleep(self._clock, _EVERY)
            try:
                await self._pause
            except CancelledError:
                if not len(self._streams):
                    raise
            finally:
                self._pause = None

    async def _ask(self) -> Mapping[str, QueueCount]:
        """Ask the broker, unless it was just asked."""
        now = self._clock.seconds()
        if self._asked is None or now - self._asked[0] >= _FRESH:
            names = [each for flow in self.flows for each in (flow.queue, flow.retry, flow.parking) if each is not None]
            counts = await self._counts.ask(dict.fromkeys(names))
            self._asked = self._clock.seconds(), counts
        return self._asked[1]

    def _texts(
        self,
        operator: Operator,
        figures: ProcessFigures,
        counts: Mapping[str, QueueCount],
    ) -> Shown:
        said: dict[str, str] = {
            "requests.rate": texts.rate(figures.requests),
            "requests.in_flight": texts.number(figures.in_flight),
            "requests.time": texts.duration(figures.seconds),
            "requests.failed": texts.rate(figures.failed),
        }
        states = {"requests.failed": "bad" if figures.failed else ""}
        all_retrying: dict[str, int] = {}
        all_parked: dict[str, int] = {}  # by name: queues may share one, as these
        for flow in self.flows:
            if not may_see(operator, flow.queue):
                continue
            queue, key = figures.queues[flow.queue], flow.key
            work, retry = counts.get(flow.queue), counts.get(flow.retry or "")
            parked = counts.get(flow.parking)
            lying = None if parked is None else parked.messages + self._held(flow.queue)
            is_served = work is None or work.consumers > 0
            elsewhere = ("called elsewhere", "") if is_served else ("called by nobody", "bad")
            model, look = elsewhere if queue.state is None else _MODEL[queue.state]
            running = texts.number(queue.running)
            said |= {
                f"{key}.waiting": texts.number(work.messages if work else None),
                f"{key}.consumers": texts.number(work and work.consumers) if is_served else "none",
                f"{key}.wait": texts.duration(queue.wait),
                f"{key}.model": model,
                f"{key}.running": f"{running} of {queue.concurrency:.0f}" if queue.concurrency else running,
                f"{key}.calls": texts.rate(queue.calls),
                f"{key}.answered": texts.rate(queue.answered),
                f"{key}.failures": texts.rate(queue.failures),
                f"{key}.time": texts.duration(queue.seconds),
                f"{key}.retrying": texts.number(retry.messages if retry else None),
                f"{key}.parked": texts.number(lying),
            }
            states |= {
                f"{key}.consumers": "" if is_served else "bad",
                f"{key}.model": look,
                f"{key}.failures": "bad" if queue.failures else "",
                f"{key}.parked": "warn" if lying else "",
            }
            if retry is not None and flow.retry is not None:
                all_retrying[flow.retry] = retry.messages
            if lying is not None:
                all_parked[flow.parking] = lying
        said["all.retrying"] = texts.number(sum(all_retrying.values()) if all_retrying else None)
        said["all.parked"] = texts.number(sum(all_parked.values()) if all_parked else None)
        states["all.parked"] = "warn" if any(all_parked.values()) else ""
        return Shown(said, states)
