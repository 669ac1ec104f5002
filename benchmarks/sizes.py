"""Question 9: what does a body cost, from 24 bytes to 10 MB, as JSON or an image, and what do small requests notice?

The answers are small, but for one row whose answers have a megabyte. Sizes come in ascending order, because a process
does not give all memory back: what a small body took must not include what a large one left.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.bodies import BODY, embeddings, file_of, image
from benchmarks.load import LoadError, beside
from benchmarks.runs import HEADER, Medians, Run, call
from benchmarks.section import Bar, Panel, Section, digits
from benchmarks.subjects import KINDS, OURS, PEER, start_subject
from benchmarks.testbed import start_model

if TYPE_CHECKING:
    from benchmarks.subjects import Subject
    from benchmarks.testbed import Model, Testbed

NAME = "sizes"
JSON, IMAGE, ANSWER = "JSON", "image", "JSON, answer of 1 MB"
SMALL = "24 B"
_SIZES = {"10 KB": 10_000, "100 KB": 100_000, "1 MB": 1_000_000, "10 MB": 10_000_000}
_ANSWER = b'{"size": 1000000, "a": 1}'
#: Callers, but for bodies of 10 MB.
_CALLERS, _FEW = 16, 4
#: Callers with bodies of 1 MB beside the small requests.
_BESIDE = (1, 4)
ALONE = "nothing"
_WARM_UP = 300


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        counts: requests of a run, by size.
        beside: small requests of a run with large ones beside them.
    """

    counts: dict[str, int]
    beside: int


FULL = Scale({SMALL: 4000, "10 KB": 3000, "100 KB": 1200, "1 MB": 320, "10 MB": 24}, 2000)
QUICK = Scale({SMALL: 300, "10 KB": 100, "100 KB": 50, "1 MB": 16, "10 MB": 4}, 200)


@dataclass(frozen=True)
class Runs:
    """All runs, by subject, size and kind of the body, and by subject and what is beside."""

    sized: dict[tuple[str, str, str], list[Run]] = field(default_factory=dict)
    beside: dict[tuple[str, str], list[Run]] = field(default_factory=dict)


def measure(bed: Testbed, rounds: int, scale: Scale) -> Runs:
    """All runs."""
    runs = Runs()
    bodies = {(SMALL, JSON): file_of("small", BODY)}
    for size, number in _SIZES.items():
        bodies[size, JSON] = file_of(f"json-{number}", embeddings(number))
        bodies[size, IMAGE] = file_of(f"image-{number}", image(number))
        if size == "1 MB":
            bodies[SMALL, ANSWER] = file_of("answer", _ANSWER)
    with ExitStack() as stack:
        model = start_model(stack, "instant_model")
        subjects = [
            start_subject(stack, kind, bed.broker, model.url, accept="[application/json, image/jpeg]") for kind in KINDS
        ]
        for subject in subjects:
            call(bed, model, subject, [subject.kind.routing_key], _CALLERS, _WARM_UP)
        for (size, kind), path in bodies.items():
            count = scale.counts["1 MB" if kind == ANSWER else size]
            media_type = "Content-Type: image/jpeg" if kind == IMAGE else "Content-Type: application/json"
            for _ in range(rounds):
                for subject in subjects:
                    request = [subject.kind.routing_key, "--body", str(path), media_type]
                    run = call(bed, model, subject, request, min(count, _FEW if size == "10 MB" else _CALLERS), count)
                    runs.sized.setdefault((subject.kind.name, size, kind), []).append(run)
        for _ in range(rounds):
            for subject in subjects:
                request = [subject.kind.routing_key, "--body", str(bodies["1 MB", JSON])]
                _beside(bed, model, subject, request, scale.beside, runs)
    return runs


