"""Question 3: thousands of callers wait for a model that takes 5 s: errors, memory of each, time to drain.

Each run starts a new process, because a process does not always give memory back. All callers connect first; then all
send at once.
"""

from __future__ import annotations

import json
import resource
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import usage
from benchmarks.load import connected
from benchmarks.section import Bar, Panel, Section, digits, median
from benchmarks.subjects import KINDS, OURS, PEER, Kind, start_subject
from benchmarks.testbed import Model, Testbed, cpu, start_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.load import Load

NAME = "many-callers"
FULL = (2000, 10_000)
QUICK = (300,)
#: Seconds that the model takes.
_DELAY = 5
#: Seconds after the start for the process to become idle.
_SETTLE = 2
#: Connections and files in addition to those of the callers.
_MORE = 100


@dataclass(frozen=True)
class Run:
    """One subject with a number of callers in one round; memory in KB.

    Attributes:
        held: the most calls that the model held at a time.
        idle: memory before there were connections.
        connected: memory with all connections, before the first request.
        peak: most memory while the requests were answered.
        cpu: CPU time per request, in milliseconds.
    """

    callers: int
    load: Load
    held: int
    idle: int
    connected: int
    peak: int
    cpu: float

    @property
    def each(self) -> float:
        """Memory per waiting caller, connection included."""
        return (self.peak - self.idle) / self.callers


Runs = dict[tuple[str, int], list[Run]]


def measure(bed: Testbed, rounds: int, counts: tuple[int, ...]) -> Runs:
    """All runs by subject and number of callers."""
    runs: Runs = {}
    for count in counts:
        for _ in range(rounds):
            for kind in KINDS:
                with ExitStack() as stack:
                    runs.setdefault((kind.name, count), []).append(_run(stack, bed, kind, count))
    return runs


def _run(stack: ExitStack, bed: Testbed, kind: Kind, count: int) -> Run:
    model = start_model(stack, "slow_model", str(_DELAY))
    settings = {name: str(count + _MORE) for name in ("HTTP_MAX_CONNECTIONS", "HTTP_MAX_CONNECTIONS_PER_IDENTITY")}
    settings |= {"MAX_IN_FLIGHT": str(count), "HTTP_IDLE_TIMEOUT": "600"}
    # Each caller takes a file, and each call of the model another.
    prefetch = min(count, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - count - _MORE)
    subject = start_subject(stack, kind, bed.broker, model.url, prefetch=prefetch, **settings)
    time.sleep(_SETTLE)
    idle = usage.memory(subject.pid).resident
    with connected(subject.url, [kind.routing_key], count, count) as callers:
        ready = usage.memory(subject.pid).resident
        usage.reset_peak(subject.pid)
        before = cpu({"process": subject.pid})
        load = callers.call()
        spent = cpu({"process": subject.pid})["process"] - before["process"]
        peak = usage.memory(subject.pid).peak
    return Run(count, load, _held(model), idle, ready, peak, spent / count * 1000)


def _held(model: Model) -> int:
    with urllib.request.urlopen(model.url, timeout=30) as response:
        return int(json.loads(response.read())["held"])


_FIGURES: dict[str, Callable[[Run], float]] = {
    "errors": lambda run: run.load.errors,
    "in the model at once": lambda run: run.held,
    "drained after s": lambda run: run.load.seconds,
    "idle MB": lambda run: run.idle / 1024,
    "connected MB": lambda run: run.connected / 1024,
    "peak MB": lambda run: run.peak / 1024,
    "KB each": lambda run: run.each,
    "of it for the connection KB": lambda run: (run.connected - run.idle) / run.callers,
    "CPU/request ms": lambda run: run.cpu,
}


def present(runs: Runs) -> Section:
    """Medians of the rounds, but the errors of the worst round; and the bars, for the largest number of callers."""
    counts = sorted({count for _, count in runs})
    values = {key: {name: median(each, figure) for name, figure in _FIGURES.items()} for key, each in runs.items()}
    for key, each in runs.items():
        values[key]["errors"] = max(run.load.errors for run in each)
        values[key]["in the model at once"] = min(run.held for run in each)
    rows = []
    for count in counts:
        ours, peer = values[OURS.name, count], values[PEER.name, count]
        for kind in KINDS:
            figures = values[kind.name, count].items()
            cells = [f"{value:,.0f}" if name in list(_FIGURES)[:2] else digits(value) for name, value in figures]
            rows.append([f"{count:,}", kind.name, *cells])
        ratios = [digits(ours[name] / peer[name]) for name in list(_FIGURES)[2:]]
        rows.append([f"{count:,}", "ours/peer", "", "", *ratios])
    most = values[OURS.name, counts[-1]]
    bars = [
        Bar(f"errors with {counts[-1]:,} in flight", most["errors"], at_most=0),
        Bar(f"memory of each of {counts[-1]:,} in flight", most["KB each"], at_most=40, unit=" KB"),
    ]
    panels = [
        Panel(
            title,
            "callers",
            label,
            [f"{count:,}" for count in counts],
            {kind.name: [values[kind.name, count][name] for count in counts] for kind in KINDS},
        )
        for name, title, label in (
            ("KB each", "memory of each caller", "KB"),
            ("drained after s", "time to drain", "s"),
            ("errors", "errors", "requests"),
        )
    ]
    notes = [
        f"{name}, {count:,} callers: " + "; ".join(str(dict(run.load.statuses)) for run in each)
        for (name, count), each in runs.items()
        if any(run.load.errors for run in each)
    ]
    return Section(NAME, ["callers", "process", *_FIGURES], rows, panels, bars, notes)
