"""A worker's listeners: on descriptors that it inherits from the supervisor."""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING, Any

from twisted.internet.stdio import StandardIO

from provider_gateway.app.listeners import listening
from provider_gateway.errors import SettingsError
from provider_gateway.workers.connection_counts import ConnectionCounts
from provider_gateway.workers.control import Answers
from provider_gateway.workers.descriptors import ANSWERS, COUNTS, LISTENER, QUESTIONS
from provider_gateway.workers.merged_metrics import plain
from provider_gateway.workers.shared_port import SharedPort

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import Metric


class _Control:
    """A worker's admin listener: the pipes to the supervisor, which alone asks."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def stopListening(self) -> None:
        self._transport.loseConnection()


class InheritedListeners:
    """Opens a worker's listeners.

    Args:
        reactor: watches descriptors and provides time.
        number: of the worker.
        reload: reads changed files again.
        on_lost: called when the supervisor has ended, and when the pipes are closed at shutdown.

    Raises:
        SettingsError: the process was not started by a supervisor.
    """

    def __init__(
        self, reactor: Any, number: int, *, reload: Callable[[], object], on_lost: Callable[[], object]
    ) -> None:
        self._reactor = reactor
        self._number = number
        self._reload = reload
        self._on_lost = on_lost
        self._answers: Answers | None = None
        if not all(_is_pipe(each) for each in (ANSWERS, QUESTIONS)):
            msg = "--worker: is for processes that another one starts: set WORKERS instead"
            raise SettingsError(msg)

    def open_admin(
        self,
        collect: Callable[[], Iterable[Metric]],
        waiting_for: Callable[[], list[str]],
        degraded: Callable[[], list[str]],
    ) -> _Control:
        """Begin to answer the supervisor (provider_gateway.app.listeners.Listeners)."""
        answers = {"metrics": lambda: plain(collect()), "waiting_for": waiting_for, "degraded": degraded}
        self._answers = Answers(answers, self._reload, self._on_lost)
        make: Any = StandardIO  # its types allow for Windows, where it takes no descriptors
        return _Control(make(self._answers, QUESTIONS, ANSWERS, self._reactor))

    def open_http(self, factory: Any, connections: Callable[[], int]) -> SharedPort:
        """Accept from the supervisor's socket (provider_gateway.app.listeners.Listeners)."""
        listener = socket.socket(fileno=LISTENER)
        counts = ConnectionCounts(COUNTS)
        host, port, *_ = listener.getsockname()
        with listening("HTTP", host, port):
            return SharedPort(
                self._reactor, listener, factory, connections=connections, counts=counts, number=self._number
            )

    def say_running(self) -> None:
        """Tell the supervisor that the start is complete."""
        assert self._answers is not None
        self._answers.say("running")


def _is_pipe(descriptor: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        return False
