"""``--demo`` as a user runs it: one process, no other program needed, its printed examples work."""

from __future__ import annotations

import os
import re
import shlex
import socket
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase
from twisted.web.server import Site

from tests.support.folders import ROOT
from tests.support.model_server import ModelServer
from tests.support.processes import TWISTD, Process


class DemoTests(TestCase):
    """The demo in an empty folder."""

    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def start(self, *arguments: str, **variables: str) -> Process:
        """Start the demo on free ports."""
        command = [TWISTD, "-n", "--pidfile=", "provider-gateway", "--demo", *arguments]
        environment = {"PATH": "/usr/bin:/bin", "HTTP_PORT": "0", "ADMIN_PORT": "0", **variables}
        process: Process = Process.start(self, command, environment, self.folder)
        return process

    async def shown(self, demo: Process) -> list[str]:
        """The text that the demo prints when it runs."""
        await demo.when(lambda: "Ctrl-C ends everything." in demo.lines)
        return demo.lines

    async def run_here(self, command: list[str], **options: Any) -> tuple[str, str, int]:
        """Run a program in the demo's folder; returns output, errors and exit status."""
        environment = {"PATH": os.environ["PATH"]}
        out, err, status = await getProcessOutputAndValue(
            "/usr/bin/env", command, env=environment, path=str(self.folder), **options
        )
        return out.decode(), err.decode(), status

    async def test_curl(self) -> None:
        """The printed curl line gets the printed response."""
        lines = await self.shown(self.start())
        curl, *_ = [line for line in lines if line.strip().startswith("curl --cacert")]
        out, err, status = await self.run_here([*shlex.split(curl), "-sS"])
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(out, '{"result": 500938}')
        self.assertIn('    {"result": 500938}', lines)

    async def test_answer_that_can_wait(self) -> None:
        """The printed lines submit a request, and fetch the answer of one that the demo has submitted itself."""
        lines = await self.shown(self.start())
        _, submit, fetch = [line for line in lines if line.strip().startswith("curl --cacert")]
        out, err, status = await self.run_here([*shlex.split(submit), "-sS"])
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, r"HTTP/1.1 202 Accepted\r?\n")
        self.assertRegex(out, r"Location: /v1/requests/[0-9a-f]{32}\r?\n")
        out, err, status = await self.run_here([*shlex.split(fetch), "-sS"])
        self.assertEqual((status, err, out), (0, "", '{"result": 500938}'))

    async def test_examples_in_python(self) -> None:
        """The example program gets its result, by polling and with a long-poll."""
        lines = await self.shown(self.start())
        curl, *_ = [line for line in lines if line.strip().startswith("curl --cacert")]
        url = shlex.split(curl)[-1].removesuffix("/v1/predict")
        for options in ([], ["--wait"]):
            command = [sys.executable, str(ROOT / "examples/results.py"), url, ".demo/certs", *options]
            self.assertEqual(await self.run_here(command), ('status 200: {"result": 500938}\n', "", 0))

    async def test_results_begin_anew(self) -> None:
        """A second run knows nothing of the first one's requests: its broker does not, either."""
        demo = self.start()
        _, _, fetch = [line for line in await self.shown(demo) if line.strip().startswith("curl --cacert")]
        (path,) = re.findall(r"/v1/requests/\w+", fetch)
        demo.signal("TERM")
        await demo.when_ended()
        _, _, other = [line for line in await self.shown(self.start()) if line.strip().startswith("curl --cacert")]
        out, _, _ = await self.run_here([*shlex.split(re.sub(r"/v1/requests/\w+", path, other)), "-sS"])
        self.assertIn('"status":404', out.replace(" ", ""))

    async def test_pika(self) -> None:
        """The printed program gets its reply over AMQP."""
        lines = await self.shown(self.start())
        start = lines.index("    import pika")
        program = textwrap.dedent("\n".join(lines[start : lines.index("", start)]))
        out, err, status = await self.run_here([sys.executable, "-c", program])
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(out, "200 b'{\"result\": 500938}'\n")

    def link_of(self, lines: list[str]) -> tuple[str, str]:
        """The printed link of the workbench, and the address in front of its path."""
        (link,) = [line.strip() for line in lines if "/workbench?token=" in line]
        return link, link.partition("/workbench")[0]

    async def curl(self, *arguments: str) -> str:
        """Run curl with the demo's cookies; returns the response, and its headers if ``-i`` asks for them."""
        out, err, status = await self.run_here(["curl", "-sS", "-b", "jar", "-c", "jar", *arguments])
        self.assertEqual((status, err), (0, ""), arguments)
        return out

    async def test_link_of_the_workbench(self) -> None:
        """The link leads on without its token, which no log has; nobody gets in without, nor by another host name."""
        demo = self.start(ACCESS_LOG="access.log")
        link, origin = self.link_of(await self.shown(demo))
        token = link.partition("token=")[2]
        refused = await self.curl("-i", f"{origin}/v1/models")
        self.assertRegex(refused, "HTTP/1.1 403 ")
        redirect = await self.curl("-i", link)
        self.assertRegex(redirect, f"HTTP/1.1 303 [^$]*Location: {re.escape(origin)}/workbench\r\n")
        self.assertIn('"models"', await self.curl(f"{origin}/v1/models"))
        answer = await self.curl("--json", '{"data": [1]}', "-H", "routing-key: predict.any", f"{origin}/v1/predict")
        self.assertEqual('{"result": 1}', answer)
        port = origin.rpartition(":")[2]
        rebound = ("-i", "--resolve", f"evil.example:{port}:127.0.0.1", f"http://evil.example:{port}/v1/models")
        self.assertRegex(
            await self.curl("-H", f"Cookie: provider-gateway-demo-{port}={token}", *rebound), "HTTP/1.1 403 "
        )
        self.assertIn('"path": "/workbench"', (self.folder / "access.log").read_text())
        for name in ("access.log", ".demo/gateway.log"):
            self.assertNotIn(token, (self.folder / name).read_text())
        demo.signal("TERM")
        self.assertEqual(await demo.when_ended(), 0)
        with socket.socket() as probe:
            self.assertNotEqual(probe.connect_ex(("127.0.0.1", int(port))), 0)

    async def test_failures_on_request(self) -> None:
        """Twelve messages fail on request and are parked. The HTTPS listener does not make any."""
        demo = self.start()
        lines = await self.shown(demo)
        link, origin = self.link_of(lines)
        call, *_ = [shlex.split(line) for line in lines if line.strip().startswith("curl --cacert")]
        https = call[-1].replace("/v1/predict", "/demo/failures")
        out, _, _ = await self.run_here([*call[:7], "-sS", "-X", "POST", "-w", "%{http_code}", https])
        self.assertEqual("404", out[-3:])
        await self.curl(link)
        self.assertEqual("204", await self.curl("-X", "POST", "-w", "%{http_code}", f"{origin}/demo/failures"))
        log = self.folder / ".demo/gateway.log"
        found = re.compile('"message": "fib: parked in fib.parking: ([a-z-]+)"')
        while len(found.findall(log.read_text())) < 12:
            await deferLater(reactor, 0.1, lambda: None)  # a file tells nobody when it grows
        reasons = Counter(found.findall(log.read_text()))
        self.assertEqual({"status": 8, "reply": 3, "reply-to": 1}, reasons)

    async def test_no_failures_elsewhere(self) -> None:
        """With a model of one's own there is no resource that makes failures: it gets no calls that nobody made."""
        _, url = self.own_model()
        link, origin = self.link_of(await self.shown(self.start(MODEL_URL=url)))
        await self.curl(link)
        self.assertEqual("404", (await self.curl("-X", "POST", "-w", "%{http_code}", f"{origin}/demo/failures"))[-3:])

    async def test_end(self) -> None:
        """Ctrl-C ends the demo at once; its ports are closed."""
        demo = self.start("--demo-folder", "elsewhere")
        lines = await self.shown(demo)
        (health,) = [line for line in lines if line.startswith("Health")]
        port = int(health.split("localhost:")[1].split("/")[0])
        demo.signal("INT")
        await demo.when_ended()
        self.assertEqual(lines[-1], "stopped, nothing is left running")
        with socket.socket() as probe:
            self.assertNotEqual(probe.connect_ex(("127.0.0.1", port)), 0)
        self.assertTrue((self.folder / "elsewhere" / "gateway.log").read_text().startswith('{"time"'))

    async def test_again(self) -> None:
        """A second run uses the certificates of the first."""
        made = set()
        for _ in range(2):
            demo = self.start()
            await self.shown(demo)
            made.add((self.folder / ".demo/certs/cacert.pem").read_bytes())
            demo.signal("TERM")
            self.assertEqual(await demo.when_ended(), 0)
        self.assertEqual(len(made), 1)

    async def test_port_taken(self) -> None:
        """A port in use ends the demo with one line that names the port."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            demo = self.start(HTTP_PORT=str(port))
            self.assertEqual(await demo.when_ended(), 1)
        self.assertIn(str(port), demo.errors)
        self.assertEqual(demo.errors.count("\n"), 1)

    async def test_own_queues(self) -> None:
        """With the user's own queue file, the printed examples fit it, even for an entry without replyTo."""
        entries = "- {topic: MY.EX, queueName: mine, bindingKey: other.*}"
        (self.folder / "queues.yaml").write_text(entries)
        lines = await self.shown(self.start("--queues", "queues.yaml"))
        self.assertIn('    {"result": 500938}', lines)
        start = lines.index("    import pika")
        program = textwrap.dedent("\n".join(lines[start : lines.index("", start)]))
        out, err, status = await self.run_here([sys.executable, "-c", program])
        self.assertEqual((status, err, out), (0, "", "200 b'{\"result\": 500938}'\n"))

    def own_model(self) -> tuple[ModelServer, str]:
        """A model of the user's; returns it and its URL."""
        model = ModelServer()
        model.answer = lambda body: (200, b"mine: " + body, {"Content-Type": "text/plain"})
        site = Site(model)
        site.noisy = False
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return model, f"http://127.0.0.1:{port.getHost().port}/predict?key=hunter2-hunter2"

    async def test_own_model(self) -> None:
        """A model that is given, whole or in parts, serves the printed command. The demo says so and makes no call."""
        model, url = self.own_model()
        host, port = url.split("/")[2].split(":")
        parts = {"MODEL_PORT": port, "MODEL_PATH": "/predict?key=hunter2-hunter2"}
        for variables, named in (
            ({"MODEL_URL": url}, "MODEL_URL says"),
            ({"MODEL_HOST": host, **parts}, "MODEL_HOST, MODEL_PORT and MODEL_PATH say"),
            ({"MODEL_HOST_ENV": "my_host", "MY_HOST": host, **parts}, "MODEL_HOST, MODEL_PORT and MODEL_PATH say"),
        ):
            del model.requests[:]
            demo = self.start(**variables)
            lines = await self.shown(demo)
            shown = url.replace("key=hunter2-hunter2", "***")
            self.assertEqual(lines[0], f"Model: {shown}, as {named}. The sample model is not used")
            self.assertEqual(model.requests, [])
            call, submit, fetch = [line for line in lines if line.strip().startswith("curl --cacert")]
            out, err, status = await self.run_here([*shlex.split(call), "-sS"])
            self.assertEqual((status, err, out), (0, "", 'mine: {"data": "[29, 29]"}'))
            out, _, _ = await self.run_here([*shlex.split(submit), "-sS"])
            (request,) = re.findall("Location: /v1/requests/([0-9a-f]{32})", out)
            out, _, _ = await self.run_here([*shlex.split(fetch.replace("/ID/", f"/{request}/")), "-sS"])
            self.assertEqual(out, 'mine: {"data": "[29, 29]"}')
            self.assertEqual(len(model.requests), 2)
            self.assertNotIn("hunter2", "\n".join(lines) + demo.errors)
            demo.signal("TERM")
            self.assertEqual(await demo.when_ended(), 0)

    async def test_own_model_in_env_file(self) -> None:
        """MODEL_URL may stand in ``.env``. A wrong one is one line; parts alone name no model, which is said."""
        _, url = self.own_model()
        (self.folder / ".env").write_text(f"MODEL_URL={url}\n")
        lines = await self.shown(self.start())
        self.assertIn("as MODEL_URL says", lines[0])
        (self.folder / ".env").unlink()
        demo = self.start(MODEL_URL="http://m:0/hunter2")
        self.assertEqual(await demo.when_ended(), 1)
        self.assertEqual(demo.errors, "provider-gateway: MODEL_URL: expected a port from 1 to 65535\n")
        lines = await self.shown(self.start(MODEL_PORT="9", MODEL_URL=""))
        self.assertIn("Model: the sample model. There is no MODEL_URL or MODEL_HOST, and MODEL_PORT alone", lines[0])
        self.assertIn('    {"result": 500938}', lines)

    async def test_models_of_the_queue_file(self) -> None:
        """Entries with a model are served by theirs, others by the sample model, if there are any."""
        _, url = self.own_model()
        mine = f"- {{topic: MY.EX, queueName: mine, bindingKey: mine, routingKey: mine, model: {{url: '{url}'}}}}\n"
        other = "- {topic: MY.EX, queueName: other, bindingKey: other}\n"
        own = f"Model of queue 'mine': {url.partition('?')[0]}?***, as the queue file says"
        for entries, expected in (
            (mine, [own]),
            (mine + other, [own, "Model of other queues: the sample model. There is no MODEL_URL or MODEL_HOST"]),
        ):
            (self.folder / "queues.yaml").write_text(entries)
            lines = await self.shown(self.start("--queues", "queues.yaml"))
            self.assertEqual(lines[: len(expected)], expected)
            call, *_ = [line for line in lines if line.strip().startswith("curl --cacert")]
            out, err, status = await self.run_here([*shlex.split(call), "-sS"])
            self.assertEqual((status, err, out), (0, "", 'mine: {"data": "[29, 29]"}'))
        call = call.replace("routing-key: mine", "routing-key: other")
        out, err, status = await self.run_here([*shlex.split(call), "-sS"])
        self.assertEqual((status, err, out), (0, "", '{"result": 500938}'))

    async def test_folder_that_cannot_be_used(self) -> None:
        """A demo folder that is a file ends the demo with one line."""
        (self.folder / "file").touch()
        demo = self.start("--demo-folder", "file")
        self.assertEqual(await demo.when_ended(), 1)
        self.assertIn("--demo-folder file: ", demo.errors)
        self.assertEqual(demo.errors.count("\n"), 1)

    async def test_log_is_kept(self) -> None:
        """A second demo in the same folder fails on the port and leaves the log of the first untouched."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = str(probe.getsockname()[1])
        await self.shown(self.start(HTTP_PORT=port))
        log = self.folder / ".demo/gateway.log"
        before = log.read_text()
        self.assertEqual(await self.start(HTTP_PORT=port).when_ended(), 1)
        self.assertTrue(log.read_text().startswith(before))

    async def test_broker_of_ones_own(self) -> None:
        """With a broker of the user's that is away, the demo says so and waits; SIGTERM ends it."""
        demo = self.start(RMQ_URL="amqp://127.0.0.1:1/")
        await demo.when(lambda: any("Connecting to the broker" in line for line in demo.lines))
        demo.signal("TERM")
        self.assertEqual(await demo.when_ended(), 0)
