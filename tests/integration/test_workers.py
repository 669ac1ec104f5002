"""Several workers behind one port: shared load, deaths and restarts, drain, admin port, no orphans."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import ssl
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectionClosed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.client import ResponseFailed

from tests.support.certificates import certificates
from tests.support.integration import IntegrationTestCase
from tests.support.processes import TWISTD, Gateway, Process

#: Time limit of a wait, in seconds.
_ENDS_WITHIN = 60


def children(pid: int) -> list[int]:
    """The child processes of a process."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for_end(pid: int) -> None:
    """Wait for the end of a process, which need not be a child (pidfd_open(2))."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([descriptor], [], [], _ENDS_WITHIN)
    finally:
        os.close(descriptor)
    if not ended:
        msg = f"process {pid} has not ended within {_ENDS_WITHIN} s"
        raise AssertionError(msg)


def is_alive(pid: int) -> bool:
    """True if the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


class WorkersTestCase(IntegrationTestCase):
    """A gateway with two workers."""

    async def start_workers(self, *arguments: str, **variables: str) -> Gateway:
        """Start a gateway; returns when its workers are ready."""
        gateway = self.start(*arguments, **{"WORKERS": "2", **variables})
        await gateway.ready()
        self.addCleanup(self._end, gateway)
        self.pids = children(gateway.transport.pid)
        self.assertEqual(len(self.pids), 2)
        return gateway

    async def _end(self, gateway: Gateway) -> None:
        """Stop it in order: workers without a supervisor would still drain during the next test."""
        if gateway.ended is None:
            gateway.signal("TERM")
            await gateway.when_ended()

    async def samples(self, gateway: Gateway) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        """The values in /metrics, by name with labels."""
        _, text = await self.admin(gateway, "/metrics")
        found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = tuple(sorted(sample.labels.items()))
                series = found.setdefault(sample.name, {})
                self.assertNotIn(labels, series)
                series[labels] = sample.value
        return found

    async def when_ended(self, *pids: int) -> None:
        """Wait until all of these processes have ended."""
        for pid in pids:
            await deferToThread(wait_for_end, pid)


