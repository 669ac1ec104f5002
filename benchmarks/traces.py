"""Question 7: what do traces cost? The same process without traces, with one of ten recorded, and with all.

The three run side by side; each round measures one after the other. The collector takes the spans, counts their bytes
and reads none: it must not slow the others down.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks.load import LoadError, connected
from benchmarks.section import Bar, Panel, Section, digits, median
from benchmarks.subjects import Kind, start_ours
from benchmarks.testbed import Testbed, cpu, cpu_ms, start_model

if TYPE_CHECKING:
    from benchmarks.load import Load
    from benchmarks.subjects import Subject

NAME = "traces"
#: Requests of a run.
FULL, QUICK = 10_000, 500
_WARM_UP = 500
_CONCURRENCY = 64
_OFF, _TENTH, _ALL = "off", "one of ten", "all"
_SAMPLERS = {_TENTH: "0.1", _ALL: "1"}

#: CPU milliseconds of a request, and the load, of each run.
Runs = dict[str, "list[tuple[float, Load]]"]


def measure(bed: Testbed, rounds: int, count: int) -> Runs:
    """All runs, by what is recorded."""
    runs: Runs = {}
    with ExitStack() as stack:
        model = start_model(stack, "instant_model")
        collector = start_model(stack, "instant_collector").url
        subjects = {}
        for number, recorded in enumerate((_OFF, *_SAMPLERS)):
            kind = Kind(f"traces {number}", f"traces{number}.now", f"traces{number}.in", f"traces{number}.out")
            settings = {}
            if recorded in _SAMPLERS:
                settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_TRACES_SAMPLER": "traceidratio"}
                settings["OTEL_TRACES_SAMPLER_ARG"] = _SAMPLERS[recorded]
            subjects[recorded] = start_ours(stack, kind, bed.broker, model.url, **settings)
        for subject in subjects.values():
            _run(subject, _WARM_UP)
        for _ in range(rounds):
            for recorded, subject in subjects.items():
                runs.setdefault(recorded, []).append(_run(subject, count))
    return runs


def _run(subject: Subject, count: int) -> tuple[float, Load]:
    pids = {"process": subject.pid}
    with connected(subject.url, [subject.kind.routing_key], _CONCURRENCY, count) as callers:
        before = cpu(pids)
        load = callers.call()
        spent = cpu_ms(before, cpu(pids), count)
    if load.errors:
        msg = f"{subject.kind.name}: {load.statuses}"
        raise LoadError(msg)
    return spent["process"], load


def present(runs: Runs) -> Section:
    """Medians of the rounds, and the bar."""
    cost = {recorded: median(each, lambda run: run[0]) for recorded, each in runs.items()}
    rows = [
        [
            recorded,
            digits(median(each, lambda run: run[1].rate)),
            digits(cost[recorded]),
            digits(median(each, lambda run: run[1].milliseconds[50])),
            digits(median(each, lambda run: run[1].milliseconds[99])),
            digits(cost[recorded] / cost[_OFF]),
        ]
        for recorded, each in runs.items()
    ]
    bar = Bar(
        "CPU per request with all traces recorded, against none", cost[_ALL] / cost[_OFF], at_most=1.15, unit=" ×"
    )
    panel = Panel("CPU per request", "recorded", "ms", list(cost), {"ours": list(cost.values())})
    return Section(
        NAME, ["recorded", "requests/s", "CPU/request ms", "p50 ms", "p99 ms", "CPU × off"], rows, [panel], [bar]
    )
