"""Load over HTTPS: runs :mod:`benchmarks.callers` as a process, and reads its result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from devtools.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class LoadError(Exception):
    """The load generator ended early; its standard error says why."""


@dataclass(frozen=True)
class Load:
    """What the callers measured.

    Attributes:
        seconds: from the first request to the last response.
        milliseconds: time of a request by percentile; 100 is the longest.
        statuses: responses by HTTP status; "closed" and "timeout" are requests without a response.
        cpu: CPU time of the load generator itself, in seconds.
        wanted: the HTTP status of a request that went well.
    """

    seconds: float
    milliseconds: dict[int, float]
    statuses: dict[str, int]
    cpu: float
    wanted: str = "200"

    @property
    def count(self) -> int:
        """All requests."""
        return sum(self.statuses.values())

    @property
    def errors(self) -> int:
        """Requests that were not answered as wanted."""
        return self.count - self.statuses.get(self.wanted, 0)

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.count / self.seconds


class Callers:
    """Connected callers."""

    def __init__(self, process: subprocess.Popen[str], stdin: IO[str], stdout: IO[str]) -> None:
        self._process = process
        self._stdin = stdin
        self._stdout = stdout

    def call(self, wanted: str = "200") -> Load:
        """Let the callers send all requests, and wait for the responses; the connections stay open.

        Args:
            wanted: the HTTP status of a request that goes well.

        Raises:
            LoadError: the load generator ended without a result.
        """
        self._stdin.write("\n")
        self._stdin.flush()
        result = json.loads(self.line())
        milliseconds = {int(percent): value for percent, value in result["milliseconds"].items()}
        return Load(result["seconds"], milliseconds, result["statuses"], result["cpu"], wanted)

    def line(self) -> str:
        """The next line of the load generator's output."""
        line = self._stdout.readline()
        if not line:
            msg = f"The load generator ended with {self._process.wait()}."
            raise LoadError(msg)
        return line


@contextmanager
def connected(url: str, request: Sequence[str], concurrency: int, count: int) -> Iterator[Callers]:
    """Connect the callers; their connections are closed at the end.

    Args:
        request: routing key and further header lines, or ``--get`` and a file of paths: see :mod:`benchmarks.callers`.
    """
    command = [sys.executable, "-m", "benchmarks.callers", url, str(concurrency), str(count), *request]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT, env=dict(os.environ), text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        callers = Callers(process, process.stdin, process.stdout)
        try:
            callers.line()
            yield callers
        finally:
            # The load generator ends at the end of its input.
            process.stdin.close()
            process.wait()
