"""The supervisor starts the workers, holds the port that they share, and answers for all on the admin port.

It serves no HTTPS request itself. The port stays open while workers restart, so that new connections wait.
"""

from __future__ import annotations

import os
from random import random
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from provider_gateway.app.listeners import TCPListeners, listening, say_where
from provider_gateway.app.process_service import ProcessService, State
from provider_gateway.workers.connection_counts import ConnectionCounts, make_counts
from provider_gateway.workers.descriptors import ANSWERS, COUNTS, LISTENER, QUESTIONS
from provider_gateway.workers.merged_metrics import MergedMetrics, plain
from provider_gateway.workers.shared_port import bind
from provider_gateway.workers.worker import Worker

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from prometheus_client import Metric
    from twisted.internet.interfaces import IListeningPort, IProcessTransport
    from twisted.internet.protocol import ProcessProtocol
    from twisted.logger import ILogObserver
    from twisted.python.failure import Failure

    from provider_gateway.config.settings import Role, Settings

#: Seconds after ``DRAIN_TIMEOUT`` that a worker has to end, before it is killed.
_GRACE = 5.0
#: Stands for the metrics of a worker that does not answer: alerts watch for a 0, not for a missing series.
_NOT_READY = plain([GaugeMetricFamily("provider_gateway_ready", "1 if nothing keeps it from being ready, else 0", 0)])


class Supervisor(ProcessService):
    """What ``twistd provider-gateway`` runs with more than one worker.

    Args:
        reactor: provides processes, TCP and time.
        roles: of each worker.
        command: starts a worker, when ``--worker`` and the number are added.
        observer: log observer for twistd to use; None leaves twistd's own.
        output: called with each line of the workers' logs.
        errors: called with each line that workers write to standard error.
        fatal: called with one line that says why the process cannot go on; must stop it.
        jitter: returns seconds to add to the pause before a worker restarts.

    Raises:
        SettingsError: more than one worker needs Linux.
    """

    name = "provider-gateway"
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        roles: Sequence[Role],
        *,
        command: Sequence[str],
        observer: ILogObserver | None,
        output: Callable[[str], object],
        errors: Callable[[str], object],
        fatal: Callable[[str], object],
        jitter: Callable[[], float] = lambda: 0.25 * random(),  # noqa: S311 - spreads restarts, protects no secret
    ) -> None:
        super().__init__(observer)
        self._reactor = reactor
        self._settings = settings
        self._is_gateway = "gateway" in roles
        self._command = list(command)
        # twistd may change its directory; relative paths of settings mean the same to workers all the same.
        self._folder = os.getcwd()
        self._fatal = fatal
        self._state = State.STARTING
        self._admin: IListeningPort | None = None
        self._listener: socket.socket | None = None
        self._counts_descriptor = make_counts(settings.workers)
        self._counts = ConnectionCounts(self._counts_descriptor)
        self._own = CollectorRegistry()
        ProcessCollector(registry=self._own)
        self._workers = [
            Worker(
                number,
                self._spawn,
                reactor,
                output=output,
                errors=errors,
                on_running=self._check_running,
                on_refusal=self._refused,
                jitter=jitter,
            )
            for number in range(settings.workers)
        ]

    async def _start(self) -> None:
        settings = self._settings
        self._admin = TCPListeners(self._reactor, settings).open_admin(
            self._collect,
            lambda: Deferred.fromCoroutine(self._waiting_for()),
            lambda: Deferred.fromCoroutine(self._of_each(Worker.degraded)),
        )
        if self._is_gateway:
            with listening("HTTP", settings.http_addr, settings.http_port):
                self._listener = bind(settings.http_addr, settings.http_port)
            say_where(settings.scheme, *self._listener.getsockname()[:2])
        for worker in self._workers:
            worker.start()

    def _start_failed(self, failure: Failure) -> None:
        if failure.check(CannotListenError):
            self._fatal(failure.getErrorMessage())
            return
        self._log.failure("The start failed", failure)
        self._fatal("the start failed for an unforeseen reason, see the log")

    async def _stop(self) -> None:
        self._state = State.STOPPING
        if self._listener is not None:
            self._listener.close()
        seconds = self._settings.drain_timeout + _GRACE
        await gatherResults([worker.stop(seconds) for worker in self._workers])
        if self._admin is not None:
            await maybeDeferred(self._admin.stopListening)
        self._log.info("stopped")

    def reload(self) -> None:
        """Have all workers read certificates, revocation list and access file again, if these have changed."""
        for worker in self._workers:
            worker.reload()

    def _spawn(self, protocol: ProcessProtocol, number: int) -> IProcessTransport:
        self._counts.leave(number)
        with open(os.devnull) as nothing:
            descriptors: dict[int, int | str] = {0: nothing.fileno(), 1: "r", 2: "r", ANSWERS: "r", QUESTIONS: "w"}
            if self._listener is not None:
                descriptors |= {LISTENER: self._listener.fileno(), COUNTS: self._counts_descriptor}
            command = [*self._command, "--worker", str(number)]
            transport: IProcessTransport = self._reactor.spawnProcess(
                protocol, command[0], command, env=None, path=self._folder, childFDs=descriptors
            )
        return transport

    def _check_running(self) -> None:
        if self._state is State.STARTING and all(worker.runs for worker in self._workers):
            self._state = State.RUNNING
            self._log.info("ready")

    def _refused(self, reason: str) -> bool:
        """Stop all workers if one cannot start at all; once all were ready, a worker that cannot start is retried."""
        if self._state is State.RUNNING:
            return False
        if self._state is State.STARTING:
            self._state = State.STOPPING  # the other workers meet the same error
            self._fatal(reason)
        return True

    async def _of_each(self, ask: Callable[[Worker], Coroutine[Any, Any, list[str]]]) -> list[str]:
        """Ask all workers, and join what they say."""
        of_each = await gatherResults([Deferred.fromCoroutine(ask(worker)) for worker in self._workers])
        return [reason for reasons in of_each for reason in reasons]

    async def _waiting_for(self) -> list[str]:
        reasons = await self._of_each(Worker.waiting_for)
        if self._state is State.STOPPING:
            reasons.append(f"the process is {self._state.value}")
        return reasons

    def _collect(self) -> Deferred[Iterable[Metric]]:
        return Deferred.fromCoroutine(self._gather_metrics())

    async def _gather_metrics(self) -> Iterable[Metric]:
        answers = await gatherResults([Deferred.fromCoroutine(worker.metrics()) for worker in self._workers])
        wanted = GaugeMetricFamily("provider_gateway_workers", "Workers that there are to be", len(self._workers))
        up = GaugeMetricFamily("provider_gateway_worker_up", "1 if the worker answers, else 0", labels=["worker"])
        restarts = CounterMetricFamily(
            "provider_gateway_worker_restarts", "Workers that died and were started again", labels=["worker"]
        )
        merged = MergedMetrics()
        merged.add("supervisor", plain(self._own.collect()))
        for worker, answer in zip(self._workers, answers, strict=True):
            name = str(worker.number)
            up.add_metric([name], 0 if answer is None else 1)
            restarts.add_metric([name], worker.restarts)
            merged.add(name, _NOT_READY if answer is None else answer)
        return [wanted, up, restarts, *merged.families()]