class WorkersTests(WorkersTestCase):
    """Two workers serve as one."""

    async def test_shared(self) -> None:
        """Both serve requests, each with its own reply queue and connections; health and metrics cover both."""
        gateway = await self.start_workers(INSTANCE="here")
        url = f"https://localhost:{await gateway.port('https')}/v1/predict"
        for number in range(10):
            status, out, err = await self.curl(
                "-d", str(number), "-H", "Content-Type: application/json", "-H", "routing-key: predict.now", url
            )
            self.assertEqual((status, out), (0, str(number)), err)
        found = await self.samples(gateway)
        served = {
            dict(labels)["worker"]: value
            for labels, value in found["provider_gateway_http_requests_total"].items()
            if dict(labels)["code"] == "200"
        }
        self.assertEqual(set(served), {"0", "1"})
        self.assertEqual(sum(served.values()), 10)
        both = [(("worker", "0"),), (("worker", "1"),)]
        self.assertEqual(found["provider_gateway_workers"], {(): 2})
        for name, value in (("worker_up", 1), ("ready", 1), ("worker_restarts_total", 0)):
            self.assertEqual(found[f"provider_gateway_{name}"], dict.fromkeys(both, value), name)
        self.assertEqual({dict(each)["worker"] for each in found["process_open_fds"]}, {"0", "1", "supervisor"})
        self.assertEqual((await self.admin(gateway, "/health/ready"))[0], 200)
        listed = await deferToThread(self.broker.control, "list_queues", "name")
        self.assertEqual(len(re.findall(rf"^{re.escape(self.output)}\.here-\w{{8}}$", listed, re.MULTILINE)), 2)

    async def test_logs(self) -> None:
        """Every log line is JSON and names its worker; the access log has a line for each request."""
        access = self.folder.resolve() / "access.log"
        gateway = await self.start_workers(ACCESS_LOG=str(access), LOG_LEVEL="debug")
        await gatherResults([Deferred.fromCoroutine(self.post(gateway, "x" * 5000)) for _ in range(40)])
        gateway.signal("TERM")
        self.assertEqual(await gateway.when_ended(), 0)
        self.assertEqual((len(gateway.log), gateway.errors), (len(gateway.lines), ""))
        self.assertEqual({line.get("worker") for line in gateway.log}, {None, 0, 1})
        self.assertEqual([json.loads(line)["status"] for line in access.read_text().splitlines()], [200] * 40)

    async def test_balance(self) -> None:
        """Connections that come one by one to idle workers are shared evenly.

        If a worker wakes up later than ``STEP_BACK``, since the machine stalls, the other one gets one connection too
        many. The next two make up for it.
        """
        gateway = await self.start_workers()
        context = ssl.create_default_context(cafile=certificates() / "cacert.pem")
        context.load_cert_chain(certificates() / "client_cert.pem", certificates() / "client_key.pem")
        address = ("localhost", await gateway.port("https"))

        def connect() -> None:
            connection = context.wrap_socket(socket.create_connection(address), server_hostname="localhost")
            self.addCleanup(connection.close)

        async def connect_all(count: int) -> list[float]:
            for _ in range(count):
                await deferToThread(connect)
                await deferLater(reactor, 0.1)  # both are idle: which of them wakes up first is not random
            return sorted((await self.samples(gateway))["provider_gateway_http_connections"].values())

        found = await connect_all(20)
        if found == [9, 11]:
            self.assertEqual(await connect_all(2), [11, 11])
        else:
            self.assertEqual(found, [10, 10])

    async def test_provider(self) -> None:
        """Workers of the provider role, without an HTTPS port: both consume."""
        gateway = await self.start_workers("--role", "provider")
        await self.on_channel(
            lambda channel: [channel.basic_publish(self.exchange, "predict.now", b"%d" % n) for n in range(20)]
        )
        await self.model.asked(20)
        consumed = (await self.samples(gateway))["provider_gateway_consumed_total"]
        self.assertEqual({dict(each)["worker"] for each in consumed}, {"0", "1"})

    async def test_reload(self) -> None:
        """SIGHUP reaches every worker: each reads a file whose change the folder watch does not see."""
        certs = self.folder.resolve() / "certs"
        shutil.copytree(certificates(), certs)
        # A watch of a folder gets no event for a write through another path.
        elsewhere = self.folder.resolve() / "elsewhere" / "cert.pem"
        elsewhere.parent.mkdir()
        elsewhere.hardlink_to(certs / "server_cert.pem")
        gateway = await self.start_workers(HTTP_CERT=str(certs / "server_cert.pem"))
        elsewhere.write_text("nonsense")
        gateway.signal("HUP")
        await gateway.when(
            lambda: {0, 1} == {line.get("worker") for line in gateway.log if "HTTP_CERT" in line["message"]}
        )
        found = (await self.samples(gateway))["provider_gateway_reloads_total"]
        refused = {dict(each)["worker"] for each in found if ("outcome", "refused") in each and found[each]}
        self.assertEqual(refused, {"0", "1"})

    async def test_degraded(self) -> None:
        """The model is not ready: the whole is, and names each worker's model; the caller is served in the end."""
        gateway = await self.start_workers(MODEL_READY_URL="/ready")
        self.model.ready_status = 503
        self.model.answer = lambda _body: (503, b"loading")
        answer = Deferred.fromCoroutine(self.post(gateway, {"n": 1}))
        # The worker whose model is away gives the message back, and the other one gets it.
        await gateway.when(lambda: sum("/ready: HTTP status 503" in line["message"] for line in gateway.log) == 2)
        status, text = await self.admin(gateway, "/health/ready")
        away = [f"worker {number}: model of {self.queue} is away" for number in (0, 1)]
        self.assertEqual((status, json.loads(text)), (200, {"status": "OK", "degraded": away}))
        self.assertEqual(set((await self.samples(gateway))["provider_gateway_model_state"].values()), {2})
        self.model.answer = lambda body: (200, body)
        self.model.ready_status = 200
        self.assertEqual((await answer)[0].code, 200)
        await gateway.when(lambda: sum("The model is ready" in line["message"] for line in gateway.log) == 2)
        self.assertEqual(json.loads((await self.admin(gateway, "/health/ready"))[1]), {"status": "OK"})


