"""One run: a load on one subject, with what it costs each process. And a table's cells: medians of the rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import usage
from benchmarks.load import LoadError, connected
from benchmarks.section import digits, median
from benchmarks.testbed import cpu, cpu_ms

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from benchmarks.load import Callers, Load
    from benchmarks.subjects import Subject
    from benchmarks.testbed import Model, Testbed


@dataclass(frozen=True)
class Run:
    """One load on one subject in one round; CPU in milliseconds per request, by process."""

    load: Load
    cpu: dict[str, float]
    memory: usage.Memory


def call(bed: Testbed, model: Model, subject: Subject, request: Sequence[str], concurrency: int, count: int) -> Run:
    """Callers that send one request at a time, on connections that stay open.

    Raises:
        LoadError: not all requests were answered with 200.
    """
    return run(bed, model, subject, connected(subject.url, request, concurrency, count))


def run(bed: Testbed, model: Model, subject: Subject, generator: AbstractContextManager[Callers]) -> Run:
    """Let a load generator, when it is prepared, put its load on a subject.

    Raises:
        LoadError: not all requests were answered with 200.
    """
    pids = {"process": subject.pid, "broker": bed.broker_pid, "model": model.pid}
    with generator as callers:
        usage.reset_peak(subject.pid)
        before = cpu(pids)
        load = callers.call()
        spent = cpu_ms(before, cpu(pids), load.count)
        memory = usage.memory(subject.pid)
    if load.errors:
        msg = f"{subject.kind.name}: {load.statuses}"
        raise LoadError(msg)
    return Run(load, {**spent, "load": load.cpu / load.count * 1000}, memory)


HEADER = [
    "requests/s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "CPU/request ms",
    "RSS MB",
    "peak MB",
    "CPU/request of broker ms",
    "of model ms",
    "of load generator ms",
]


@dataclass(frozen=True)
class Medians:
    """Medians of the rounds, in the order of :data:`HEADER`."""

    figures: dict[str, float]

    @classmethod
    def of(cls, runs: list[Run]) -> Medians:
        """The medians of these rounds."""
        return cls(
            {
                "rate": median(runs, lambda run: run.load.rate),
                "p50": median(runs, lambda run: run.load.milliseconds[50]),
                "p95": median(runs, lambda run: run.load.milliseconds[95]),
                "p99": median(runs, lambda run: run.load.milliseconds[99]),
                "CPU": median(runs, lambda run: run.cpu["process"]),
                "RSS": median(runs, lambda run: run.memory.resident / 1024),
                "peak": median(runs, lambda run: run.memory.peak / 1024),
                "broker": median(runs, lambda run: run.cpu["broker"]),
                "model": median(runs, lambda run: run.cpu["model"]),
                "load": median(runs, lambda run: run.cpu["load"]),
            }
        )

    def cells(self) -> list[str]:
        """The cells of a row."""
        return [digits(value) for value in self.figures.values()]

    def ratios(self, other: Medians) -> list[str]:
        """Ratios to another subject; the figures of broker, model and load generator have none."""
        own = list(self.figures)[:7]
        return [digits(self.figures[name] / other.figures[name]) for name in own] + [""] * 3
