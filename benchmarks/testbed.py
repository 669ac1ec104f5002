"""What both subjects share: a private RabbitMQ with TLS, a model, and a high limit of open files."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import usage
from devtools.processes import CERTS, FOLDER, start
from devtools.rabbitmq import RabbitMQ
from provider_gateway.demo.certificates import certificates

if TYPE_CHECKING:
    from contextlib import ExitStack

#: Open files that a process needs for 10,000 callers and as many calls of the model.
_FILES = 40_000


@dataclass(frozen=True)
class Model:
    """A running model."""

    url: str
    pid: int


@dataclass(frozen=True)
class Testbed:
    """A running broker."""

    broker: RabbitMQ

    @property
    def broker_pid(self) -> int:
        """Process id of Erlang; the process that was started is only the script around it."""
        return int((self.broker.folder / "pid").read_text())


def start_testbed(stack: ExitStack) -> Testbed:
    """Start the broker; it ends with the stack."""
    (FOLDER / "bench").mkdir(parents=True, exist_ok=True)
    certificates(CERTS)
    broker = RabbitMQ(FOLDER / "bench/rabbitmq", CERTS)
    stack.callback(broker.stop)
    broker.start()
    return Testbed(broker)


def start_model(stack: ExitStack, module: str, *arguments: str) -> Model:
    """Start a model of this package, such as ``instant_model``; it ends with the stack."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    process = start(stack, command, FOLDER / f"bench/{module}.log", dict(os.environ))
    assert process.stdout is not None
    return Model(process.stdout.readline().strip(), process.pid)


def raise_file_limit() -> int:
    """Let this process and its children open as many files as they need, or as the system allows.

    Returns:
        The limit that now applies.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < _FILES:
        with suppress(ValueError):  # only the superuser may, and not in every container
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, _FILES))
            hard = _FILES
    wanted = max(soft, min(hard, _FILES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def cpu(pids: dict[str, int]) -> dict[str, float]:
    """CPU time of each process in seconds, by name."""
    return {name: usage.cpu_seconds(pid) for name, pid in pids.items()}


def cpu_ms(before: dict[str, float], after: dict[str, float], count: int) -> dict[str, float]:
    """CPU time per request in milliseconds, by name; ``count`` is the number of requests."""
    return {name: (after[name] - before[name]) / count * 1000 for name in before}
