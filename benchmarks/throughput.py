"""Question 1: how fast is one process over HTTPS, what does a request cost it, and how much memory does it take?

Both subjects run side by side; each round measures one, then the other. The connections are open before the clock
starts, so no figure includes handshakes.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks.runs import HEADER, Medians, Run, call
from benchmarks.section import Bar, Panel, Section
from benchmarks.subjects import KINDS, OURS, PEER, start_subject
from benchmarks.testbed import start_model

if TYPE_CHECKING:
    from benchmarks.testbed import Testbed

NAME = "throughput"
#: Requests of a run by concurrency: enough, because the kernel counts CPU time in hundredths of a second.
FULL = {1: 2000, 8: 5000, 64: 10_000, 256: 10_000}
QUICK = {1: 200, 64: 500}
_WARM_UP = 300
#: The concurrency that the bars on cost and throughput are about.
_BUSY = 64


Runs = dict[tuple[str, int], list[Run]]


def measure(bed: Testbed, rounds: int, counts: dict[int, int]) -> Runs:
    """All runs by subject and concurrency."""
    runs: Runs = {}
    with ExitStack() as stack:
        model = start_model(stack, "instant_model")
        subjects = [start_subject(stack, kind, bed.broker, model.url) for kind in KINDS]
        for subject in subjects:
            call(bed, model, subject, [subject.kind.routing_key], _BUSY, _WARM_UP)
        for concurrency, count in counts.items():
            for _ in range(rounds):
                for subject in subjects:
                    run = call(bed, model, subject, [subject.kind.routing_key], concurrency, count)
                    runs.setdefault((subject.kind.name, concurrency), []).append(run)
    return runs


def present(runs: Runs) -> Section:
    """Medians of the rounds, and the bars."""
    concurrencies = sorted({concurrency for _, concurrency in runs})
    values = {key: Medians.of(each) for key, each in runs.items()}
    rows = []
    for concurrency in concurrencies:
        ours, peer = values[OURS.name, concurrency], values[PEER.name, concurrency]
        rows += [[str(concurrency), kind.name, *values[kind.name, concurrency].cells()] for kind in KINDS]
        rows.append([str(concurrency), "ours/peer", *ours.ratios(peer)])
    ours, peer = values[OURS.name, _BUSY], values[PEER.name, _BUSY]
    alone = [values[kind.name, 1].figures["p50"] for kind in KINDS]
    cost = [each.figures["CPU"] for each in (ours, peer)]
    rate = [each.figures["rate"] for each in (ours, peer)]
    generator = ours.figures["load"] / cost[0]
    bars = [
        Bar(f"CPU per request at concurrency {_BUSY}", cost[0], at_most=0.5, unit=" ms"),
        Bar(f"CPU per request at concurrency {_BUSY}, against the peer's", cost[0] / cost[1], at_most=0.45, unit=" ×"),
        Bar("p50 at concurrency 1, against the peer's", alone[0] / alone[1], at_most=0.8, unit=" ×"),
        Bar(f"throughput at concurrency {_BUSY}, against the peer's", rate[0] / rate[1], at_least=2.0, unit=" ×"),
        # Not about our process: beyond this bar, the load generator would be the limit.
        Bar("CPU of the load generator, against ours", generator, at_most=0.25, unit=" ×"),
    ]
    panels = [
        Panel(
            title,
            "concurrency",
            label,
            [str(each) for each in concurrencies],
            {kind.name: [values[kind.name, each].figures[figure] for each in concurrencies] for kind in KINDS},
        )
        for figure, title, label in (
            ("rate", "throughput", "requests/s"),
            ("CPU", "CPU per request", "ms"),
            ("p50", "p50", "ms"),
            ("p99", "p99", "ms"),
        )
    ]
    return Section(NAME, ["concurrency", "process", *HEADER], rows, panels, bars)
