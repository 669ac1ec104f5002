"""Question 7: what does a look at many parked messages cost, and a replay, and what do requests beside them notice?

A gateway has 100,000 parked messages of 2 KB in a classic and in a quorum queue. They are listed and replayed by the
command line, in a process of its own, and by HTTP, in the gateway; callers of another queue are served meanwhile.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from benchmarks import parking_runs as runs_of
from benchmarks.load import LoadError
from benchmarks.parking_runs import TYPES, Listed, parked
from benchmarks.section import Bar, Panel, Section, digits, median
from benchmarks.testbed import start_model

if TYPE_CHECKING:
    from benchmarks.load import Load
    from benchmarks.parking_runs import Interface
    from benchmarks.subjects import Subject
    from benchmarks.testbed import Testbed

NAME = "parking"
COMMAND, HTTP = "command", "HTTP"
#: What callers have beside them, and what it is compared with.
NOTHING, LOOK, REPLAY, OTHER = "nothing", "look by HTTP", "replay by HTTP", "look by command"
_SECONDS, _MEGABYTES, _RATE, _RATIO = 10, 150, 1000, 2


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        parked: messages in a parking queue.
        replayed: of them, messages that a run replays.
        requests: of a load beside.
    """

    parked: int
    replayed: int
    requests: int


FULL = Scale(100_000, 20_000, 4000)
QUICK = Scale(2000, 500, 300)


@dataclass(frozen=True)
class Runs:
    """All runs, by queue type and by way or by what is beside."""

    listed: dict[tuple[str, str], list[Listed]] = field(default_factory=dict)
    replayed: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    beside: dict[tuple[str, str], list[Load]] = field(default_factory=dict)


def measure(bed: Testbed, rounds: int, scale: Scale) -> Runs:
    """All runs. Loads with something beside them alternate with loads alone."""
    runs = Runs()
    for kind in TYPES:
        with ExitStack() as stack:
            subject = runs_of.start(stack, bed, start_model(stack, "instant_model"), kind)
            interface = runs_of.Interface(subject)
            stack.callback(interface.close)
            runs_of.call(subject, scale.requests)
            runs_of.fill(bed, parked(kind), scale.parked)
            for _ in range(rounds):
                _list(bed, interface, kind, scale, runs)
                _beside(bed, subject, interface, kind, scale, runs)
            for way in (COMMAND, HTTP):
                for _ in range(rounds):
                    runs_of.fill(bed, parked(kind), scale.replayed)
                    rate = _replay(bed, interface, kind, way, scale.replayed)
                    runs.replayed.setdefault((kind, way), []).append(rate)
                    runs_of.purge(bed, parked(kind))
    return runs


def _expect(what: str, found: int, wanted: int) -> None:
    if found != wanted:
        msg = f"{what}: {found:,} instead of {wanted:,}"
        raise LoadError(msg)


def _list(bed: Testbed, interface: Interface, kind: str, scale: Scale, runs: Runs) -> None:
    queue = parked(kind)
    cost, output = runs_of.command(bed, kind, "list", "--queue", queue, "--limit", str(scale.parked))
    _expect("lines of the command", output.count("\n"), scale.parked)
    runs.listed.setdefault((kind, COMMAND), []).append(cost)
    cost, found = interface.look(queue)
    _expect("messages that match", found["matching"], scale.parked)
    runs.listed.setdefault((kind, HTTP), []).append(cost)
    _expect("messages that are parked", runs_of.waiting(bed, f"{queue}.parking"), scale.parked)


def _beside(bed: Testbed, subject: Subject, interface: Interface, kind: str, scale: Scale, runs: Runs) -> None:
    queue = parked(kind)

    def load(beside: str) -> None:
        runs.beside.setdefault((kind, beside), []).append(runs_of.call(subject, scale.requests))

    load(NOTHING)
    with runs_of.again_and_again(lambda: interface.look(queue)):
        load(LOOK)
    load(NOTHING)
    with runs_of.again_and_again(lambda: runs_of.command(bed, kind, "list", "--queue", queue)):
        load(OTHER)
    load(NOTHING)
    job = interface.replay(queue)
    interface.until(job, lambda document: document["done"] > 0)
    load(REPLAY)
    document = interface.ask("GET", job)
    if document["state"] == "running":
        interface.ask("DELETE", job)
    document = interface.until(job, lambda document: document["state"] in ("canceled", "done"))
    runs_of.until_waiting(bed, f"{queue}.parking", scale.parked - document["done"])  # a purge spares what the job holds
    runs_of.purge(bed, queue)
    runs_of.fill(bed, queue, scale.parked)


def _replay(bed: Testbed, interface: Interface, kind: str, way: str, count: int) -> float:
    """Replay all messages; returns messages per second, with the count before it and, by command, the start."""
    queue = parked(kind)
    if way == COMMAND:
        cost, _ = runs_of.command(bed, kind, "replay", "--queue", queue, "--yes", "--why", "benchmark")
        rate = count / cost.seconds
    else:
        document = interface.until(interface.replay(queue), lambda document: document["state"] == "done")
        _expect("messages that were replayed", document["done"], count)
        began, ended = (datetime.fromisoformat(document[name]) for name in ("created", "finished"))
        rate = count / (ended - began).total_seconds()
    _expect("messages in the work queue", runs_of.waiting(bed, queue), count)
    _expect("messages that are parked", runs_of.waiting(bed, f"{queue}.parking"), 0)
    return rate


_HEADER = ["run", "queue", "by", "s", "MB", "messages/s", "requests/s", "p50 ms", "p99 ms"]


def present(runs: Runs) -> Section:
    """Medians of the rounds, and the bars."""
    rows: list[list[str]] = []
    bars: list[Bar] = []
    for (kind, way), each in runs.listed.items():
        seconds, megabytes = median(each, lambda run: run.seconds), max(run.memory for run in each)
        rows.append(["list", kind, way, digits(seconds), digits(megabytes), "", "", "", ""])
        bars.append(Bar(f"list, {kind}, by {way}", seconds, at_most=_SECONDS, unit=" s"))
        bars.append(Bar(f"memory of a list, {kind}, by {way}", megabytes, at_most=_MEGABYTES, unit=" MB"))
    for (kind, way), rates in runs.replayed.items():
        rate = median(rates, float)
        rows.append(["replay", kind, way, "", "", digits(rate), "", "", ""])
        bars.append(Bar(f"replay, {kind}, by {way}", rate, at_least=_RATE, unit="/s"))
    p99: dict[tuple[str, str], float] = {}
    for (kind, beside), loads in runs.beside.items():
        p99[kind, beside] = median(loads, lambda load: load.milliseconds[99])
        figures = [median(loads, lambda load: load.rate), median(loads, lambda load: load.milliseconds[50])]
        cells = [digits(each) for each in (*figures, p99[kind, beside])]
        rows.append([f"requests, beside: {beside}", kind, "", "", "", "", *cells])
    for (kind, beside), value in p99.items():
        if beside != NOTHING:
            ratio = value / p99[kind, NOTHING]
            bars.append(Bar(f"p99 beside a {beside}, {kind}, against that without", ratio, at_most=_RATIO, unit=" ×"))
    kinds = list(TYPES)
    besides = list(dict.fromkeys(beside for _, beside in runs.beside))
    panel = Panel(
        "p99 of requests beside", "queue", "ms", kinds, {each: [p99[kind, each] for kind in kinds] for each in besides}
    )
    return Section(NAME, _HEADER, rows, [panel], bars)
