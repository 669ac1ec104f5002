"""Question 5: how much more can two workers serve than one process?

The machine has few cores, and broker, model and load generator need them, too. The result is therefore computed from
CPU time: the limit is the busiest process, by its CPU time per request. The best round counts, because a process that
shares a core loses its caches at each interruption, which only ever adds CPU time. Each process has the same number of
callers: a busy process takes several messages at a time, and with half as many callers each, two workers would run at
half load.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import usage
from benchmarks.load import LoadError, connected
from benchmarks.section import Bar, Panel, Section, digits, median
from benchmarks.subjects import Kind, Subject, start_subject
from benchmarks.testbed import Testbed, start_model

if TYPE_CHECKING:
    from benchmarks.load import Load

NAME = "workers"
#: Requests of a run, by the number of callers of each process.
FULL = {64: 10_000, 128: 10_000}
QUICK = {64: 300}
_WARM_UP = 300
ONE = Kind("one process", "one.now", "one.in", "one.out")
TWO = Kind("two workers", "two.now", "two.in", "two.out")
_WORKERS = {ONE: 1, TWO: 2}


@dataclass(frozen=True)
class Run:
    """One subject with a number of callers for each process, in one round.

    Attributes:
        cpu: CPU time per request in milliseconds, for each process of the subject.
        resident: resident memory of all its processes, in KB.
    """

    load: Load
    cpu: list[float]
    resident: int

    @property
    def bound(self) -> float:
        """Requests per second that the busiest process could serve with a core of its own."""
        return 1000 / max(self.cpu)


Runs = dict[tuple[str, int], list[Run]]


def measure(bed: Testbed, rounds: int, counts: dict[int, int]) -> Runs:
    """All runs by subject and concurrency."""
    runs: Runs = {}
    with ExitStack() as stack:
        model = start_model(stack, "instant_model")
        subjects = [
            start_subject(stack, kind, bed.broker, model.url, WORKERS=str(number)) for kind, number in _WORKERS.items()
        ]
        for subject in subjects:
            _run(subject, 2 * max(counts), _WARM_UP)
        for concurrency, count in counts.items():
            for _ in range(rounds):
                for subject in subjects:
                    run = _run(subject, concurrency * _WORKERS[subject.kind], count)
                    runs.setdefault((subject.kind.name, concurrency), []).append(run)
    return runs


def _run(subject: Subject, concurrency: int, count: int) -> Run:
    with connected(subject.url, [subject.kind.routing_key], concurrency, count) as callers:
        before = usage.cpu_seconds_of_each(subject.pid)
        load = callers.call()
        after = usage.cpu_seconds_of_each(subject.pid)
    if load.errors:
        msg = f"{subject.kind.name}, concurrency {concurrency}: {load.statuses}"
        raise LoadError(msg)
    cpu = [(after[pid] - before[pid]) / count * 1000 for pid in before]
    return Run(load, cpu, usage.memory(subject.pid).resident)


def present(runs: Runs) -> Section:
    """The figures of all rounds, and the bars."""
    concurrencies = sorted({concurrency for _, concurrency in runs})
    rows = []
    bars = []
    for concurrency in concurrencies:
        one, two = (_figures(runs[kind.name, concurrency]) for kind in (ONE, TWO))
        for kind, figures in ((ONE, one), (TWO, two)):
            rows.append([str(concurrency), kind.name, *map(digits, figures)])
        rows.append([str(concurrency), "two/one", *(digits(b / a) for a, b in zip(one, two, strict=True))])
        bars.append(
            Bar(f"CPU-bound throughput with {concurrency} callers each", two[0] / one[0], at_least=1.7, unit=" ×")
        )
    panels = [
        Panel(
            title,
            "callers for each process",
            "requests/s",
            [str(each) for each in concurrencies],
            {kind.name: [_figures(runs[kind.name, each])[column] for each in concurrencies] for kind in (ONE, TWO)},
        )
        for column, title in enumerate(("CPU-bound", "measured, all on this machine"))
    ]
    return Section(NAME, ["callers each", "processes", *_HEADER], rows, panels, bars)


_HEADER = [
    "CPU-bound requests/s",
    "measured requests/s",
    "p50 ms",
    "p99 ms",
    "CPU/request ms, all processes",
    "of the busiest",
    "RSS MB, all processes",
]


def _figures(runs: list[Run]) -> list[float]:
    """A row's figures, in the header's order: CPU time of the best round, medians of the rest."""
    return [
        max(run.bound for run in runs),
        median(runs, lambda run: run.load.rate),
        median(runs, lambda run: run.load.milliseconds[50]),
        median(runs, lambda run: run.load.milliseconds[99]),
        min(sum(run.cpu) for run in runs),
        min(max(run.cpu) for run in runs),
        median(runs, lambda run: run.resident / 1024),
    ]
