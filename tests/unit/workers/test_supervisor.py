"""Workers under a supervisor, with processes that are none: pauses, answers, refusals, ends, and one exposition."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.error import CannotListenError, ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.settings import Settings
from provider_gateway.observability.metrics import Metrics
from provider_gateway.workers import supervisor as supervisor_module
from provider_gateway.workers.control import Answers
from provider_gateway.workers.descriptors import ANSWERS, COUNTS, LISTENER, QUESTIONS
from provider_gateway.workers.lines import Lines
from provider_gateway.workers.log_relay import copy_to, log_again
from provider_gateway.workers.merged_metrics import MergedMetrics, plain
from provider_gateway.workers.supervisor import Supervisor
from tests.support.http_client import Client, Response
from tests.unit.workers.base import open_socket

if TYPE_CHECKING:
    from twisted.internet.protocol import ProcessProtocol


class FakeProcess:
    """A worker's process: keeps the signals that it gets, and answers like :class:`Answers`.

    Attributes:
        metrics: what it counts.
        missing: what keeps it from being ready.
        answers: False once it hangs.
    """

    def __init__(self, protocol: ProcessProtocol, arguments: list[str], descriptors: dict[int, Any], path: str) -> None:
        self.protocol, self.arguments, self.descriptors, self.path = protocol, arguments, descriptors, path
        self.signals: list[str] = []
        self.reloads = 0
        self.metrics = Metrics()
        self.missing: list[str] = []
        self.hangs = False
        self._end = Answers(
            {"metrics": lambda: plain(self.metrics.registry.collect()), "waiting_for": lambda: self.missing},
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
        """Say what a worker says until it is ready."""
        self._end.makeConnection(self)  # type: ignore[arg-type]
        self._end.say("running")

    def say(self, descriptor: int, text: str) -> None:
        """Write to its log (1) or to standard error (2)."""
        self.protocol.childDataReceived(descriptor, text.encode())

    def end(self, status: int = 0, number: int | None = None) -> None:
        """End with a status, or by a signal."""
        self.protocol.childConnectionLost(QUESTIONS)
        reason = ProcessDone(0) if not status and number is None else ProcessTerminated(status or None, number)
        self.protocol.processEnded(Failure(reason))


class Reactor(MemoryReactorClock):
    """Starts processes that are none."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []

    def spawnProcess(self, protocol: ProcessProtocol, _executable: str, arguments: list[str], **more: Any) -> Any:
        process = FakeProcess(protocol, arguments, more["childFDs"], more["path"])
        self.processes.append(process)
        return process


class SupervisorTestCase(SynchronousTestCase):
    """Has a supervisor of two workers."""

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
        """Have every process be ready."""
        for process in self.processes:
            process.start()

    def get(self, path: str, seconds: float = 0) -> Response:
        """GET from the admin listener; time passes before the answer is looked at."""
        client = Client(self.reactor.tcpServers[0][1])
        client.request("GET", path, b"")
        self.reactor.advance(seconds)
        return client.response()

    def waiting_for(self, seconds: float = 0) -> list[str]:
        """What /health/ready says."""
        response = self.get("/health/ready", seconds)
        document = json.loads(response.body)
        self.assertEqual(response.status, 503 if "waiting_for" in document else 200)
        reasons: list[str] = document.get("waiting_for", [])
        return reasons

    def samples(self, seconds: float = 0) -> dict[str, dict[str, float]]:
        """The values of /metrics with no label but the worker's, by name and worker."""
        found: dict[str, dict[str, float]] = {}
        for family in text_string_to_metric_families(self.get("/metrics", seconds).body.decode()):
            for sample in family.samples:
                if set(sample.labels) <= {"worker"}:
                    found.setdefault(sample.name, {})[sample.labels.get("worker", "")] = sample.value
        return found


