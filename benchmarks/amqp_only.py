"""Question 2: how fast is the provider role alone? An initiator publishes and takes the replies; no HTTP.

The peer's counterpart is the consumer of its work queue, which replies to ``reply_to``. The initiator keeps enough
requests unanswered for the work queue never to be empty.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.initiator import Initiator
from benchmarks.section import Panel, Section, digits, median
from benchmarks.subjects import KINDS, OURS, PEER, Subject, start_subject
from benchmarks.testbed import Testbed, cpu, cpu_ms, start_model

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "amqp-only"
FULL = 20_000
QUICK = 1000
_WARM_UP = 500
#: Requests without a reply at a time.
_WINDOW = 1000


@dataclass(frozen=True)
class Run:
    """One subject in one round; CPU in milliseconds per message."""

    rate: float
    cpu: dict[str, float]


Runs = dict[str, list[Run]]


def measure(bed: Testbed, rounds: int, count: int) -> Runs:
    """All runs by subject."""
    runs: Runs = {}
    with ExitStack() as stack:
        model = start_model(stack, "instant_model")
        subjects = [start_subject(stack, kind, bed.broker, model.url) for kind in KINDS]
        initiator = stack.enter_context(Initiator(bed.broker.port))
        for subject in subjects:
            initiator.ask(subject.kind.routing_key, _WARM_UP, _WINDOW)
        for _ in range(rounds):
            for subject in subjects:
                pids = {"process": subject.pid, "broker": bed.broker_pid, "model": model.pid}
                runs.setdefault(subject.kind.name, []).append(_run(initiator, subject, count, pids))
    return runs


def _run(initiator: Initiator, subject: Subject, count: int, pids: dict[str, int]) -> Run:
    before, own, started = cpu(pids), time.process_time(), time.monotonic()
    initiator.ask(subject.kind.routing_key, count, _WINDOW)
    seconds = time.monotonic() - started
    spent = cpu_ms(before, cpu(pids), count)
    return Run(count / seconds, {**spent, "load": (time.process_time() - own) / count * 1000})


_FIGURES: dict[str, Callable[[Run], float]] = {
    "messages/s": lambda run: run.rate,
    "CPU/message ms": lambda run: run.cpu["process"],
    "CPU/message of broker ms": lambda run: run.cpu["broker"],
    "of model ms": lambda run: run.cpu["model"],
    "of initiator ms": lambda run: run.cpu["load"],
}


def present(runs: Runs) -> Section:
    """Medians of the rounds."""
    values = {name: [median(each, figure) for figure in _FIGURES.values()] for name, each in runs.items()}
    ours, peer = values[OURS.name], values[PEER.name]
    ratios = [digits(own / other) for own, other in zip(ours[:2], peer[:2], strict=True)]
    rows = [[kind.name, *map(digits, values[kind.name])] for kind in KINDS]
    panels = [
        Panel(title, "", label, [""], {kind.name: [values[kind.name][number]] for kind in KINDS})
        for number, (title, label) in enumerate((("throughput", "messages/s"), ("CPU per message", "ms")))
    ]
    return Section(NAME, ["process", *_FIGURES], [*rows, ["ours/peer", *ratios, "", "", ""]], panels)
