"""The figures of a test run, as trial's last line tells them."""

from __future__ import annotations

import re
from collections import Counter

#: The figures of trial's last line, in trial's order.
FIGURES = ("skips", "expectedFailures", "failures", "errors", "unexpectedSuccesses", "successes")
#: Figures that mean a failure.
BAD = ("failures", "errors", "unexpectedSuccesses")
#: trial's last line.
SUMMARY = re.compile(r"^(?:PASSED|FAILED)(?: \((.*)\))?$", re.MULTILINE)


def figures_of(output: str) -> Counter[str]:
    """The figures of trial's last summary line, such as ``PASSED (skips=1, successes=42)``, in its output."""
    summaries = SUMMARY.findall(output)
    pairs = (each.partition("=") for each in summaries[-1].split(", ") if each) if summaries else ()
    return Counter({name: int(count) for name, _, count in pairs})


def summary(figures: Counter[str]) -> str:
    """Figures in the form of trial's last line."""
    verdict = "FAILED" if any(figures[bad] for bad in BAD) else "PASSED"
    told = ", ".join(f"{name}={figures[name]}" for name in FIGURES if figures[name])
    return f"{verdict} ({told})" if told else verdict


def counts(figures: Counter[str]) -> str:
    """The last line of a run, which counts each test once."""
    failed = sum(figures[each] for each in BAD)
    return f"{figures['successes'] + figures['expectedFailures']} passed, {failed} failed, {figures['skips']} skipped"