class StartTests(SupervisorTestCase):
    """What is started, and when it is ready."""

    def test_start(self) -> None:
        """Each worker has its number, both pipes, the listening socket and the counts."""
        self.assertEqual([each.arguments[-2:] for each in self.processes], [["--worker", "0"], ["--worker", "1"]])
        for each in self.processes:
            self.assertEqual(each.path, str(Path.cwd()))
            self.assertEqual([each.descriptors[number] for number in (1, 2, ANSWERS, QUESTIONS)], ["r", "r", "r", "w"])
            self.assertEqual(each.descriptors[LISTENER], self.sockets[0].fileno())
            self.assertIn(COUNTS, each.descriptors)

    def test_provider(self) -> None:
        """Without the gateway's role there is no port to share."""
        self.begin(("provider",))
        self.assertEqual((len(self.sockets), len(self.processes)), (1, 4))
        self.assertNotIn(LISTENER, self.processes[-1].descriptors)

    def test_address_in_use(self) -> None:
        """A port that is taken ends it in one line, before anything is started."""

        def refuse(address: str, port: int) -> Any:
            raise CannotListenError(address, port, OSError(98, "Address already in use"))

        self.patch(supervisor_module, "bind", refuse)
        self.begin()
        (line,) = self.fatal
        self.assertTrue(line.startswith("cannot listen: Couldn't listen on 0.0.0.0:5050"), line)
        self.assertEqual(len(self.processes), 2)

    def test_no_process(self) -> None:
        """A system that starts no process ends the supervisor in one line; the cause is in the log."""

        def refuse(*_: Any, **_more: Any) -> Any:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        self.patch(Reactor, "spawnProcess", refuse)
        self.begin()
        self.assertEqual(self.fatal, ["the start failed for an unforeseen reason, see the log"])
        self.assertEqual(len(self.flushLoggedErrors(BlockingIOError)), 1)

    def test_ready(self) -> None:
        """It is ready when every worker is; what is missing has the number of the worker."""
        self.assertEqual(self.waiting_for(), ["worker 0 is starting", "worker 1 is starting"])
        self.start_all()
        self.assertEqual(self.waiting_for(), [])
        self.processes[1].missing = ["AMQP connection publish", "consumer of work"]
        self.assertEqual(self.waiting_for(), ["worker 1: AMQP connection publish", "worker 1: consumer of work"])
        self.assertEqual(self.get("/health/live").status, 200)

    def test_no_answer(self) -> None:
        """A worker that does not answer within 1.5 s is told as such; its answer may come later."""
        self.start_all()
        self.processes[0].hangs = True
        self.assertEqual(self.waiting_for(1.5), ["worker 0 does not answer"])
        self.processes[0].write(b'{"id": 1, "answer": []}\n{"id": 2, "answer": []}\n')
        self.processes[0].hangs = False
        self.assertEqual(self.waiting_for(), [])

    def test_reload(self) -> None:
        """Every worker is told to read its files again."""
        self.start_all()
        self.supervisor.reload()
        self.assertEqual([each.reloads for each in self.processes], [1, 1])


