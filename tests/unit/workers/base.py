"""A supervisor in memory, with fake processes, and sockets, for the tests of workers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.settings import Settings
from provider_gateway.observability.metrics import Metrics
from provider_gateway.workers import supervisor as supervisor_module
from provider_gateway.workers.control import Answers
from provider_gateway.workers.descriptors import ANSWERS, QUESTIONS
from provider_gateway.workers.merged_metrics import plain
from provider_gateway.workers.shared_port import bind
from provider_gateway.workers.supervisor import Supervisor
from tests.support.http_client import Client, Response

if TYPE_CHECKING:
    import socket

    from twisted.internet.protocol import ProcessProtocol


def open_socket(test: SynchronousTestCase, address: str = "127.0.0.1") -> socket.socket:
    """A socket on a free port, closed with the test."""
    made = bind(address, 0)
    test.addCleanup(made.close)
    return made


class FakeProcess:
    """A worker's process in memory: records its signals, and answers like :class:`Answers`.

    Attributes:
        signals: names of the signals that it got.
        reloads: how often it was told to read its files again.
        metrics: what it counts.
        missing: what keeps it from being ready.
        degraded: what it cannot do for now.
        hangs: True if it does not answer.
    """

    def __init__(self, protocol: ProcessProtocol, arguments: list[str], descriptors: dict[int, Any], path: str) -> None:
        self.protocol, self.arguments, self.descriptors, self.path = protocol, arguments, descriptors, path
        self.signals: list[str] = []
        self.reloads = 0
        self.metrics = Metrics()
        self.missing: list[str] = []
        self.degraded: list[str] = []
        self.hangs = False
        self._end = Answers(
            {
                "metrics": lambda: plain(self.metrics.registry.collect()),
                "waiting_for": lambda: self.missing,
                "degraded": lambda: self.degraded,
            },
            self._reload,
            lambda: None,
        )
        protocol.makeConnection(self)  # type: ignore[arg-type]

    def _reload(self) -> None:
        self.reloads += 1

    def write(self, data: bytes) -> None:
        self.protocol.childDataReceived(ANSWERS, data)

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        assert descriptor == QUESTIONS
        if not self.hangs:
            self._end.dataReceived(data)

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)

    def start(self) -> None:
        """Say "started", then "running"."""
        self._end.makeConnection(self)  # type: ignore[arg-type]
        self._end.say("running")

    def say(self, descriptor: int, text: str) -> None:
        """Write to its log (1) or to standard error (2)."""
        self.protocol.childDataReceived(descriptor, text.encode())

    def end(self, status: int = 0, number: int | None = None) -> None:
        """End with an exit status, or by a signal's number."""
        self.protocol.childConnectionLost(QUESTIONS)
        reason = ProcessDone(0) if not status and number is None else ProcessTerminated(status or None, number)
        self.protocol.processEnded(Failure(reason))


class Reactor(MemoryReactorClock):
    """Starts fake processes."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []

    def spawnProcess(self, protocol: ProcessProtocol, _executable: str, arguments: list[str], **more: Any) -> Any:
        process = FakeProcess(protocol, arguments, more["childFDs"], more["path"])
        self.processes.append(process)
        return process


class SupervisorTestCase(SynchronousTestCase):
    """Has a supervisor with two workers."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.output: list[str] = []
        self.errors: list[str] = []
        self.fatal: list[str] = []
        self.sockets: list[Any] = []
        self.patch(supervisor_module, "bind", self._bind)
        self.begin()

    def _bind(self, address: str, port: int) -> Any:
        self.asked_for = (address, port)
        self.sockets.append(open_socket(self))
        return self.sockets[-1]

    def begin(self, roles: tuple[Any, ...] = ("gateway", "provider")) -> None:
        """Start a supervisor."""
        self.supervisor = Supervisor(
            self.reactor,
            Settings(_env_file=None, rmq_url="amqp://localhost/", workers=2, drain_timeout=20),
            roles,
            command=["twistd", "--role", "x"],
            observer=None,
            output=self.output.append,
            errors=self.errors.append,
            fatal=self.fatal.append,
            jitter=lambda: 0.1,
        )
        self.supervisor.startService()

    @property
    def processes(self) -> list[FakeProcess]:
        return self.reactor.processes

    def start_all(self) -> None:
        """Make every process ready."""
        for process in self.processes:
            process.start()

    def get(self, path: str, seconds: float = 0) -> Response:
        """The response of the admin listener to GET, some seconds later."""
        client = Client(self.reactor.tcpServers[0][1])
        client.request("GET", path, b"")
        self.reactor.advance(seconds)
        return client.response()

    def waiting_for(self, seconds: float = 0) -> list[str]:
        """The reasons in the response of /health/ready; empty if it is 200."""
        response = self.get("/health/ready", seconds)
        document = json.loads(response.body)
        self.assertEqual(response.status, 503 if "waiting_for" in document else 200)
        reasons: list[str] = document.get("waiting_for", [])
        return reasons

    def samples(self, seconds: float = 0) -> dict[str, dict[str, float]]:
        """The samples of /metrics without labels other than ``worker``: values by name and worker."""
        found: dict[str, dict[str, float]] = {}
        for family in text_string_to_metric_families(self.get("/metrics", seconds).body.decode()):
            for sample in family.samples:
                if set(sample.labels) <= {"worker"}:
                    found.setdefault(sample.name, {})[sample.labels.get("worker", "")] = sample.value
        return found
