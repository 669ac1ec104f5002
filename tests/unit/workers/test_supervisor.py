"""The supervisor and its workers, with fake processes: start, readiness, restarts, metrics and stop."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from twisted.internet.error import CannotListenError, ProcessExitedAlready

from provider_gateway.workers import supervisor as supervisor_module
from provider_gateway.workers.descriptors import ANSWERS, COUNTS, LISTENER, QUESTIONS
from tests.support.http_client import Client
from tests.unit.workers.base import Reactor, SupervisorTestCase


class _Recorder:
    """A logger that records the values of errors."""

    def __init__(self, logged: list[Any]) -> None:
        self._logged = logged

    def error(self, _format: str, **values: Any) -> None:
        self._logged.append(values)


class StartTests(SupervisorTestCase):
    """What is started, and when it is ready."""

    def test_start(self) -> None:
        """A worker is started with its number, both pipes, the listening socket and the shared counts."""
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
        """A port in use is fatal, in one line, before a worker is started."""

        def refuse(address: str, port: int) -> Any:
            raise CannotListenError(address, port, OSError(98, "Address already in use"))

        self.patch(supervisor_module, "bind", refuse)
        self.begin()
        (line,) = self.fatal
        self.assertEqual(line, "HTTP_PORT: cannot listen on 0.0.0.0:5050: Address already in use")
        self.assertEqual(len(self.processes), 2)

    def test_no_process(self) -> None:
        """A worker whose process cannot be made is fatal, in one line; the cause is in the log."""

        def refuse(*_: Any, **_more: Any) -> Any:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        self.patch(Reactor, "spawnProcess", refuse)
        self.begin()
        self.assertEqual(self.fatal, ["the start failed for an unforeseen reason, see the log"])
        self.assertEqual(len(self.flushLoggedErrors(BlockingIOError)), 1)
        self.successResultOf(self.supervisor.stopService())

    def test_ready(self) -> None:
        """The supervisor is ready when every worker is; reasons name the worker by its number."""
        self.assertEqual(self.waiting_for(), ["worker 0 is starting", "worker 1 is starting"])
        self.start_all()
        self.assertEqual(self.waiting_for(), [])
        self.processes[1].missing = ["AMQP connection publish", "consumer of work"]
        self.assertEqual(self.waiting_for(), ["worker 1: AMQP connection publish", "worker 1: consumer of work"])
        self.assertEqual(self.get("/health/live").status, 200)

    def test_degraded(self) -> None:
        """What is degraded names the worker, too. A worker that hangs is asked once, in the time of one question."""
        self.start_all()
        for process in self.processes:
            process.degraded = ["model of work is away"]
        expected = ["worker 0: model of work is away", "worker 1: model of work is away"]
        response = self.get("/health/ready")
        self.assertEqual((response.status, json.loads(response.body)), (200, {"status": "OK", "degraded": expected}))
        self.processes[0].hangs = True
        document = json.loads(self.get("/health/ready", 1.5).body)
        self.assertEqual(
            document,
            {"status": "not ready", "waiting_for": ["worker 0 does not answer"], "degraded": expected[1:]},
        )

    def test_not_degraded(self) -> None:
        """A worker that starts or is down says nothing about its models."""
        self.assertNotIn("degraded", json.loads(self.get("/health/ready").body))
        self.start_all()
        self.assertEqual(json.loads(self.get("/health/ready").body), {"status": "OK"})
        self.processes[0].degraded = ["model of work is away"]
        self.processes[0].end(1)
        self.assertNotIn("degraded", json.loads(self.get("/health/ready").body))

    def test_no_answer(self) -> None:
        """A worker that does not answer within 1.5 s is reported; its late answer does no harm."""
        self.start_all()
        self.processes[0].hangs = True
        self.assertEqual(self.waiting_for(1.5), ["worker 0 does not answer"])
        self.processes[0].write(b'{"id": 1, "answer": []}\n{"id": 2, "answer": []}\n')
        self.processes[0].hangs = False
        self.assertEqual(self.waiting_for(), [])

    def test_reload(self) -> None:
        """reload() tells every worker to read its files again."""
        self.start_all()
        self.supervisor.reload()
        self.assertEqual([each.reloads for each in self.processes], [1, 1])


class DeathTests(SupervisorTestCase):
    """Workers that end."""

    def test_pauses(self) -> None:
        """Pauses before restarts double from 0.5 s to 15 s, plus jitter; each restart is counted."""
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
        """After a minute of running, the pause before a restart is the shortest again."""
        self.start_all()
        for ran, pause in ((0, "0.6"), (59, "1.1"), (60, "0.6")):
            self.reactor.advance(ran)
            self.processes[-1].end(number=signal.SIGSEGV)
            self.assertEqual(self.waiting_for(), [f"worker 1 is down, restarts in {pause} s"])
            self.reactor.advance(1.2)
            self.processes[-1].start()

    def test_log(self) -> None:
        """The log says whether a worker ended by a signal or with a status."""
        logged: list[Any] = []
        self.patch(supervisor_module.Worker, "_log", _Recorder(logged))
        self.start_all()
        self.processes[0].end(number=signal.SIGKILL)
        self.processes[1].end(3)
        self.assertEqual([(each["worker"], each["how"]) for each in logged], [(0, "by SIGKILL"), (1, "with status 3")])

    def test_refused_start(self) -> None:
        """A worker that says at its start that it cannot go on stops all, with its reason, once."""
        for process in self.processes:
            process.say(2, "provider-gateway: queue 'work' differs\n")
            process.end(1)
        self.assertEqual(self.fatal, ["queue 'work' differs"])
        self.reactor.advance(60)
        self.assertEqual((len(self.processes), self.errors), (2, []))
        self.successResultOf(self.supervisor.stopService())

    def test_crash_at_start(self) -> None:
        """A worker that crashes at its start without such a line is restarted."""
        self.processes[0].say(2, "Traceback …\nprovider-gateway")
        self.processes[0].end(1)
        self.processes[1].say(2, "provider-gateway: not this way\n")
        self.processes[1].end(number=signal.SIGABRT)
        self.reactor.advance(1)
        self.assertEqual((self.fatal, len(self.processes)), ([], 4))
        self.assertEqual(self.errors, ["Traceback …", "provider-gateway"])

    def test_crash_while_others_start(self) -> None:
        """A worker that was ready and dies with such a line is restarted, even while others start."""
        self.processes[0].start()
        self.processes[0].say(2, "provider-gateway: whatever\n")
        self.processes[0].end(1)
        self.reactor.advance(1)
        self.assertEqual((self.fatal, len(self.processes)), ([], 3))

    def test_refused_later(self) -> None:
        """Once all were ready, a worker that cannot start is retried: the others go on serving."""
        self.start_all()
        self.processes[0].end(number=signal.SIGKILL)
        self.reactor.advance(1)
        self.processes[2].say(2, "provider-gateway: HTTP_CERT: no certificate\n")
        self.processes[2].end(1)
        self.reactor.advance(2)
        self.assertEqual((self.fatal, len(self.processes)), ([], 4))

    def test_no_process_later(self) -> None:
        """A restart for which the system has no process left is logged, and tried again after a longer pause."""
        logged: list[Any] = []
        self.patch(supervisor_module.Worker, "_log", _Recorder(logged))
        self.start_all()

        def refuse(*_: Any, **_more: Any) -> Any:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        patch = self.patch(Reactor, "spawnProcess", refuse)
        self.processes[0].end(number=signal.SIGKILL)
        self.reactor.advance(0.7)
        self.assertEqual(self.waiting_for(), ["worker 0 is down, restarts in 1.1 s"])
        patch.restore()
        self.assertEqual(logged[-1]["reason"], "[Errno 11] Resource temporarily unavailable")
        self.reactor.advance(1.1)
        self.assertEqual(len(self.processes), 3)
        self.processes[-1].start()
        self.assertEqual(self.waiting_for(), [])
        self.assertEqual(self.samples()["provider_gateway_worker_restarts_total"], {"0": 1, "1": 0})

    def test_metrics(self) -> None:
        """/metrics has the metrics of all workers; one that is down has only ``ready`` and ``up``, both 0."""
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
        """A scrape takes 1.5 s at most; a worker that dies meanwhile does not delay it."""
        self.start_all()
        self.processes[0].hangs = True
        self.assertEqual(self.samples(1.5)["provider_gateway_worker_up"], {"0": 0, "1": 1})
        client = Client(self.reactor.tcpServers[0][1])
        client.request("GET", "/metrics", b"")
        self.processes[0].end(number=signal.SIGKILL)
        self.assertEqual(client.response().status, 200)


class StopTests(SupervisorTestCase):
    """The stop of all workers."""

    def test_stop(self) -> None:
        """Workers get SIGTERM and are awaited; the socket is closed first, the admin port last."""
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
        """A worker whose restart is due is not restarted."""
        self.start_all()
        self.processes[0].end(3)
        stopped = self.supervisor.stopService()
        self.processes[1].end()
        self.successResultOf(stopped)
        self.reactor.advance(60)
        self.assertEqual(len(self.processes), 2)

    def test_already_dead(self) -> None:
        """A worker that has just died is no error."""
        self.start_all()

        def gone(_name: str) -> None:
            raise ProcessExitedAlready

        self.processes[0].signalProcess = gone  # type: ignore[method-assign]
        stopped = self.supervisor.stopService()
        for each in self.processes:
            each.end()
        self.successResultOf(stopped)