def _beside(bed: Testbed, model: Model, subject: Subject, large: list[str], count: int, runs: Runs) -> None:
    small = [subject.kind.routing_key]
    run = call(bed, model, subject, small, _CALLERS, count)
    runs.beside.setdefault((subject.kind.name, ALONE), []).append(run)
    for callers in _BESIDE:
        with beside(subject.url, large, callers) as loads:
            run = call(bed, model, subject, small, _CALLERS, count)
        if loads[0].errors or not loads[0].count:
            msg = f"{subject.kind.name}, bodies of 1 MB beside small ones: {loads[0].statuses}"
            raise LoadError(msg)
        what = f"{callers} caller{'s' * (callers > 1)} with 1 MB"
        runs.beside.setdefault((subject.kind.name, what), []).append(run)


def present(runs: Runs) -> Section:
    """Medians of the rounds, and the bars."""
    sized = {key: Medians.of(each) for key, each in runs.sized.items()}
    besides = {key: Medians.of(each) for key, each in runs.beside.items()}
    rows, bars = [], []
    for size, kind in dict.fromkeys((size, kind) for _, size, kind in sized):
        ours, peer = (sized[each.name, size, kind] for each in KINDS)
        rows += _rows(f"{size} {kind}", ours, peer)
        bars += _bars(size, kind, ours, peer)
    for what in dict.fromkeys(what for _, what in besides):
        ours, peer = (besides[each.name, what] for each in KINDS)
        # CPU time and memory are spent on the large ones, too: no figures of a small request.
        rows += [[*row[:6], "", "", "", "", "", ""] for row in _rows(f"{SMALL}, beside: {what}", ours, peer)]
        if what != ALONE:
            for kind_ in KINDS:
                ratio = besides[kind_.name, what].figures["p99"] / besides[kind_.name, ALONE].figures["p99"]
                if kind_ is OURS:
                    bars.append(Bar(f"p99 of {SMALL} beside {what}, against alone", ratio, at_most=3, unit=" ×"))
                else:
                    rows.append([f"{SMALL}, beside: {what}", "peer: p99 × alone", "", "", "", digits(ratio), *[""] * 6])
    return Section(NAME, ["body", "process", *HEADER], rows, _panels(sized), bars)


def _rows(name: str, ours: Medians, peer: Medians) -> list[list[str]]:
    return [
        [name, OURS.name, *ours.cells()],
        [name, PEER.name, *peer.cells()],
        [name, "ours/peer", *ours.ratios(peer)],
    ]


def _bars(size: str, kind: str, ours: Medians, peer: Medians) -> list[Bar]:
    name = f"{size} {kind}"
    ratio = {figure: ours.figures[figure] / peer.figures[figure] for figure in ("rate", "CPU", "peak")}
    bars = []
    if size == "100 KB":
        bars = [
            Bar(f"CPU per request, {name}, against the peer's", ratio["CPU"], at_most=0.6, unit=" ×"),
            Bar(f"throughput, {name}, against the peer's", ratio["rate"], at_least=1.8, unit=" ×"),
            Bar(f"peak of memory, {name}, against the peer's", ratio["peak"], at_most=1, unit=" ×"),
        ]
    elif size == "1 MB":
        bars = [
            Bar(f"CPU per request, {name}, against the peer's", ratio["CPU"], at_most=0.7, unit=" ×"),
            Bar(f"peak of memory, {name}, against the peer's", ratio["peak"], at_most=0.7, unit=" ×"),
            Bar(
                f"CPU of the load generator, {name}, against ours",
                ours.figures["load"] / ours.figures["CPU"],
                at_most=0.25,
                unit=" ×",
            ),
        ]
    return bars


def _panels(sized: dict[tuple[str, str, str], Medians]) -> list[Panel]:
    panels = []
    for kind, figure, title, label in (
        (JSON, "rate", "throughput, JSON", "requests/s"),
        (JSON, "CPU", "CPU per request, JSON", "ms"),
        (IMAGE, "CPU", "CPU per request, images", "ms"),
        (JSON, "peak", "peak of memory, JSON", "MB"),
    ):
        groups = list(dict.fromkeys(size for _, size, each in sized if each == kind))
        series = {
            subject.name: [sized[subject.name, size, kind].figures[figure] for size in groups] for subject in KINDS
        }
        panels.append(Panel(title, "body", label, groups, series, is_logarithmic=figure != "peak"))
    return panels