class DeathTests(SupervisorTestCase):
    """Workers that end."""

    def test_pauses(self) -> None:
        """Pauses double from 0.5 s to 15 s, jitter added; each end is counted by what follows it."""
        self.start_all()
        pauses = []
        for _ in range(8):
            self.processes[-1].end(number=signal.SIGKILL)
            (reason,) = self.waiting_for()
            pause = float(reason.removeprefix("worker 1 is down, restarts in ").removesuffix(" s"))
            pauses.append(pause)
            count = len(self.processes)
            self.reactor.advance(pause - 0.01)
            self.assertEqual(len(self.processes), count)
            self.reactor.advance(0.02)
            self.assertEqual(len(self.processes), count + 1)
            self.processes[-1].start()
        self.assertEqual(pauses, [0.6, 1.1, 2.1, 4.1, 8.1, 15.1, 15.1, 15.1])
        self.assertEqual(self.samples()["provider_gateway_worker_restarts_total"], {"0": 0, "1": 8})

    def test_steady(self) -> None:
        """A worker that ran for a minute begins with the shortest pause again."""
        self.start_all()
        for ran, pause in ((0, "0.6"), (59, "1.1"), (60, "0.6")):
            self.reactor.advance(ran)
            self.processes[-1].end(number=signal.SIGSEGV)
            self.assertEqual(self.waiting_for(), [f"worker 1 is down, restarts in {pause} s"])
            self.reactor.advance(1.2)
            self.processes[-1].start()

    def test_log(self) -> None:
        """The log says how a worker ended."""
        logged: list[Any] = []
        self.patch(supervisor_module.Worker, "_log", _Recorder(logged))
        self.start_all()
        self.processes[0].end(number=signal.SIGKILL)
        self.processes[1].end(3)
        self.assertEqual([(each["worker"], each["how"]) for each in logged], [(0, "by SIGKILL"), (1, "with status 3")])

    def test_refused_start(self) -> None:
        """A worker that ends as wrong settings do ends everything, with its line, once."""
        for process in self.processes:
            process.say(2, "provider-gateway: queue 'work' differs\n")
            process.end(1)
        self.assertEqual(self.fatal, ["queue 'work' differs"])
        self.reactor.advance(60)
        self.assertEqual((len(self.processes), self.errors), (2, []))
        self.successResultOf(self.supervisor.stopService())

    def test_crash_at_start(self) -> None:
        """A worker that crashes at its start says nothing of that kind, and is started again."""
        self.processes[0].say(2, "Traceback …\nprovider-gateway")
        self.processes[0].end(1)
        self.processes[1].say(2, "provider-gateway: not this way\n")
        self.processes[1].end(number=signal.SIGABRT)
        self.reactor.advance(1)
        self.assertEqual((self.fatal, len(self.processes)), ([], 4))
        self.assertEqual(self.errors, ["Traceback …", "provider-gateway"])

    def test_crash_while_others_start(self) -> None:
        """A worker that was ready and then dies with such a line is started again, even if others are not ready yet."""
        self.processes[0].start()
        self.processes[0].say(2, "provider-gateway: whatever\n")
        self.processes[0].end(1)
        self.reactor.advance(1)
        self.assertEqual((self.fatal, len(self.processes)), ([], 3))

    def test_refused_later(self) -> None:
        """Once all were ready, a refusal is no reason to end those that serve: it is tried again, and told."""
        self.start_all()
        self.processes[0].end(number=signal.SIGKILL)
        self.reactor.advance(1)
        self.processes[2].say(2, "provider-gateway: HTTP_CERT: no certificate\n")
        self.processes[2].end(1)
        self.reactor.advance(2)
        self.assertEqual((self.fatal, len(self.processes)), ([], 4))

    def test_metrics(self) -> None:
        """Metrics are of all, with a label; a worker that is away has ready and up at 0 and nothing else."""
        self.start_all()
        self.processes[0].metrics.http_in_flight.set(3)
        self.processes[1].metrics.http_in_flight.set(4)
        found = self.samples()
        self.assertEqual(found["provider_gateway_http_in_flight"], {"0": 3, "1": 4})
        self.assertEqual(found["provider_gateway_workers"], {"": 2})
        self.assertEqual(found["provider_gateway_worker_up"], {"0": 1, "1": 1})
        self.assertIn("supervisor", found["process_open_fds"])
        self.processes[0].end(number=signal.SIGKILL)
        found = self.samples()
        self.assertEqual(found["provider_gateway_worker_up"], {"0": 0, "1": 1})
        self.assertEqual(found["provider_gateway_ready"]["0"], 0)
        self.assertEqual(found["provider_gateway_http_in_flight"], {"1": 4})

    def test_metrics_of_a_worker_that_hangs(self) -> None:
        """A scrape takes 1.5 s at most; one that dies while it is asked does not hold it up."""
        self.start_all()
        self.processes[0].hangs = True
        self.assertEqual(self.samples(1.5)["provider_gateway_worker_up"], {"0": 0, "1": 1})
        client = Client(self.reactor.tcpServers[0][1])
        client.request("GET", "/metrics", b"")
        self.processes[0].end(number=signal.SIGKILL)
        self.assertEqual(client.response().status, 200)


class StopTests(SupervisorTestCase):
    """The end of all of them."""

    def test_stop(self) -> None:
        """Workers get SIGTERM, and are waited for; the socket is closed at once, the admin port at the end."""
        self.start_all()
        stopped = self.supervisor.stopService()
        self.assertEqual([each.signals for each in self.processes], [["TERM"], ["TERM"]])
        self.assertEqual(self.sockets[0].fileno(), -1)
        self.assertEqual(self.waiting_for(), ["the process is stopping"])
        self.processes[0].end()
        self.assertNoResult(stopped)
        self.processes[1].end()
        self.successResultOf(stopped)
        self.reactor.advance(60)
        self.assertEqual([each.signals for each in self.processes], [["TERM"], ["TERM"]])

    def test_kill(self) -> None:
        """A worker that has not ended 5 s after DRAIN_TIMEOUT is killed."""
        self.start_all()
        stopped = self.supervisor.stopService()
        self.processes[0].end()
        self.reactor.advance(24.9)
        self.assertEqual(self.processes[1].signals, ["TERM"])
        self.reactor.advance(0.2)
        self.assertEqual(self.processes[1].signals, ["TERM", "KILL"])
        self.processes[1].end(number=signal.SIGKILL)
        self.successResultOf(stopped)

    def test_during_a_pause(self) -> None:
        """A worker that was to be started again is not."""
        self.start_all()
        self.processes[0].end(3)
        stopped = self.supervisor.stopService()
        self.processes[1].end()
        self.successResultOf(stopped)
        self.reactor.advance(60)
        self.assertEqual(len(self.processes), 2)

    def test_already_dead(self) -> None:
        """A worker that dies at the same moment is no error."""
        self.start_all()

        def gone(_name: str) -> None:
            raise ProcessExitedAlready

        self.processes[0].signalProcess = gone  # type: ignore[method-assign]
        stopped = self.supervisor.stopService()
        for each in self.processes:
            each.end()
        self.successResultOf(stopped)


