"""Real processes for tests: twistd, curl, scripts. Each ends with the test that started it."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.python.failure import Failure
    from twisted.trial.unittest import TestCase

TWISTD = str(Path(sys.executable).with_name("twistd"))


class Process(ProcessProtocol):
    """A child process whose output is kept, line by line.

    Attributes:
        lines: complete lines of its standard output.
        errors: its standard error.
        ended: its exit status (negative: the signal that ended it), or None.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.errors = ""
        self.ended: int | None = None
        self._partial = ""
        self._waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    @classmethod
    def start(
        cls, test: TestCase, command: Sequence[str], environment: dict[str, str], cwd: Path | str | None = None
    ) -> Any:
        """Start a command. If it still runs when the test ends, it is killed."""
        from twisted.internet import reactor  # noqa: PLC0415 - the tests run on the global reactor

        process = cls()
        reactor.spawnProcess(process, command[0], command, env=environment, path=str(cwd) if cwd else None)
        test.addCleanup(process.kill)
        return process

    def outReceived(self, data: bytes) -> None:
        *complete, self._partial = (self._partial + data.decode(errors="replace")).split("\n")
        self.lines += complete
        self._check()

    def errReceived(self, data: bytes) -> None:
        self.errors += data.decode(errors="replace")

    def processEnded(self, reason: Failure) -> None:
        status = reason.value
        self.ended = -status.signal if status.signal else status.exitCode
        self._check()

    def when(self, found: Callable[[], Any]) -> Deferred[Any]:
        """A Deferred of the first true result of a function, which is called after each output.

        The Deferred fails if the process ends first.
        """
        waiting: Deferred[Any] = Deferred()
        self._waiting.append((found, waiting))
        self._check()
        return waiting

    def when_ended(self) -> Deferred[int]:
        """A Deferred of the exit status."""
        return self.when(lambda: None if self.ended is None else (self.ended,)).addCallback(lambda found: found[0])

    def signal(self, name: str) -> None:
        """Send a signal, by its name without SIG."""
        assert self.transport is not None
        self.transport.signalProcess(name)

    def kill(self) -> Deferred[Any] | None:
        """Kill it if it still runs."""
        if self.ended is not None:
            return None
        with contextlib.suppress(ProcessExitedAlready):
            self.signal("KILL")
        return self.when_ended()

    def _check(self) -> None:
        waiting, self._waiting = self._waiting, []
        for found, deferred in waiting:
            result = found()
            if result:
                deferred.callback(result)
            elif self.ended is not None:
                said = "\n".join([*self.lines[-20:], self.errors])
                deferred.errback(AssertionError(f"the process ended with {self.ended}:\n{said}"))
            else:
                self._waiting.append((found, deferred))


class Gateway(Process):
    """``twistd -n provider-gateway``."""

    @property
    def log(self) -> list[dict[str, Any]]:
        """Its log lines."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def logged(self, text: str) -> Deferred[dict[str, Any]]:
        """A Deferred of the first log line whose message contains this text."""
        return self.when(lambda: next((line for line in self.log if text in line["message"]), None))

    async def port(self, what: str) -> int:
        """The port of its "https" or "admin" listener."""
        return int((await self.logged(f"{what} listener"))["port"])

    async def ready(self) -> Gateway:
        """Wait until it is ready; with ``WORKERS``, until all of them are: each logs "ready", the supervisor last."""
        await self.when(lambda: any(line["message"] == "ready" and "worker" not in line for line in self.log))
        return self
