"""``make bench``: measures our process and a peer in the same run, and writes docs/benchmarks.md and its plots.

    python -m benchmarks.bench [--quick] [--rounds N] [--question NAME …]

``--quick`` runs everything on a small scale, to see that it works; a busy machine will do. Its figures mean nothing and
go to ``.demo/bench/quick``.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import (
    amqp_only,
    connections,
    document,
    many_callers,
    open_loop,
    parking,
    queue_depth,
    results,
    sizes,
    throughput,
    traces,
    workers,
)
from benchmarks.machine import facts
from benchmarks.subjects import environment
from benchmarks.testbed import raise_file_limit, start_testbed
from devtools.processes import FOLDER, ROOT

if TYPE_CHECKING:
    from types import ModuleType

QUESTIONS: dict[str, ModuleType] = {
    each.NAME: each
    for each in (
        throughput,
        sizes,
        open_loop,
        connections,
        workers,
        amqp_only,
        many_callers,
        queue_depth,
        results,
        parking,
        traces,
    )
}
_PROSE = ROOT / "benchmarks/document.md"
_ROUNDS = {
    **{each.NAME: 5 for each in (throughput, workers, amqp_only, traces)},
    **{each.NAME: 3 for each in (sizes, open_loop, connections, many_callers, queue_depth, results, parking)},
}


@dataclass(frozen=True)
class Arguments:
    """Arguments of the command line."""

    quick: bool
    rounds: int | None
    questions: list[str]

    @classmethod
    def parse(cls, arguments: list[str]) -> Arguments:
        parser = argparse.ArgumentParser(prog="python -m benchmarks.bench")
        parser.add_argument("--quick", action="store_true", help="small scale, into .demo/bench/quick")
        parser.add_argument("--rounds", type=int, help="rounds of each question")
        parser.add_argument("--question", action="append", choices=list(QUESTIONS), dest="questions")
        parsed = parser.parse_args(arguments)
        return cls(parsed.quick, parsed.rounds, parsed.questions or list(QUESTIONS))


def write(path: Path, section: Any, found: dict[str, str], rounds: int) -> None:
    """Write a section and its plot; sections that were not measured now stay as they were."""
    from benchmarks import plots  # noqa: PLC0415 - main() has said what to do if matplotlib is missing

    text = _PROSE.read_text()
    before = path.read_text() if path.exists() else ""
    for name in QUESTIONS:
        text = document.insert(text, name, document.extract(before, name) or "Not measured yet.")
    plot = Path(path.stem) / f"{section.name}.svg"
    plots.draw(section, path.parent / plot)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document.insert(text, section.name, document.render(section, found, rounds, str(plot))))


def main() -> None:
    """Start the broker, measure each question, and write its section as soon as it is done."""
    arguments = Arguments.parse(sys.argv[1:])
    try:
        import matplotlib  # noqa: F401, PLC0415 - fail now, not after half an hour
    except ImportError:
        raise SystemExit("matplotlib is missing: pip install -c constraints.txt matplotlib") from None
    path = FOLDER / "bench/quick/benchmarks.md" if arguments.quick else ROOT / "docs/benchmarks.md"
    print(f"Processes may open {raise_file_limit():,} files", flush=True)
    environment()
    with ExitStack() as stack:
        bed = start_testbed(stack)
        found = facts(bed.broker)
        for name in arguments.questions:
            question, started = QUESTIONS[name], time.monotonic()
            rounds = arguments.rounds or (1 if arguments.quick else _ROUNDS[name])
            runs = question.measure(bed, rounds, question.QUICK if arguments.quick else question.FULL)
            section = question.present(runs)
            write(path, section, found, rounds)
            print(f"{name}: {time.monotonic() - started:.0f} s, in {path}", flush=True)
            for bar in section.bars:
                print(f"  {'met' if bar.is_met else 'NOT MET'}: {bar.text}: {bar.measured:.3g}{bar.unit}", flush=True)


if __name__ == "__main__":
    main()
