"""The number of examples of each property: few and always the same in a test run, new ones in each fuzz run.

A test run needs no variable. One of these makes it a fuzz run:

- ``FUZZ_SECONDS``: time for all properties together; each gets the same share, and at least one round.
- ``FUZZ_EXAMPLES``: the number of examples of each property; overrides the seconds.
- ``FUZZ_SEED``: seed of the random numbers, by default a random one; a failure prints its seed.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
from atexit import register
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.configuration import set_hypothesis_home_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hypothesis.strategies import SearchStrategy

#: A round of a fuzz run has this many times the examples of a test run.
_ROUND = 5
_DEFAULT_SECONDS = 600.0

settings.register_profile(
    "test",
    derandomize=True,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
)
settings.register_profile("fuzz", settings.get_profile("test"), derandomize=False)

# Keeps hypothesis' own files out of the working directory.
_HOME = Path(tempfile.mkdtemp(prefix="hypothesis-"))
register(shutil.rmtree, _HOME, ignore_errors=True)
set_hypothesis_home_dir(_HOME)

_properties: set[str] = set()


def _number(name: str) -> float | None:
    text = os.environ.get(name, "").strip()
    return float(text) if text else None


def _rounds(examples: int) -> Iterator[tuple[int | None, int]]:
    """Seed and number of examples of each round; a test run has one round, without a seed."""
    seconds, wanted, first = _number("FUZZ_SECONDS"), _number("FUZZ_EXAMPLES"), _number("FUZZ_SEED")
    if seconds is None and wanted is None and first is None:
        yield None, examples
        return
    start = random.randrange(2**32) if first is None else int(first)
    if wanted is not None:
        yield start, int(wanted)
        return
    end = time.monotonic() + (_DEFAULT_SECONDS if seconds is None else seconds) / len(_properties)
    yield start, _ROUND * examples
    while time.monotonic() < end:
        start += 1
        yield start, _ROUND * examples


def fuzzed(examples: int, **strategies: SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[[Any], None]]:
    """Decorate a property: makes a test of it.

    Args:
        examples: the number of examples in a test run.
        strategies: the property's arguments.
    """

    def decorate(check: Callable[..., None]) -> Callable[[Any], None]:
        name = f"{check.__module__}.{check.__qualname__}"
        _properties.add(name)

        @wraps(check)
        def test(self: Any) -> None:
            tried = 0
            for start, count in _rounds(examples):
                profile = settings.get_profile("test" if start is None else "fuzz")
                attempt = settings(profile, max_examples=count)(given(**strategies)(check))
                if start is not None:
                    attempt = seed(start)(attempt)
                try:
                    attempt(self)
                except Exception as error:
                    _explain(error, name, start, count)
                    raise
                tried += count
            if start is not None:
                sys.stdout.write(f"\n{name}: up to {tried} examples, the last ones with FUZZ_SEED={start}\n")

        del test.__wrapped__  # type: ignore[attr-defined] # else trial would see the property's arguments
        return test

    return decorate


def _explain(error: Exception, name: str, start: int | None, count: int) -> None:
    """Add the example, and how to repeat it, to a failure's text: trial does not show them."""
    lines = [str(error), *getattr(error, "__notes__", ())]
    if start is not None:
        lines.append(f"Again: FUZZ_SEED={start} FUZZ_EXAMPLES={count} trial {name}")
    error.args = ("\n".join(lines),)
