"""Run the tests, several trial processes at a time: ``python -m devtools.run_tests [--tests NAMES] [OPTION ...]``.

Most tests wait for real processes more than they compute, so that several can run at the same time. trial's own ``-j``
distributes single tests: each of its workers would start all RabbitMQ nodes and gateways that the tests of a class
share, and no test could run alone. Here a unit is a group of modules that runs in one trial process, with its own
temporary folder. Other options are passed on to trial; with ``--until-failure`` all units are repeated until one fails.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.python.modules import getModule

from devtools.failures import failures_of, section
from devtools.figures import BAD, FIGURES, SUMMARY, counts, figures_of, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parents[1]
#: Temporary folders and outputs of the units.
FOLDER = ROOT / "_trial_temp_units"
#: The modules and suites that share a process, in the order in which they are started: the longest first. A module that
#: is not named runs in the unit of its suite. A suite that is not named is a unit.
UNITS = (
    "tests.security",
    "tests.faults.test_broker_faults",
    "tests.integration.test_broker",
    "tests.integration.test_retry tests.integration.test_workers",
    "tests.faults.test_reply_faults tests.faults.test_process_faults",
    "tests.faults.test_network_faults",
    "tests.faults.test_clock_steps",
    "tests.faults.test_frame_faults tests.faults.test_poison",
    "tests.integration",
    "tests.integration.test_postgresql_engine tests.integration.test_postgresql_store",
    "tests.integration.test_results tests.integration.test_kept_replies tests.integration.test_webhooks",
    "tests.integration.test_your_model tests.integration.test_parking_walk",
    "tests.integration.test_openapi",
    "tests.fuzz",
    "tests.faults.test_model_faults",
    "tests.faults.test_results tests.faults.test_results_times",
    "tests.faults.test_parking tests.faults.test_parking_kills",
    "tests.faults.test_results_faults",
    "tests.faults.test_absent_model",
    "tests.faults.test_held_messages",
    "tests.faults.test_busy_model",
    "tests.faults.test_cluster",
    "tests.browser",
    "tests.contract",
    "tests.deployment.test_image",
    "tests.deployment.test_distribution",
    "tests.deployment",
    "tests.unit",
    "tests.faults",
    "tests.faults.test_soak",
    "tests.faults.test_results_soak",
)
#: Units that keep a core busy. At most half of the cores run such units at the same time, with a lower priority: other
#: units measure how soon a process responds.
COMPUTING = frozenset({"tests.fuzz", "tests.unit", "tests.deployment.test_image"})
#: Units that run alone, after all others: they load the whole machine.
ALONE = frozenset({"tests.faults.test_soak", "tests.faults.test_results_soak"})
#: Seconds that interrupted units get to stop their nodes and gateways.
STOP_TIMEOUT = 60


@dataclass(frozen=True)
class Unit:
    """Test modules that run one after the other in one trial process.

    Attributes:
        name: its entry in :data:`UNITS`; or else its suite.
        modules: full names of its test modules, sorted.
    """

    name: str
    modules: tuple[str, ...]

    @property
    def slug(self) -> str:
        """Its name as a file name."""
        return self.name.replace(" ", "+")


@dataclass
class Result:
    """The outcome of one unit.

    Attributes:
        output: all that trial wrote.
        status: trial's exit status; negative: the signal that ended it.
    """

    unit: Unit
    seconds: float
    output: str
    status: int
    figures: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        self.figures = figures_of(self.output)
        is_told = any(self.figures[bad] for bad in BAD)
        if not is_told and (self.status or not SUMMARY.search(self.output)):
            # trial crashed, was killed, or refused its options: no test says so.
            self.figures["errors"] += 1
            last = self.output.rstrip().rpartition("\n")[2]
            self.output += section("ERROR", self.unit.name, f"trial ended with status {self.status}: {last}")

    @property
    def is_good(self) -> bool:
        """True if no test failed, and trial came to its end."""
        return not self.status and not any(self.figures[bad] for bad in BAD)


def find_modules() -> list[str]:
    """The names of the modules that ``trial tests`` loads, found as trial finds them."""
    found = (each.name for each in getModule("tests").walkModules())
    return sorted(name for name in found if name.rpartition(".")[2].startswith("test_"))


def plan(modules: Sequence[str]) -> list[Unit]:
    """Assign each module to one unit; returns the units in the order in which they are started."""
    names = {part: unit for unit in UNITS for part in unit.split()}
    dealt: dict[str, list[str]] = {unit: [] for unit in UNITS}
    for module in modules:
        suite = ".".join(module.split(".")[:2])
        name = names.get(module) or names.get(suite) or suite
        dealt.setdefault(name, []).append(module)
    units = [Unit(name, tuple(sorted(members))) for name, members in dealt.items() if members]
    return sorted(units, key=lambda unit: unit.name in ALONE)


def chosen(modules: Sequence[str], names: Sequence[str]) -> list[str]:
    """The modules with these names and below them; all if there are no names.

    Raises:
        ValueError: a name is that of no module and no suite.
    """
    for name in names:
        if not any(f"{module}.".startswith(f"{name}.") for module in modules):
            msg = f"there is no test module or suite {name!r}"
            raise ValueError(msg)
    return [module for module in modules if not names or any(f"{module}.".startswith(f"{name}.") for name in names)]


def next_unit(waiting: Sequence[Unit], running: Sequence[Unit], jobs: int, cores: int) -> Unit | None:
    """The unit to start now; None if a running unit has to end first.

    Args:
        waiting: the units not yet started, in order.
        jobs: how many may run at the same time.
    """
    if len(running) >= jobs or any(unit.name in ALONE for unit in running):
        return None
    computing = sum(unit.name in COMPUTING for unit in running)
    for unit in waiting:
        if unit.name in ALONE:
            return None if running else unit
        if unit.name not in COMPUTING or computing < max(1, cores // 2):
            return unit
    return None


class Run:
    """The trial processes of one run.

    Args:
        options: of trial.
        jobs: how many processes may run at the same time.
        tell: called with each result.
    """

    def __init__(self, options: Sequence[str], jobs: int, tell: Callable[[Result], None]) -> None:
        self._options = options
        self._jobs = jobs
        self._tell = tell
        self._running: dict[int, tuple[Unit, subprocess.Popen[bytes], float]] = {}

    def run(self, units: Sequence[Unit]) -> list[Result]:
        """Run all units; an exception, such as KeyboardInterrupt, ends their processes."""
        results: list[Result] = []
        waiting = list(units)
        try:
            while waiting or self._running:
                running = [unit for unit, *_ in self._running.values()]
                unit = next_unit(waiting, running, self._jobs, os.cpu_count() or 1)
                if unit is not None:
                    waiting.remove(unit)
                    self._start(unit)
                    continue
                results.append(self._wait())
                self._tell(results[-1])
        finally:
            self.stop()
        return results

    def _start(self, unit: Unit) -> None:
        priority = ["nice", "-n", "10"] if unit.name in COMPUTING else []
        trial = [*priority, sys.executable, "-m", "devtools.trial"]
        command = [*trial, *self._options, f"--temp-directory={FOLDER / unit.slug}", *unit.modules]
        with (FOLDER / f"{unit.slug}.log").open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this program only, which interrupts each unit once
            )
        self._running[process.pid] = (unit, process, time.monotonic())

    def _wait(self) -> Result:
        """Wait until one of the units ends."""
        while True:
            pid, status = os.wait()
            if pid in self._running:
                unit, process, started = self._running.pop(pid)
                process.returncode = os.waitstatus_to_exitcode(status)
                output = (FOLDER / f"{unit.slug}.log").read_text(encoding="utf-8", errors="replace")
                return Result(unit, time.monotonic() - started, output, process.returncode)

    def stop(self) -> None:
        """Interrupt the running units, so that they stop their nodes and gateways, and wait until they have ended."""
        processes = [process for _, process, _ in self._running.values()]
        self._running.clear()
        for process in processes:
            process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + STOP_TIMEOUT
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0, deadline - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # kills gateways of an interrupted test, and a unit that hangs
            process.wait()


def tell(result: Result) -> None:
    """Print the result of a unit; all of its output if it failed."""
    if not result.is_good:
        print(f"\n{'=' * 120}\n{result.output.rstrip()}\n{'=' * 120}\n")
    print(f"{result.seconds:6.1f} s  {summary(result.figures):<32} {result.unit.name}", flush=True)


def closing(results: Sequence[Result], seconds: float) -> str:
    """The last lines of a run: the units and tests that failed, then the figures."""
    total = sum((result.figures for result in results), Counter())
    lines = [""]
    if failed := [result for result in results if not result.is_good]:
        lines += ["Failed (the output is above):", *(f"  {result.unit.name}" for result in failed), ""]
        lines += [*(str(each) for result in failed for each in failures_of(result.output)), ""]
    lines += [f"Ran {sum(total[name] for name in FIGURES)} tests in {seconds:.1f}s", "", summary(total), counts(total)]
    return "\n".join(lines)


def main() -> int:
    """Run all tests; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m devtools.run_tests", allow_abbrev=False)
    parser.add_argument("--jobs", type=int, default=(os.cpu_count() or 1) + 1, help="processes at the same time")
    parser.add_argument("--tests", default="", help="modules and suites to run, separated by spaces; all if not given")
    parser.add_argument("-u", "--until-failure", action="store_true", help="repeat all tests until one fails")
    known, options = parser.parse_known_args()
    try:
        units = plan(chosen(find_modules(), known.tests.split()))
    except ValueError as error:
        parser.error(str(error))
    for each in (signal.SIGINT, signal.SIGTERM):  # shells make background jobs ignore SIGINT
        signal.signal(each, signal.default_int_handler)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    # Writes Twisted's plugin cache, so that the processes do not all write it at the same time.
    list(getPlugins(IServiceMaker))
    while True:
        started = time.monotonic()
        try:
            results = Run(options, known.jobs, tell).run(units)
        except KeyboardInterrupt:
            print("interrupted")
            return 130
        print(closing(results, time.monotonic() - started), flush=True)
        failed = not all(result.is_good for result in results)
        if failed or not known.until_failure:
            return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
