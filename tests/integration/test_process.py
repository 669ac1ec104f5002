"""The process as its operator sees it: checks, refused starts, drain, logs, and secrets that it never prints."""

from __future__ import annotations

import json
import platform
from pathlib import Path

from twisted.internet.defer import Deferred

from provider_gateway import __version__
from tests.support.certificates import certificates
from tests.support.integration import IntegrationTestCase
from tests.support.processes import Process


class StartTests(IntegrationTestCase):
    """Wrong settings end the process with one line; --check prints the effective ones."""

    async def test_wrong_setting(self) -> None:
        """A wrong variable: one line on standard error that names it, exit status 1, no traceback."""
        gateway = self.start(HTTP_PORT="fifty")
        self.assertEqual(await gateway.when_ended(), 1)
        self.assertEqual(
            gateway.errors,
            "provider-gateway: HTTP_PORT: expected a valid integer, unable to parse string as an integer, "
            "found 'fifty'\n",
        )

    async def test_port_taken(self) -> None:
        """A port that is in use: one line that names it, exit status 1."""
        first = await self.start().ready()
        port = await first.port("https")
        second = self.start(HTTP_PORT=str(port))
        self.assertEqual(await second.when_ended(), 1)
        self.assertIn(f":{port}: ", second.errors)
        self.assertEqual(second.errors.count("\n"), 1)

    async def test_other_arguments(self) -> None:
        """A queue that exists with other arguments ends the start; the line names queue and argument."""
        first = await self.start().ready()
        first.signal("TERM")
        await first.when_ended()
        second = self.start(entries=[self.entry(argQueue={"x-max-length": 10})])
        self.assertEqual(await second.when_ended(), 1)
        self.assertIn(f"queue '{self.queue}'", second.errors)
        self.assertIn("x-max-length", second.errors)
        self.assertNotIn("Traceback", second.errors)

    async def test_check(self) -> None:
        """--check prints the effective settings without secrets, touches nothing, and ends with 0."""
        gateway = self.start("--check", RMQ_URL="amqps://somebody:hush-hush@nowhere.invalid/")
        self.assertEqual(await gateway.when_ended(), 0)
        output = "\n".join(gateway.lines)
        self.assertEqual(gateway.lines[0], f"version: {__version__}")
        self.assertIn("amqps://somebody:***@nowhere.invalid:5671/", output)
        self.assertNotIn("hush-hush", output + gateway.errors)

    async def test_check_connect(self) -> None:
        """--check --connect reports broker, missing and differing objects and the model, and creates nothing."""
        fresh = self.start("--check", "--connect")
        self.assertEqual(await fresh.when_ended(), 0)
        output = "\n".join(fresh.lines)
        self.assertIn(f"broker {self.broker.url}: connected", output)
        self.assertIn(f"queue '{self.queue}' is not there yet", output)
        self.assertIn(f"model {self.model_url}: answers", output)
        (await self.start().ready()).signal("TERM")
        differing = self.start("--check", "--connect", entries=[self.entry(argQueue={"x-max-length": 10})])
        self.assertEqual(await differing.when_ended(), 1)
        self.assertIn("x-max-length", "\n".join(differing.lines))

    def new_store(self) -> str:
        return f"sqlite://{Path(self.mktemp()).absolute()}"

    async def test_check_store(self) -> None:
        """--check --connect tries the result store; for the gateway role only, as nobody else uses it."""
        address = self.new_store()
        fine = self.start("--check", "--connect", RESULT_STORE=address)
        self.assertEqual(await fine.when_ended(), 0)
        self.assertIn(f"result store {address}: the start will make the file", fine.lines)
        away = {"RESULT_STORE": "postgresql://u:hunter2@127.0.0.1:1/db"}
        wrong = self.start("--check", "--connect", **away)
        self.assertEqual(await wrong.when_ended(), 1)
        (line,) = [line for line in wrong.lines if line.startswith("result store ")]
        self.assertIn("result store postgresql://u:***@127.0.0.1:1/db: FAILED: ", line)
        self.assertNotIn("hunter2", "".join(wrong.lines))
        other = self.start("--check", "--connect", "--role", "provider", **away)
        self.assertEqual(await other.when_ended(), 0)

    async def test_check_ready_url(self) -> None:
        """--check --connect asks each ready URL once; a model that is not ready is no mistake."""
        other = {**self.entry(), "queueName": f"{self.queue}.other", "readyUrl": "http://127.0.0.1:1/ready"}
        for status, expected in ((204, "ready"), (503, "not ready: HTTP status 503")):
            self.model.ready_status = status
            entries = [self.entry(), {**self.entry(), "queueName": f"{self.queue}.same"}, other]
            check = self.start("--check", "--connect", entries=entries, MODEL_READY_URL="/ready?key=hush-hush")
            self.assertEqual(await check.when_ended(), 0, check.lines)
            output = "\n".join(check.lines) + "\n"
            base = self.model_url.rpartition("/")[0]
            self.assertEqual(output.count(f"ready URL {base}/ready?***: {expected}\n"), 1, output)
            self.assertIn("ready URL http://127.0.0.1:1/ready: not ready: Connection was refused", output)
            self.assertNotIn("hush-hush", output + check.errors)

    async def test_login_refused(self) -> None:
        """A wrong password: the log has the broker's text, and no output has the password."""
        url = self.broker.plain_url.replace("demo:demo@", "demo:hush-hush@")
        gateway = self.start(RMQ_URL=url)
        line = await gateway.logged("ACCESS_REFUSED")
        self.assertEqual(line["level"], "warn")
        gateway.signal("TERM")
        self.assertEqual(await gateway.when_ended(), 0)
        self.assertNotIn("hush-hush", "\n".join(gateway.lines) + gateway.errors)


