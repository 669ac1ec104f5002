"""What this process has done in the last seconds: rates and times, from its own metrics. Nothing is timed here."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.observability.metrics import Metrics

#: Counters by name, and queue or part.
_Counters = defaultdict[tuple[str, ...], float]
#: Seconds over which rates are measured, and the least and the most that can be between two looks at the counters.
_WINDOW, _LEAST, _MOST = 10.0, 0.9, 60.0
#: Paths that send no request to a model.
_OTHERS = ("/v1/parking", "/workbench", "other")
#: Results of calls that are answers, and of those that are failures. A model that is busy has not failed.
_ANSWERED = frozenset({"ok", "rejected"})
_FAILED = frozenset({"timeout", "connection", "status", "body"})


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFigures:
    """The figures of one work queue. None stands for what is not known, or done by other processes.

    Attributes:
        running: deliveries that are being worked on.
        concurrency: calls at a time, at most.
        state: of the model: 0 if it takes calls, 1 if it is busy, 2 if it is away.
        calls: of the model, per second.
        answered: of these, those that the model has answered; a refusal is an answer, too.
        failures: of these, those that failed.
        seconds: of one call, on average.
        wait: seconds that the message of the newest reply waited.
    """

    running: float | None
    concurrency: float | None
    state: int | None
    calls: float | None
    answered: float | None
    failures: float | None
    seconds: float | None
    wait: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFigures:
    """The figures of this process.

    Attributes:
        requests: answered per second.
        failed: of these, with a status of 500 or more.
        seconds: until the answer, on average.
        in_flight: requests that are being served.
        queues: by work queue.
    """

    requests: float | None
    failed: float | None
    seconds: float | None
    in_flight: float
    queues: dict[str, QueueFigures]


class Figures:
    """Measures rates between two looks at the metrics.

    Args:
        queues: the work queues.
        wait: seconds that the message of the newest reply of a work queue waited; None if that is not known.
        clock: a monotonic clock.
    """

    def __init__(
        self, metrics: Metrics, queues: Sequence[str], wait: Callable[[str], float | None], clock: IReactorTime
    ) -> None:
        self._metrics = metrics
        self._queues = queues
        self._wait = wait
        self._clock = clock
        #: Time and counters of the looks in the last seconds, and of one before these.
        self._looks: deque[tuple[float, _Counters]] = deque()

    def now(self) -> ProcessFigures:
        """Look at the metrics. Rates are known if there was a look before, and not long ago."""
        at, counters = self._clock.seconds(), self._counters()
        looks = self._looks
        while looks and (at - looks[0][0] > _MOST or (len(looks) > 1 and at - looks[1][0] >= _WINDOW)):
            looks.popleft()
        seconds, before = 0.0, counters
        if looks and at - looks[0][0] >= _LEAST:
            seconds, before = at - looks[0][0], looks[0][1]
        if not looks or at - looks[-1][0] >= _LEAST:
            looks.append((at, counters))
        gauges = self._gauges()

        def per_second(*key: str) -> float | None:
            return (counters[key] - before[key]) / seconds if seconds else None

        def mean(*key: str) -> float | None:
            number = counters[(*key, "count")] - before[(*key, "count")]
            return (counters[(*key, "sum")] - before[(*key, "sum")]) / number if number else None

        (in_flight,) = (value for _, value in _samples(self._metrics.http_in_flight, ""))
        return ProcessFigures(
            requests=per_second("requests"),
            failed=per_second("failed"),
            seconds=mean("http"),
            in_flight=in_flight,
            queues={
                queue: QueueFigures(
                    running=gauges.get(("running", queue)),
                    concurrency=gauges.get(("concurrency", queue)),
                    state=int(gauges["state", queue]) if ("state", queue) in gauges else None,
                    calls=per_second("calls", queue) if ("state", queue) in gauges else None,
                    answered=per_second("answered", queue) if ("state", queue) in gauges else None,
                    failures=per_second("failures", queue) if ("state", queue) in gauges else None,
                    seconds=mean("model", queue),
                    wait=self._wait(queue),
                )
                for queue in self._queues
            },
        )

    def _counters(self) -> _Counters:
        metrics, found = self._metrics, _Counters(float)
        routes = set()
        for labels, value in _samples(metrics.http_requests, "_total"):
            if labels["method"] == "POST" and not labels["route"].startswith(_OTHERS):
                routes.add(labels["route"])
                found["requests",] += value
                if labels["code"].startswith("5"):
                    found["failed",] += value
        for part in ("sum", "count"):
            for labels, value in _samples(metrics.http_request_seconds, f"_{part}"):
                if labels["route"] in routes:
                    found["http", part] += value
            for labels, value in _samples(metrics.model_request_seconds, f"_{part}"):
                found["model", labels["queue"], part] += value
        for labels, value in _samples(metrics.model_requests, "_total"):
            found["calls", labels["queue"]] += value
            if labels["result"] in _ANSWERED:
                found["answered", labels["queue"]] += value
            if labels["result"] in _FAILED:
                found["failures", labels["queue"]] += value
        return found

    def _gauges(self) -> dict[tuple[str, str], float]:
        metrics = self._metrics
        named = {
            "running": metrics.deliveries_in_flight,
            "concurrency": metrics.model_concurrency,
            "state": metrics.model_state,
        }
        return {
            (name, labels["queue"]): value for name, gauge in named.items() for labels, value in _samples(gauge, "")
        }


def _samples(collector: Any, ending: str) -> Iterator[tuple[dict[str, str], float]]:
    """The samples of a metric whose names have this ending."""
    for family in collector.collect():
        for sample in family.samples:
            if sample.name == family.name + ending:
                yield sample.labels, sample.value
