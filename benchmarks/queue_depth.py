"""Question 4: what does a long queue cost?

It is measured in two ways. *Behind*: the messages wait in the work queue itself, and the process drains it; the cost of
a message is measured over the first few thousand. *Beside*: the messages wait in another queue of the same exchange,
which has no consumer, while callers are served over HTTPS.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pika import spec

from benchmarks.initiator import EXCHANGE, Initiator, emptied
from benchmarks.load import LoadError, connected
from benchmarks.section import Panel, Section, digits, median
from benchmarks.subjects import KINDS, OURS, PEER, PREFETCH, Kind, Subject, start_subject
from benchmarks.testbed import Testbed, cpu, cpu_ms, start_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.load import Load
    from benchmarks.testbed import Model

NAME = "queue-depth"
_WAITING = "bench.waiting"
_WAITING_KEY = "waiting.now"
_CONCURRENCY = 8


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        depths: numbers of waiting messages.
        drained: messages drained in a run, after a warm-up.
        requests: HTTP requests in a run.
    """

    depths: tuple[int, ...]
    drained: int
    requests: int


FULL = Scale((0, 100_000, 1_000_000), 10_000, 4000)
QUICK = Scale((0, 5000), 500, 300)


@dataclass(frozen=True)
class Drain:
    """One subject in one round; CPU in milliseconds per message."""

    rate: float
    cpu: dict[str, float]


@dataclass(frozen=True)
class Request:
    """One subject in one round; CPU in milliseconds per request."""

    load: Load
    cpu: dict[str, float]


@dataclass
class Runs:
    """All runs by subject and depth."""

    behind: dict[tuple[str, int], list[Drain]]
    beside: dict[tuple[str, int], list[Request]]


def measure(bed: Testbed, rounds: int, scale: Scale) -> Runs:
    """All runs."""
    runs = Runs({}, {})
    with ExitStack() as stack:
        model = start_model(stack, "instant_model")
        with ExitStack() as once:  # so that both subjects have declared their queues
            for kind in KINDS:
                start_subject(once, kind, bed.broker, model.url)
        for depth in scale.depths:
            for _ in range(rounds):
                for kind in KINDS:
                    drain = _drain(bed, model, kind, depth, scale.drained)
                    runs.behind.setdefault((kind.name, depth), []).append(drain)
            with _waiting(bed, depth), ExitStack() as side_by_side:
                subjects = [start_subject(side_by_side, kind, bed.broker, model.url) for kind in KINDS]
                for subject in subjects:
                    _request(bed, subject, scale.requests // 10)
                for _ in range(rounds):
                    for subject in subjects:
                        request = _request(bed, subject, scale.requests)
                        runs.beside.setdefault((subject.kind.name, depth), []).append(request)
    return runs


def _drain(bed: Testbed, model: Model, kind: Kind, depth: int, count: int) -> Drain:
    """Start a subject on a long queue, or on an empty one whose messages are all in work."""
    warm_up = max(2 * PREFETCH, count // 10)
    port = bed.broker.port
    with emptied(port, kind.queue), Initiator(port) as initiator, ExitStack() as stack:
        initiator.fill(kind.routing_key, depth)
        subject = start_subject(stack, kind, bed.broker, model.url)

        def drain(answers: int) -> None:
            if depth:
                initiator.wait_for(initiator.answered + answers)
            else:
                initiator.ask(kind.routing_key, answers, PREFETCH)

        drain(warm_up)
        initiator.wire.catch_up()  # count the replies that came while the subject started
        pids = {"process": subject.pid, "broker": bed.broker_pid}
        before, spent, started = initiator.answered, cpu(pids), time.monotonic()
        drain(count)
        answered, seconds = initiator.answered - before, time.monotonic() - started
        return Drain(answered / seconds, cpu_ms(spent, cpu(pids), answered))


@contextmanager
def _waiting(bed: Testbed, depth: int) -> Iterator[None]:
    """Let messages wait in a queue beside the work queues."""
    with emptied(bed.broker.port, _WAITING), Initiator(bed.broker.port) as initiator:
        initiator.wire.call(spec.Queue.Declare(queue=_WAITING, durable=True))
        initiator.wire.call(spec.Queue.Bind(queue=_WAITING, exchange=EXCHANGE, routing_key=_WAITING_KEY))
        initiator.fill(_WAITING_KEY, depth)
        yield


def _request(bed: Testbed, subject: Subject, count: int) -> Request:
    pids = {"process": subject.pid, "broker": bed.broker_pid}
    with connected(subject.url, [subject.kind.routing_key], _CONCURRENCY, count) as callers:
        before = cpu(pids)
        load = callers.call()
        spent = cpu_ms(before, cpu(pids), count)
    if load.errors:
        msg = f"{subject.kind.name}: {load.statuses}"
        raise LoadError(msg)
    return Request(load, spent)


_BEHIND: dict[str, Callable[[Drain], float]] = {
    "CPU/message ms": lambda run: run.cpu["process"],
    "drained messages/s": lambda run: run.rate,
    "broker CPU/message ms": lambda run: run.cpu["broker"],
}
_BESIDE: dict[str, Callable[[Request], float]] = {
    "CPU/request ms": lambda run: run.cpu["process"],
    "p50 ms": lambda run: run.load.milliseconds[50],
    "p99 ms": lambda run: run.load.milliseconds[99],
    "broker CPU/request ms": lambda run: run.cpu["broker"],
}


def present(runs: Runs) -> Section:
    """Medians of the rounds."""
    depths = sorted({depth for _, depth in runs.behind})
    values = {
        key: {name: median(each, figure) for name, figure in _BEHIND.items()}
        | {name: median(runs.beside[key], figure) for name, figure in _BESIDE.items()}
        for key, each in runs.behind.items()
    }
    rows = []
    for depth in depths:
        ours, peer = values[OURS.name, depth], values[PEER.name, depth]
        rows += [[f"{depth:,}", kind.name, *map(digits, values[kind.name, depth].values())] for kind in KINDS]
        rows.append([f"{depth:,}", "ours/peer", *(digits(own / peer[name]) for name, own in ours.items())])
    header = [*(f"behind: {name}" for name in _BEHIND), *(f"beside: {name}" for name in _BESIDE)]
    panels = [
        Panel(
            title,
            "messages waiting",
            name.rpartition(" ")[2],
            [f"{depth:,}" for depth in depths],
            {kind.name: [values[kind.name, depth][name] for depth in depths] for kind in KINDS},
        )
        for name, title in (
            ("CPU/message ms", "behind: CPU per message"),
            ("CPU/request ms", "beside: CPU per request"),
            ("p50 ms", "beside: p50"),
        )
    ]
    return Section(NAME, ["waiting", "process", *header], rows, panels)
