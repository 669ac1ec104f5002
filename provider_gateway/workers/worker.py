"""One worker: its process is started, asked, stopped, and restarted after a pause when it dies."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.application.internet import backoffPolicy
from twisted.internet.defer import CancelledError, Deferred, TimeoutError as DeferredTimeoutError
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger

from provider_gateway.workers.control import Questions
from provider_gateway.workers.descriptors import ANSWERS, QUESTIONS
from provider_gateway.workers.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IProcessTransport
    from twisted.python.failure import Failure

#: Seconds to wait for an answer: Prometheus or a probe waits meanwhile.
_ANSWER_TIMEOUT = 1.5
#: Seconds from the end of a worker to its restart: at first, and at most.
_MIN_PAUSE, _MAX_PAUSE = 0.5, 15.0
#: Seconds after which a running worker is healthy: its next restart has the shortest pause again.
_HEALTHY_AFTER = 60.0
#: Begins the line on standard error in which a process of ours says why it cannot go on; see tap.
_REFUSAL = "provider-gateway: "


class _Process(ProcessProtocol):
    """One process of a worker.

    Attributes:
        questions: asks the process.
        refusal: the reason, if the process said that it cannot go on.
        said: "started" or "running", whatever the process said last; "" before.
        running_since: when its start was complete, in seconds of the clock; None before.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.questions = Questions(self._write, self._told)
        self.refusal: str | None = None
        self.said = ""
        self.running_since: float | None = None
        self._reads_questions = True
        self._out = Lines(lambda line: worker.output(_text(line)))
        self._errors = Lines(self._error)
        self._receivers = {1: self._out.feed, 2: self._errors.feed, ANSWERS: self.questions.receive}

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Take bytes (twisted.internet.interfaces.IProcessProtocol)."""
        self._receivers[childFD](data)

    def childConnectionLost(self, childFD: int) -> None:
        """The process has closed a pipe (twisted.internet.interfaces.IProcessProtocol)."""
        if childFD == QUESTIONS:
            self._reads_questions = False

    def processEnded(self, reason: Failure) -> None:
        """The process has ended (twisted.internet.interfaces.IProcessProtocol)."""
        self._out.close()
        self._errors.close()
        self.questions.close()
        self._worker.ended(self, reason.value)

    def signal(self, name: str) -> None:
        """Send a signal; its name has no SIG."""
        assert self.transport is not None
        with suppress(ProcessExitedAlready):  # processEnded() comes next
            self.transport.signalProcess(name)

    def _write(self, data: bytes) -> None:
        if self._reads_questions:
            transport: Any = self.transport
            transport.writeToChild(QUESTIONS, data)

    def _told(self, what: str) -> None:
        self.said = what
        if what == "running":
            self.running_since = self._worker.clock.seconds()
            self._worker.on_running()

    def _error(self, line: bytes) -> None:
        text = _text(line)
        if text.startswith(_REFUSAL):
            self.refusal = text.removeprefix(_REFUSAL)
        else:
            self._worker.errors(text)


def _text(line: bytes) -> str:
    return line.decode(errors="replace")


class Worker:
    """One worker.

    Args:
        number: counts from 0.
        spawn: starts a process, given its protocol and the worker's number.
        clock: times pauses and answers.
        output: called with each line of the worker's log.
        errors: called with each line on standard error that is no refusal.
        on_running: called each time a start is complete.
        on_refusal: called with the reason when a process says at its start that it cannot go on (wrong settings, for
            example); returns True if the worker is not to be restarted.
        jitter: returns seconds to add to a pause.

    Attributes:
        restarts: how often the worker was restarted.
        runs: True while there is a process whose start is complete.
    """

    _log = Logger()

    def __init__(
        self,
        number: int,
        spawn: Callable[[ProcessProtocol, int], IProcessTransport],
        clock: Any,
        *,
        output: Callable[[str], object],
        errors: Callable[[str], object],
        on_running: Callable[[], object],
        on_refusal: Callable[[str], bool],
        jitter: Callable[[], float],
    ) -> None:
        self.number = number
        self._spawn = spawn
        self.clock = clock
        self.output = output
        self.errors = errors
        self.on_running = on_running
        self._on_refusal = on_refusal
        self._pause = backoffPolicy(_MIN_PAUSE, _MAX_PAUSE, 2.0, jitter)
        self._process: _Process | None = None
        self._recent_ends = 0
        self._restart_call: IDelayedCall | None = None
        self._kill_call: IDelayedCall | None = None
        self._stopped: Deferred[None] | None = None
        self.restarts = 0

    @property
    def runs(self) -> bool:
        """Whether there is a process whose start is complete."""
        return self._process is not None and self._process.running_since is not None

    def start(self) -> None:
        """Start a process.

        Raises:
            OSError: the system has no process or descriptor left.
        """
        self._process = _Process(self)
        try:
            self._spawn(self._process, self.number)
        except OSError:
            self._process = None
            raise

    def stop(self, seconds: float) -> Deferred[None]:
        """Have the worker drain and end; it is not restarted.

        Args:
            seconds: the time that it has; then it is killed.

        Returns:
            A Deferred that fires when the process has ended.
        """
        stopped: Deferred[None] = Deferred()
        self._stopped = stopped
        if self._restart_call is not None:
            self._restart_call.cancel()
            self._restart_call = None
        if self._process is None:
            stopped.callback(None)
        else:
            self._kill_call = self.clock.callLater(seconds, self._kill, seconds)
            self._process.signal("TERM")
        return stopped

    def reload(self) -> None:
        """Have the worker read changed files again."""
        if self._process is not None:
            self._process.questions.reload()

    async def waiting_for(self) -> list[str]:
        """What keeps the worker from being ready; empty when it is."""
        if self._restart_call is not None:
            seconds = self._restart_call.getTime() - self.clock.seconds()
            return [f"worker {self.number} is down, restarts in {max(seconds, 0):.1f} s"]
        if self._process is None:
            return [f"worker {self.number} is down"]
        if not self._process.said:
            return [f"worker {self.number} is starting"]
        reasons = await self._answer(self._process, "waiting_for")
        if reasons is None:
            return [f"worker {self.number} does not answer"]
        return self._named(reasons)

    async def degraded(self) -> list[str]:
        """What the worker cannot do for now; empty when all is well, and if it does not answer."""
        if self._process is None or not self._process.said:
            return []
        return self._named(await self._answer(self._process, "degraded") or [])

    def _named(self, reasons: list[str]) -> list[str]:
        return [f"worker {self.number}: {reason}" for reason in reasons]

    async def metrics(self) -> list[Any] | None:
        """The metrics of :func:`provider_gateway.workers.merged_metrics.plain`; None if the worker does not answer."""
        if self._process is None or not self._process.said:
            return None
        return await self._answer(self._process, "metrics")

    async def _answer(self, process: _Process, what: str) -> list[Any] | None:
        try:
            answer: list[Any] = await process.questions.ask(what, self.clock, _ANSWER_TIMEOUT)
        except (CancelledError, DeferredTimeoutError):
            return None
        return answer

    def ended(self, process: _Process, status: Any) -> None:
        """Restart the worker after a pause, unless it is to stop, or cannot start at all.

        Args:
            process: has ended.
            status: twisted.internet.error.ProcessDone or ProcessTerminated.
        """
        self._process = None
        if self._stopped is not None:
            if self._kill_call is not None and self._kill_call.active():
                self._kill_call.cancel()
            self._stopped.callback(None)
            return
        refused = status.exitCode == 1 and process.running_since is None and process.refusal is not None
        if refused and self._on_refusal(str(process.refusal)):
            return
        if process.running_since is not None and self.clock.seconds() - process.running_since >= _HEALTHY_AFTER:
            self._recent_ends = 0
        self._restart_later("ended {how}", how=_how(status, process.refusal))

    def _restart_later(self, why: str, **values: object) -> None:
        seconds = self._pause(self._recent_ends)
        self._recent_ends += 1
        text = f"worker {{worker}} {why}; it is started again in {{seconds:.1f}} s"
        self._log.error(text, worker=self.number, seconds=seconds, **values)
        self._restart_call = self.clock.callLater(seconds, self._restart)

    def _restart(self) -> None:
        self._restart_call = None
        try:
            self.start()
        except OSError as error:
            self._restart_later("cannot be started: {reason}", reason=str(error))
        else:
            self.restarts += 1

    def _kill(self, seconds: float) -> None:
        assert self._process is not None
        self._log.error(
            "worker {worker} has not ended within {seconds:g} s: killed", worker=self.number, seconds=seconds
        )
        self._process.signal("KILL")


def _how(status: Any, refusal: str | None) -> str:
    if status.signal is not None:
        return f"by {signal.Signals(status.signal).name}"
    return f"with status {status.exitCode}" + (f": {refusal}" if refusal is not None else "")
