"""Real ``twistd`` processes whose output is waited for with a condition, so that they may outlive one test."""

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

#: Seconds after which something that ought to happen has not.
PATIENCE = 20.0


class GatewayProcess:
    """``twistd -n provider-gateway``.

    Args:
        arguments: of provider-gateway.
        environment: all of it.
        folder: to run in.

    Attributes:
        lines: what it has written to standard output.
        errors: what it has written to standard error.
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
        atexit.register(self._process.kill)  # whatever becomes of the test
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
        """Everything that it has written."""
        return "\n".join([*self.lines, *self.errors])

    def _read(self, output: IO[str], lines: list[str]) -> None:
        for line in output:
            with self._changed:
                lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def until(self, what: str, found: Callable[[], Any]) -> Any:
        """Wait for the first true result of a function that is asked after each line of output, and return it."""
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
            since: log lines that do not count.
        """
        found: dict[str, Any] = self.until(
            f"log line with {text!r}",
            lambda: next((line for line in self.log[since:] if text in line["message"]), None),
        )
        return found

    def port(self, what: str) -> int:
        """The port of its "https" or "admin" listener."""
        return int(self.logged(f"{what} listener")["port"])

    def hang_up(self) -> None:
        """Send SIGHUP: have it read its files again."""
        self._process.send_signal(signal.SIGHUP)

    def wait(self) -> int:
        """Wait for its end, and return the exit status."""
        status = self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join()
        return status

    def stop(self) -> int:
        """Have it end in order, and return the exit status."""
        self._process.terminate()
        try:
            return self.wait()
        finally:
            self._process.kill()
            self.wait()
