"""Real ``twistd`` processes that may outlive one test; their output is read in threads."""

from __future__ import annotations

import atexit
import json
import signal
import subprocess
import threading
from typing import IO, TYPE_CHECKING, Any

from tests.support.processes import TWISTD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

#: The time limit of each wait, in seconds.
PATIENCE = 20.0


class GatewayProcess:
    """``twistd -n provider-gateway``.

    Args:
        arguments: command-line arguments of provider-gateway.
        environment: the whole environment.
        folder: the working directory.

    Attributes:
        lines: lines of its standard output.
        errors: lines of its standard error.
    """

    def __init__(self, arguments: Sequence[str], environment: dict[str, str], folder: Path) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [TWISTD, "-n", "--pidfile=", "provider-gateway", *arguments],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        atexit.register(self._process.kill)  # even if the test run is interrupted
        outputs = ((self._process.stdout, self.lines), (self._process.stderr, self.errors))
        self._readers = [threading.Thread(target=self._read, args=each, daemon=True) for each in outputs]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """True until its end."""
        return self._process.poll() is None

    @property
    def log(self) -> list[dict[str, Any]]:
        """Its log lines."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    @property
    def output(self) -> str:
        """Standard output and standard error."""
        return "\n".join([*self.lines, *self.errors])

    def _read(self, output: IO[str], lines: list[str]) -> None:
        for line in output:
            with self._changed:
                lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def until(self, what: str, found: Callable[[], Any]) -> Any:
        """Wait for the first true result of a function, which is called after each line of output; returns it."""
        result = None

        def is_met() -> bool:
            nonlocal result
            result = found()
            return bool(result) or not any(reader.is_alive() for reader in self._readers)

        with self._changed:
            self._changed.wait_for(is_met, PATIENCE)
        if not result:
            last = "\n".join([*self.lines[-20:], *self.errors])
            msg = f"there was no {what} (exit status {self._process.poll()}):\n{last}"
            raise AssertionError(msg)
        return result

    def logged(self, text: str, since: int = 0) -> dict[str, Any]:
        """Wait for a log line whose message has this text.

        Args:
            since: the number of log lines to skip.
        """
        found: dict[str, Any] = self.until(
            f"log line with {text!r}",
            lambda: next((line for line in self.log[since:] if text in line["message"]), None),
        )
        return found

    def ready(self) -> None:
        """Wait until it is ready; with ``WORKERS``, until all of them are: each logs "ready", the supervisor last."""
        self.until(
            'log line "ready"',
            lambda: any(line["message"] == "ready" and "worker" not in line for line in self.log),
        )

    def port(self, what: str) -> int:
        """The port of its "https" or "admin" listener."""
        return int(self.logged(f"{what} listener")["port"])

    def hang_up(self) -> None:
        """Send SIGHUP: it reads its files again."""
        self._process.send_signal(signal.SIGHUP)

    def wait(self) -> int:
        """Wait for its end, and return the exit status."""
        status = self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join()
        return status

    def stop(self) -> int:
        """Send SIGTERM, wait for the end, and return the exit status."""
        self._process.terminate()
        try:
            return self.wait()
        finally:
            self._process.kill()
            self.wait()