class _Recorder:
    """A logger that keeps what it is told."""

    def __init__(self, logged: list[Any]) -> None:
        self._logged = logged

    def error(self, _format: str, **values: Any) -> None:
        self._logged.append(values)


class MergedMetricsTests(SynchronousTestCase):
    """One exposition out of several."""

    def merged(self) -> list[Metric]:
        """The metrics of two processes, as they arrive."""
        merged = MergedMetrics()
        for number, text in enumerate(('"\\\n', "ML.MQ")):
            metrics = Metrics()
            metrics.published.labels(text, "confirmed").inc(number + 1)
            metrics.http_request_seconds.labels("/v1/predict").observe(number)
            merged.add(str(number), json.loads(json.dumps(plain(metrics.registry.collect()))))
        return merged.families()

    def test_parses(self) -> None:
        """Prometheus's own parsers read it, and find every family once, every sample with its label."""

        class Registry:
            def collect(_self) -> list[Metric]:  # noqa: N805
                return self.merged()

        registry: Any = Registry()
        for parse, text in (
            (text_string_to_metric_families, generate_latest(registry)),
            (parse_openmetrics, generate_openmetrics(registry)),
        ):
            families = list(parse(text.decode()))
            names = [each.name for each in families]
            self.assertEqual(len(names), len(set(names)))
            samples = [sample for family in families for sample in family.samples]
            self.assertEqual({sample.labels["worker"] for sample in samples}, {"0", "1"})
            published = {
                (sample.labels["exchange"], sample.labels["worker"]): sample.value
                for sample in samples
                if sample.name == "provider_gateway_published_total"
            }
            self.assertEqual(published, {('"\\\n', "0"): 1, ("ML.MQ", "1"): 2})

    def test_infinity(self) -> None:
        """Values that JSON has no word for arrive all the same."""
        metric = Metric("m", "d", "gauge")
        metric.add_sample("m", {}, float("inf"))
        merged = MergedMetrics()
        merged.add("0", json.loads(json.dumps(plain([metric]))))
        self.assertEqual(merged.families()[0].samples[0].value, float("inf"))


class LinesTests(SynchronousTestCase):
    """Lines out of pieces, and lines into logs."""

    def test_pieces(self) -> None:
        """Lines are put together, however they come; a rest counts when the pipe is closed."""
        text = b"one\n\ntwo\nthree"
        for size in range(1, len(text) + 1):
            taken: list[bytes] = []
            lines = Lines(taken.append)
            for start in range(0, len(text), size):
                lines.feed(text[start : start + size])
            self.assertEqual(taken, [b"one", b"", b"two"])
            lines.close()
            lines.close()
            self.assertEqual(taken[3:], [b"three"])

    def test_copy(self) -> None:
        """A line is written in one piece."""
        read, write = os.pipe()
        with os.fdopen(write, "w") as out, os.fdopen(read) as written:
            copy_to(out)('{"message": "x"}')
            self.assertEqual(written.readline(), '{"message": "x"}\n')

    def test_log_again(self) -> None:
        """For another observer, a line becomes an event of its level again; any other line is told as it is."""
        logged: list[Any] = []
        self.patch(log_again.__globals__["_log"], "observer", logged.append)
        log_again('{"level": "warn", "message": "m {x}", "worker": 1, "traceback": "a\\nb"}')
        for text in ("plain {text}", "3", '{"level": "loud", "message": "m", "worker": 1}'):
            log_again(text)
        found = [(each["log_level"], each["text"]) for each in logged]
        self.assertEqual(found[0], (LogLevel.warn, "worker 1: m {x}\na\nb"))
        self.assertEqual([level for level, _ in found[1:]], [LogLevel.info] * 3)
        self.assertEqual(found[1][1], "plain {text}")