class DrainTests(IntegrationTestCase):
    """SIGTERM ends the process in order."""

    async def test_requests_in_flight_are_answered(self) -> None:
        """SIGTERM during a request: it is answered, new connections are refused, the exit status is 0."""
        gateway = await self.start().ready()
        held: Deferred[tuple[int, bytes]] = Deferred()
        self.model.answer = lambda _body: held
        answer = Deferred.fromCoroutine(self.post(gateway, {"n": 1}))
        await self.model.asked()
        gateway.signal("TERM")
        await gateway.logged("draining")
        status, text = await self.admin(gateway, "/health/ready")
        self.assertEqual(status, 503, text)
        code, _, _ = await self.curl(f"https://127.0.0.1:{await gateway.port('https')}/health")
        self.assertEqual(code, 7)
        held.callback((200, b'"done"'))
        response, body = await answer
        self.assertEqual((response.code, body), (200, "done"))
        self.assertEqual(await gateway.when_ended(), 0)
        self.assertEqual(gateway.errors, "")

    async def test_request_that_takes_too_long(self) -> None:
        """A request in flight at the end of DRAIN_TIMEOUT gets 504 before the process ends."""
        gateway = await self.start(DRAIN_TIMEOUT="2").ready()
        self.model.answer = lambda _body: Deferred()
        answer = Deferred.fromCoroutine(self.post(gateway, {"n": 1}))
        await self.model.asked()
        gateway.signal("TERM")
        response, problem = await answer
        self.assertEqual((response.code, problem["type"]), (504, "urn:provider-gateway:problem:outcome-unknown"))
        self.assertEqual(await gateway.when_ended(), 0)

    async def test_slow_reader_gets_its_whole_answer(self) -> None:
        """SIGTERM while a client reads a large response slowly: the process ends when all of it is sent."""
        gateway = await self.start().ready()
        large = b"[\n" + b"1,\n" * 2_000_000 + b"1]\n"
        self.model.answer = lambda _body: (200, large)
        reader = Process.start(
            self,
            [
                "/usr/bin/env", "curl", "-sSkN", "--limit-rate", "3M",
                "--cert", "client_cert.pem", "--key", "client_key.pem",
                "-H", "Content-Type: application/json", "-H", "routing-key: predict.now", "-d", "1",
                f"https://localhost:{await gateway.port('https')}/v1/predict",
            ],
            {"PATH": "/usr/bin:/bin"},
            certificates(),
        )  # fmt: skip
        await reader.when(lambda: len(reader.lines) > 1000)
        self.assertLess(len(reader.lines), 2_000_000)
        gateway.signal("TERM")
        self.assertEqual(await reader.when_ended(), 0, reader.errors)
        self.assertEqual(len(reader.lines), 2_000_002)
        self.assertEqual(await gateway.when_ended(), 0)

    async def test_unfinished_work_is_left_to_the_broker(self) -> None:
        """A delivery that is unfinished after DRAIN_TIMEOUT is not acknowledged: another instance serves it."""
        first = await self.start("--role", "provider", DRAIN_TIMEOUT="0.5").ready()
        self.model.answer = lambda _body: Deferred()
        await self.on_channel(
            lambda channel: channel.basic_publish(self.exchange, "predict.now", b'"again"', mandatory=True)
        )
        await self.model.asked()
        first.signal("TERM")
        self.assertEqual(await first.when_ended(), 0)
        self.model.answer = lambda body: (200, body)
        await self.start("--role", "provider").ready()
        await self.model.asked(2)
        self.assertEqual([body for body, _ in self.model.requests], [b'"again"'] * 2)

    async def test_log_lines(self) -> None:
        """Every line is JSON, the first has the version; a problem has its RqUID; the access log has each request."""
        access = self.folder.resolve() / "access.log"
        gateway = await self.start(ACCESS_LOG=str(access)).ready()
        await self.post(gateway, {"n": 1}, RqUID="r-1")
        await self.post(gateway, {"n": 1}, RqUID="r-2", routing_key="nobody.listens")
        _, metrics = await self.admin(gateway, "/metrics")
        self.assertIn(f'build_info{{python="{platform.python_version()}"', metrics)
        gateway.signal("TERM")
        self.assertEqual(await gateway.when_ended(), 0)
        self.assertEqual(len(gateway.log), len(gateway.lines))
        self.assertEqual(gateway.log[0]["version"], __version__)
        self.assertIn(f"provider-gateway {__version__} starts", gateway.log[0]["message"])
        refused = next(line for line in gateway.log if line.get("rquid") == "r-2")
        self.assertEqual(refused["status"], 404)
        self.assertIsNotNone(refused["correlation_id"])
        lines = [json.loads(line) for line in access.read_text().splitlines()]
        self.assertEqual([(line["rquid"], line["status"]) for line in lines], [("r-1", 200), ("r-2", 404)])
        self.assertEqual({line["client"] for line in lines}, {"127.0.0.1"})
        self.assertEqual(lines[0]["routing_key"], "predict.now")
