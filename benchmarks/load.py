"""Load over HTTPS: runs a load generator as a process, and reads its result."""

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
    from contextlib import AbstractContextManager


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
        late: requests that the generator itself sent late, of those that were due at a fixed time.
        resumed: connections that continued a TLS session, of those made for each request.
    """

    seconds: float
    milliseconds: dict[float, float]
    statuses: dict[str, int]
    cpu: float
    wanted: str = "200"
    late: int = 0
    resumed: int = 0

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
        self.next_line()
        return self._result(wanted)

    def next_line(self) -> None:
        """Let the callers begin or, with a count of 0, end."""
        self._stdin.write("\n")
        self._stdin.flush()

    def _result(self, wanted: str) -> Load:
        result = json.loads(self.line())
        milliseconds = {float(percent): value for percent, value in result.pop("milliseconds").items()}
        return Load(milliseconds=milliseconds, wanted=wanted, **result)

    def line(self) -> str:
        """The next line of the load generator's output."""
        line = self._stdout.readline()
        if not line:
            msg = f"The load generator ended with {self._process.wait()}."
            raise LoadError(msg)
        return line


def connected(url: str, request: Sequence[str], concurrency: int, count: int) -> AbstractContextManager[Callers]:
    """Connect the callers; their connections are closed at the end.

    Args:
        request: routing key and further header lines, or ``--get`` and a file of paths: see :mod:`benchmarks.callers`.
    """
    return generator("callers", url, concurrency, count, *request)


@contextmanager
def generator(module: str, *arguments: object, **variables: str) -> Iterator[Callers]:
    """Start a load generator of this package, and wait until it is prepared; it ends with the context.

    Args:
        variables: of its environment.
    """
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    pipe = subprocess.PIPE
    environment = {**os.environ, **variables}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT, env=environment, text=True) as process:
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


@contextmanager
def beside(url: str, request: Sequence[str], concurrency: int) -> Iterator[list[Load]]:
    """Call all the time while the context lasts.

    Yields:
        A list, which has the load in it after the context.
    """
    found: list[Load] = []
    with connected(url, request, concurrency, 0) as callers:
        callers.next_line()
        try:
            yield found
        finally:
            found.append(callers.call())