class DeathTests(WorkersTestCase):
    """Deaths of workers and of the supervisor."""

    async def test_killed_under_load(self) -> None:
        """One is killed: the other goes on, readiness tells, it is restarted; only its own callers see an error."""
        gateway = await self.start_workers()
        answers: list[int] = []
        errors: list[Exception] = []
        awaited: list[tuple[int, Deferred[None]]] = []
        going = True

        def more_answers(count: int) -> Deferred[None]:
            """A Deferred that fires after this many more responses."""
            awaited.append((len(answers) + count, Deferred()))
            return awaited[-1][1]

        async def caller() -> None:
            while going:
                try:
                    answers.append((await self.post(gateway, 1))[0].code)
                    if awaited and len(answers) >= awaited[0][0]:
                        awaited.pop(0)[1].callback(None)
                except (ConnectionClosed, ResponseFailed) as error:
                    errors.append(error)

        callers = [Deferred.fromCoroutine(caller()) for _ in range(16)]
        await more_answers(100)
        os.kill(self.pids[0], signal.SIGKILL)
        line = await gateway.logged("ended by SIGKILL")
        self.assertEqual((line["level"], line["worker"]), ("error", 0))
        status, text = await self.admin(gateway, "/health/ready")
        self.assertEqual(status, 503)
        self.assertIn("worker 0 is down, restarts in 0.", json.loads(text)["waiting_for"][0])
        self.assertEqual((await self.admin(gateway, "/health/live"))[0], 200)
        found = await self.samples(gateway)
        self.assertEqual(set(found["provider_gateway_worker_up"].values()), {0, 1})
        self.assertEqual(found["provider_gateway_ready"][(("worker", "0"),)], 0)
        self.assertIn((("worker", "1"),), found["provider_gateway_http_in_flight"])
        await more_answers(100)
        await gateway.when(
            lambda: sum(line["message"] == "ready" and line.get("worker") == 0 for line in gateway.log) == 2
        )
        self.assertEqual((await self.admin(gateway, "/health/ready"))[0], 200)
        found = await self.samples(gateway)
        self.assertEqual(
            found["provider_gateway_worker_restarts_total"], {(("worker", "0"),): 1, (("worker", "1"),): 0}
        )
        self.assertEqual(len(children(gateway.transport.pid)), 2)
        await more_answers(100)
        going = False
        await gatherResults(callers)
        self.assertEqual(set(answers), {200})
        self.assertLessEqual(len(errors), 16, errors[:3])

    async def test_waiting_connection(self) -> None:
        """A connection made while no worker runs is served by the next one."""
        gateway = await self.start_workers()
        port = await gateway.port("https")
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        await gateway.when(lambda: sum("ended by SIGKILL" in line["message"] for line in gateway.log) == 2)
        status, out, err = await self.curl(f"https://localhost:{port}/health")
        self.assertEqual(status, 0, err)
        self.assertEqual(json.loads(out), {"status": "OK"})

    async def test_no_orphans(self) -> None:
        """The supervisor is killed: workers finish their requests and end."""
        gateway = await self.start_workers()
        held: Deferred[tuple[int, bytes]] = Deferred()
        self.model.answer = lambda _body: held
        answer = Deferred.fromCoroutine(self.post(gateway, {"n": 1}))
        await self.model.asked()
        gateway.signal("KILL")
        self.assertEqual(await gateway.when_ended(), -signal.SIGKILL)
        reactor.callLater(0.5, held.callback, (200, b'"done"'))
        response, body = await answer
        self.assertEqual((response.code, body), (200, "done"))
        await self.when_ended(*self.pids)


