"""Question 10: how long does a request take when requests come at their own times, at a tenth of the maximum and up?

At saturation one turn of the reactor serves many requests. Most gateways idle at a fraction of their maximum, where
each request wakes the process up. The maximum of each subject is measured first, at a concurrency of 64.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.load import generator
from benchmarks.runs import Run, call, run
from benchmarks.section import Bar, Panel, Section, digits, median
from benchmarks.subjects import KINDS, OURS, PEER, start_subject
from benchmarks.testbed import start_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.testbed import Testbed

NAME = "open-loop"
#: Concurrency at which the maximum is measured.
_BUSY = 64
#: Percent of the maximum.
_LEVELS = (10, 25, 50, 80)
_HALF = 50
OWN, PEERS = "its own", "the peer's"
_WARM_UP = 300


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        count: requests to measure a maximum.
        connections: of an open load.
        seconds: of an open load.
    """

    count: int
    connections: int
    seconds: float


FULL = Scale(5000, 256, 10)
QUICK = Scale(300, 64, 0.5)


@dataclass(frozen=True)
class Runs:
    """All runs: the maximum by subject; the others by subject, whose maximum, and percent of it."""

    most: dict[str, list[Run]] = field(default_factory=dict)
    open: dict[tuple[str, str, int], list[Run]] = field(default_factory=dict)


def measure(bed: Testbed, rounds: int, scale: Scale) -> Runs:
    """All runs. Each round has arrivals of its own, which are the same for all subjects at the same rate."""
    runs = Runs()
    with ExitStack() as stack:
        model = start_model(stack, "instant_model")
        subjects = [start_subject(stack, kind, bed.broker, model.url) for kind in KINDS]
        for subject in subjects:
            call(bed, model, subject, [subject.kind.routing_key], _BUSY, _WARM_UP)
        for _ in range(rounds):
            for subject in subjects:
                found = call(bed, model, subject, [subject.kind.routing_key], _BUSY, scale.count)
                runs.most.setdefault(subject.kind.name, []).append(found)
        most = {name: median(each, lambda run: run.load.rate) for name, each in runs.most.items()}
        loads = [(subject, OWN, subject.kind.name) for subject in subjects]
        loads.insert(1, (subjects[0], PEERS, PEER.name))
        for level in _LEVELS:
            for number in range(rounds):
                for subject, whose, name in loads:
                    rate = most[name] * level / 100
                    arguments = (scale.connections, rate, scale.seconds, number, subject.kind.routing_key)
                    found = run(bed, model, subject, generator("open_callers", subject.url, *arguments))
                    runs.open.setdefault((subject.kind.name, whose, level), []).append(found)
    return runs


#: Figures by the header's names.
_FIGURES: dict[str, Callable[[Run], float]] = {
    "requests/s": lambda run: run.load.rate,
    "p50 ms": lambda run: run.load.milliseconds[50],
    "p99 ms": lambda run: run.load.milliseconds[99],
    "p99.9 ms": lambda run: run.load.milliseconds[99.9],
    "CPU/request ms": lambda run: run.cpu["process"],
    "CPU/request of broker ms": lambda run: run.cpu["broker"],
    "of model ms": lambda run: run.cpu["model"],
    "of load generator ms": lambda run: run.cpu["load"],
    "sent late %": lambda run: run.load.late / run.load.count * 100,
}
_LATENCIES_AND_COST = ("p50 ms", "p99 ms", "p99.9 ms", "CPU/request ms")


def present(runs: Runs) -> Section:
    """Medians of the rounds, and the bars."""
    values = {key: {name: median(each, figure) for name, figure in _FIGURES.items()} for key, each in runs.open.items()}
    rows = []
    for name, each in runs.most.items():
        figures = {figure: digits(median(each, of)) for figure, of in _FIGURES.items() if figure != "sent late %"}
        rows.append([f"{_BUSY} callers", "", name, *figures.values(), ""])
    bars = []
    for level in dict.fromkeys(level for _, _, level in values):
        peer = values[PEER.name, OWN, level]
        for name, whose in ((OURS.name, OWN), (PEER.name, OWN), (OURS.name, PEERS)):
            figures = values[name, whose, level]
            rows.append([f"{level} %", whose, name, *map(digits, figures.values())])
        for whose in (OWN, PEERS):
            ratios = {name: values[OURS.name, whose, level][name] / peer[name] for name in _FIGURES if peer[name]}
            cells = [digits(ratios[name]) if name in _LATENCIES_AND_COST else "" for name in _FIGURES]
            rows.append([f"{level} %", whose, "ours/peer", *cells])
            if level == _HALF:
                where = f"at half of {whose} maximum"
                for name, figure, most in (("CPU per request", "CPU/request ms", 0.4), ("p99", "p99 ms", 0.7)):
                    bars.append(Bar(f"{name} {where}, against the peer's", ratios[figure], at_most=most, unit=" ×"))
    ours = values[OURS.name, OWN, _HALF]
    share = ours["of load generator ms"] / ours["CPU/request ms"]
    bars.append(Bar("CPU of the load generator, against ours at half of its maximum", share, at_most=0.25, unit=" ×"))
    levels = list(dict.fromkeys(level for _, _, level in values))
    panels = [
        Panel(
            title,
            "% of the maximum",
            "ms",
            [str(level) for level in levels],
            {
                label: [values[name, whose, level][figure] for level in levels]
                for label, name, whose in (
                    ("ours", OURS.name, OWN),
                    ("peer", PEER.name, OWN),
                    ("ours, at the peer's rate", OURS.name, PEERS),
                )
            },
        )
        for figure, title in (
            ("CPU/request ms", "CPU per request"),
            ("p50 ms", "p50"),
            ("p99 ms", "p99"),
            ("p99.9 ms", "p99.9"),
        )
    ]
    return Section(NAME, ["load", "of the maximum of", "process", *_FIGURES], rows, panels, bars)