class EndTests(WorkersTestCase):
    """Ends of the whole service."""

    async def test_requests_in_flight_are_answered(self) -> None:
        """SIGTERM under load: not ready, connections refused, requests in flight answered, status 0, all ended."""
        gateway = await self.start_workers()
        held: list[Deferred[tuple[int, bytes]]] = []
        self.model.answer = lambda _body: held.append(Deferred()) or held[-1]
        answers = gatherResults([Deferred.fromCoroutine(self.post(gateway, n)) for n in range(24)])
        await self.model.asked(24)
        gateway.signal("TERM")
        await gateway.when(lambda: sum("draining" in line["message"] for line in gateway.log) == 2)
        status, text = await self.admin(gateway, "/health/ready")
        self.assertEqual(status, 503)
        self.assertIn("the process is stopping", json.loads(text)["waiting_for"])
        code, _, _ = await self.curl(f"https://127.0.0.1:{await gateway.port('https')}/health")
        self.assertEqual(code, 7)
        for each in held:
            each.callback((200, b'"done"'))
        self.assertEqual({(response.code, body) for response, body in await answers}, {(200, "done")})
        self.assertEqual(await gateway.when_ended(), 0)
        self.assertEqual(gateway.errors, "")
        self.assertFalse(any(map(is_alive, self.pids)))

    async def test_worker_that_hangs(self) -> None:
        """A worker that does not end is killed and named in the log; the status is still 0."""
        gateway = await self.start_workers(DRAIN_TIMEOUT="0.5")
        os.kill(self.pids[1], signal.SIGSTOP)
        status, text = await self.admin(gateway, "/health/ready")
        self.assertEqual((status, json.loads(text)["waiting_for"]), (503, ["worker 1 does not answer"]))
        gateway.signal("TERM")
        line = await gateway.logged("killed")
        self.assertEqual(line["worker"], 1)
        self.assertEqual(await gateway.when_ended(), 0)
        self.assertFalse(any(map(is_alive, self.pids)))

    async def test_refused_start(self) -> None:
        """An error that ends a single process with one line ends all with that line, found by a worker or before."""
        first = await self.start().ready()
        port = await first.port("https")
        for variables, part in (
            ({"HTTP_PORT": str(port)}, f":{port}: "),
            ({"HTTP_CERT": "missing.pem"}, "HTTP_CERT: missing.pem"),
            ({"WORKERS": "0"}, "WORKERS: expected"),
        ):
            refused = self.start(**{"WORKERS": "2", **variables})
            self.assertEqual(await refused.when_ended(), 1)
            self.assertIn(part, refused.errors)
            self.assertEqual(refused.errors.count("\n"), 1, refused.errors)
        refused = self.start(entries=[self.entry(argQueue={"x-max-length": 10})], WORKERS="2")
        self.assertEqual(await refused.when_ended(), 1)
        self.assertIn("x-max-length", refused.errors)
        self.assertEqual(refused.errors.count("\n"), 1, refused.errors)

    async def test_worker_by_hand(self) -> None:
        """--worker without a supervisor is refused."""
        worker = self.start("--worker", "0")
        self.assertEqual(await worker.when_ended(), 1)
        self.assertIn("set WORKERS instead", worker.errors)

    async def test_in_the_background(self) -> None:
        """As a daemon: the log file has the lines of all workers, and SIGTERM to the pid file's process ends them."""
        folder = self.folder.resolve()
        pid_file, log = folder / "twistd.pid", folder / "gateway.log"
        queues = folder / "queues.yaml"
        queues.write_text(yaml.safe_dump([self.entry()]))
        command = [TWISTD, f"--pidfile={pid_file}", f"--logfile={log}", "provider-gateway", "--queues", str(queues)]
        starter = Process.start(self, command, self.environment(WORKERS="2"), folder)
        self.assertEqual(await starter.when_ended(), 0)
        pid = int(pid_file.read_text())
        self.addCleanup(lambda: is_alive(pid) and os.kill(pid, signal.SIGKILL))

        reader = Gateway.start(self, ["/usr/bin/tail", "-n", "+1", "-F", str(log)], {})
        await reader.ready()
        self.assertEqual({line.get("worker") for line in reader.log}, {None, 0, 1})
        workers = children(pid)
        os.kill(pid, signal.SIGTERM)
        await self.when_ended(pid, *workers)
