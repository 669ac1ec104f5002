"""What twistd runs: the command line, errors in one line, and ``--check``."""

from __future__ import annotations

import os
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from twisted.application.service import IService
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway import __version__, tap
from provider_gateway.app.service import GatewayService
from provider_gateway.config.queue_file import parse_queues
from provider_gateway.demo.certificates import make_certificates
from provider_gateway.errors import SettingsError
from provider_gateway.tap import Options, makeService
from provider_gateway.workers import inherited
from provider_gateway.workers.supervisor import Supervisor


def options(*arguments: str) -> Options:
    """The options of a command line."""
    parsed = Options()
    parsed.parseOptions(list(arguments))
    return parsed


class OptionsTests(SynchronousTestCase):
    """The command line."""

    def test_defaults(self) -> None:
        """Without arguments both roles run, and ``--check`` is off."""
        parsed = options()
        self.assertEqual(["gateway", "provider"], parsed.roles())
        for name in ("queues", "env-file"):
            self.assertIsNone(parsed[name], name)
        self.assertFalse(parsed["check"] or parsed["connect"])

    def test_roles(self) -> None:
        """Roles may be given alone or together, in any order, with spaces."""
        for text, expected in (
            ("gateway", ["gateway"]),
            ("provider", ["provider"]),
            ("gateway,provider", ["gateway", "provider"]),
            ("provider, gateway", ["gateway", "provider"]),
            ("provider,provider,", ["provider"]),
        ):
            self.assertEqual(expected, options("--role", text).roles(), text)

    def test_wrong_roles(self) -> None:
        """An unknown role, or no role, is an error that lists the known ones."""
        for text in ("worker", "gateway,worker", "", ",", "Gateway"):
            line = str(self.assertRaises(SettingsError, options("--role", text).roles))
            self.assertIn("--role: expected gateway or provider", line)
            self.assertIn(f"found {text!r}", line)

    def test_unknown_option(self) -> None:
        """An option that does not exist, or an argument, is a usage error, which twistd reports."""
        for arguments in (["--certs", "x"], ["something"], ["--queues"]):
            self.assertRaises(UsageError, options, *arguments)

    def test_version(self) -> None:
        """``--version`` prints ours and exits with 0."""
        out = StringIO()
        self.patch(sys, "stdout", out)
        self.assertEqual(0, self.assertRaises(SystemExit, options, "--version").code)
        self.assertEqual(f"provider-gateway {__version__}\n", out.getvalue())


class MakeServiceTestCase(SynchronousTestCase):
    """Runs in an empty folder with certificates, with the variables of the test and a reactor in memory."""

    def setUp(self) -> None:
        before = Path.cwd()
        folder = Path(self.mktemp()).absolute()
        make_certificates(folder / "certs")
        os.chdir(folder)
        self.addCleanup(os.chdir, before)
        self.reactor = MemoryReactorClock()
        self.patch(tap, "reactor", self.reactor)
        self.environ()
        self.out = StringIO()
        self.patch(sys, "stdout", self.out)

    def environ(self, **changes: str) -> None:
        """Set the variables: fitting ones, with these changes."""
        fitting = {
            "HTTP_CERT": "certs/server_cert.pem",
            "HTTP_KEY": "certs/server_key.pem",
            "HTTP_CACERT": "certs/cacert.pem",
            "MQ_CACERT": "certs/cacert.pem",
            "RMQ_URL": "amqps://user:hunter2@rabbitmq:5671/ml",
        }
        self.patch(os, "environ", {**fitting, **changes})

    def refusal(self, *arguments: str) -> str:
        """The one line with which a start fails; nothing is left on the reactor."""
        code = self.assertRaises(SystemExit, makeService, options(*arguments)).code
        self.assertIsInstance(code, str)  # Python prints it on standard error and exits with 1
        line = str(code)
        self.assertTrue(line.startswith("provider-gateway: "), line)
        self.assertNotIn("\n", line)
        self.assertNotIn("hunter2", line)
        self.assertEqual([], self.reactor.tcpServers)
        return line


class MakeServiceTests(MakeServiceTestCase):
    """The service."""

    def test_service(self) -> None:
        """Valid settings make a service, which listens and connects only when it is started."""
        for arguments in ([], ["--role", "gateway"], ["--role", "provider"]):
            service: Any = makeService(options(*arguments))
            self.assertTrue(IService.providedBy(service))
            self.assertEqual("provider-gateway", service.name)
            self.assertEqual(([], []), (self.reactor.tcpServers, self.reactor.tcpClients))

    def test_wrong_setting(self) -> None:
        """A wrong variable ends the start with one line that names it."""
        for changes, part in (
            ({"HTTP_PORT": "x"}, "HTTP_PORT: expected a valid integer"),
            ({"RMQ_URL": "http://user:hunter2@rabbit"}, "RMQ_URL: expected amqp"),
            ({"RMQ_URL": ""}, "RMQ_URL: is required"),
            ({"MQ_CERT": "certs/client_cert_mq.pem"}, "MQ_CERT and MQ_KEY: expected both or neither"),
            ({"ACCESS_LOG": "no/such/folder.log"}, "ACCESS_LOG: no/such/folder.log"),
            ({"AUDIT_LOG": "no/such/folder.log"}, "AUDIT_LOG: no/such/folder.log"),
        ):
            self.environ(**changes)
            self.assertIn(part, self.refusal())

    def test_misspelt_setting(self) -> None:
        """A misspelt setting ends a start, a check and the demo, wherever it stands; a worker has been checked."""
        self.environ(HTTP_ACESS="hunter2")
        for arguments in ([], ["--check"], ["--demo"], ["--role", "provider"]):
            self.assertIn("HTTP_ACESS: unknown variable, HTTP_ACCESS is probably meant", self.refusal(*arguments))
        self.assertFalse(Path(".demo").exists())
        self.environ()
        Path("x.env").write_text("MQ_CACRET=x", encoding="utf-8")
        self.assertIn("MQ_CACRET: unknown variable, MQ_CACERT is", self.refusal("--env-file", "x.env"))

    def test_one_port_for_both(self) -> None:
        """HTTP_PORT and ADMIN_PORT of one number end a start and a check; without the gateway's role they do not."""
        for variables in ({"HTTP_PORT": "5080"}, {"ADMIN_PORT": "5050", "WORKERS": "2"}):
            self.environ(**variables)
            for arguments in ([], ["--check"], ["--role", "gateway"]):
                self.assertIn("HTTP_PORT and ADMIN_PORT: expected two different ports", self.refusal(*arguments))
        self.environ(ADMIN_PORT="5050")
        makeService(options("--role", "provider"))

    def test_unknown_variables(self) -> None:
        """Other unknown variables are warned of, at a start as well as by a check."""
        self.environ(MODEL_NAME="m", HOME="/")
        warned = "MODEL_NAME: unknown variable, which is ignored"
        logged = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
        makeService(options())
        for call, arguments, named in self.reactor.whenRunningHooks:
            if call is tap._warn:
                call(*arguments, **named)
        self.assertEqual([warned], [formatEvent(event) for event in logged if event["log_level"].name == "warn"])
        self.assertRaises(SystemExit, makeService, options("--check"))
        self.assertEqual([warned], yaml.safe_load(self.out.getvalue())["warnings"])

    def test_wrong_command_line(self) -> None:
        """A wrong role, env file or queue file ends the start with one line."""
        Path("wrong.yaml").write_text("- {topic: t, queueName: q, bindingKey: b, prefetch: 0}", encoding="utf-8")
        for arguments, part in (
            (["--role", "worker"], "--role: expected gateway or provider"),
            (["--env-file", "missing.env"], "--env-file missing.env: no such file"),
            (["--queues", "missing.yaml"], "missing.yaml: cannot be read as a queue file"),
            (["--queues", "wrong.yaml"], "wrong.yaml: [0].prefetch: expected greater than or equal to 1, found 0"),
        ):
            self.assertIn(part, self.refusal(*arguments))

    def test_wrong_certificates(self) -> None:
        """A missing certificate, or a key that does not fit its certificate, ends the start with one line."""
        for changes, part in (
            ({"HTTP_CERT": "missing.pem"}, "HTTP_CERT: missing.pem: expected a readable PEM file"),
            ({"HTTP_KEY": "certs/client_key.pem"}, "HTTP_KEY: certs/client_key.pem: expected the private key"),
            ({"MQ_CACERT": "missing.pem"}, "MQ_CACERT: missing.pem: expected a readable PEM file"),
            ({"MODEL_CACERT": "missing.pem"}, "MODEL_CACERT: missing.pem: expected a readable PEM file"),
        ):
            self.environ(**changes)
            self.assertIn(part, self.refusal())

    def test_certificates_that_are_not_needed(self) -> None:
        """A side that is not used needs no certificate: a provider none for the listener, a plain broker no CA."""
        self.environ(RMQ_URL="amqp://rabbit", HTTP_CERT="missing", MQ_CACERT="missing")
        makeService(options("--role", "provider"))
        self.environ(RMQ_URL="amqp://rabbit", HTTP_CERT="missing", MQ_CACERT="missing", HTTP_TLS="false")
        makeService(options("--role", "gateway"))


class WorkersTests(MakeServiceTestCase):
    """More than one worker."""

    def test_one(self) -> None:
        """One worker is the process itself: there is no supervisor."""
        self.environ(WORKERS="1")
        self.assertIsInstance(makeService(options()), GatewayService)

    def test_supervisor(self) -> None:
        """With more there is a supervisor; wrong certificates are found before it starts a worker."""
        self.environ(WORKERS="2")
        self.assertIsInstance(makeService(options()), Supervisor)
        self.environ(WORKERS="2", HTTP_CERT="missing.pem")
        self.assertIn("HTTP_CERT: missing.pem: expected a readable PEM file", self.refusal())

    def test_check(self) -> None:
        """``--check`` shows the number of workers, and starts none."""
        self.environ(WORKERS="3")
        self.assertEqual(0, self.assertRaises(SystemExit, makeService, options("--check")).code)
        self.assertEqual(3, yaml.safe_load(self.out.getvalue())["settings"]["WORKERS"])

    def test_check_masks_the_store(self) -> None:
        """``--check`` shows the store without its password, and what follows from it."""
        self.environ(RESULT_STORE="postgresql://u:hunter2@db/results?sslpassword=hunter2")
        self.assertEqual(0, self.assertRaises(SystemExit, makeService, options("--check")).code)
        self.assertNotIn("hunter2", self.out.getvalue())
        shown = yaml.safe_load(self.out.getvalue())["settings"]
        self.assertEqual("postgresql://u:***@db/results?sslpassword=***", shown["RESULT_STORE"])
        self.assertEqual((10_485_760, True), (shown["RESULT_MAX_BYTES"], shown["CANCELLATIONS"]))

    def test_numbers(self) -> None:
        """``WORKERS`` is 1 to 64; other values are errors."""
        for number in ("0", "-1", "65", "two"):
            self.environ(WORKERS=number)
            self.assertIn("WORKERS: expected", self.refusal())

    def test_command_line(self) -> None:
        """A worker gets the options of the command line, without its number."""
        given = ["--role", "gateway", "--queues", "q.yaml", "--env-file", "x.env"]
        self.assertEqual(given, options(*given).for_worker())
        self.assertEqual(["--role", "gateway,provider"], options().for_worker())

    def test_worker_by_hand(self) -> None:
        """A worker without a supervisor is refused."""
        self.patch(inherited, "ANSWERS", 1000)
        self.assertIn("set WORKERS instead", self.refusal("--worker", "0"))


class CheckTests(MakeServiceTestCase):
    """``--check``."""

    def check(self, *arguments: str) -> dict[str, Any]:
        """The printed document, decoded."""
        error = self.assertRaises(SystemExit, makeService, options("--check", *arguments))
        self.assertEqual(0, error.code)
        self.assertNotIn("hunter2", self.out.getvalue())
        document: dict[str, Any] = yaml.safe_load(self.out.getvalue())
        return document

    def test_settings(self) -> None:
        """The effective settings are printed under the variables' names, the broker's password masked."""
        self.environ(HTTP_PORT="8443", MODEL_HOST="m", CORS_ORIGINS="https://a,https://b")
        document = self.check("--role", "gateway")
        self.assertEqual(["gateway"], document["roles"])
        expected = {
            "RMQ_URL": "amqps://user:***@rabbitmq:5671/ml",
            "HTTP_PORT": 8443,
            "HTTP_TLS": True,
            "HTTP_CERT": "certs/server_cert.pem",
            "MODEL_URL": "http://m:8080/predict",
            "MODEL_TIMEOUT": 300.0,
            "CORS_ORIGINS": "https://a,https://b",
        }
        found = document["settings"]
        self.assertEqual(expected, {name: found.get(name) for name in expected})

    def test_queues(self) -> None:
        """The queue entries are printed with their source, in the form of a queue file."""
        self.assertEqual("built-in", self.check()["queues"]["source"])
        text = (
            "- {topic: X, queueName: q, bindingKey: [a, b.*], replyTo: r, timeout: 2.5, dle: true, "
            "dleParams: {dleExchange: e, dleQueue: w, "
            "dleArgs: {x-message-ttl: 5, x-dead-letter-exchange: X}}, argQueue: {x-max-length: 3}}"
        )
        Path("q.yaml").write_text(text, encoding="utf-8")
        self.out.truncate(0)
        self.out.seek(0)
        queues = self.check("--queues", "q.yaml")["queues"]
        self.assertEqual("q.yaml", queues["source"])
        self.assertEqual(parse_queues(text, "f"), parse_queues(yaml.safe_dump(queues["entries"]), "f"))

    def test_rights_on_no_queue(self) -> None:
        """A right on the parked messages of a queue that is not there is warned of: a parking queue, or a pattern."""
        rule = "- {identities: [ann], parking: [read], queues: [fib, '*', fib.parking, 'fi*']}"
        Path("access.yaml").write_text(rule, encoding="utf-8")
        self.environ(HTTP_ACCESS="access.yaml")
        found = self.check("--role", "gateway")["warnings"]
        self.assertEqual(
            [
                f"HTTP_ACCESS: access.yaml: [0].queues: the queue file has no queue '{name}'; its rights open nothing"
                for name in ("fib.parking", "fi*")
            ],
            [each for each in found if each.startswith("HTTP_ACCESS")],
        )

    def test_result_store(self) -> None:
        """A check makes no file for the result store, whose owner would be whoever runs the check; a start does."""
        path = Path("r.db").absolute()
        self.environ(RESULT_STORE=f"sqlite://{path}", REPLY_QUEUE_EXPIRES="100")
        self.assertIn("REPLY_QUEUE_EXPIRES", self.check("--role", "gateway")["warnings"][0])
        self.assertFalse(path.exists())
        makeService(options("--role", "gateway"))
        self.assertTrue(path.exists())

    def test_wrong_settings(self) -> None:
        """Wrong settings end with the same line as at a start, and nothing is printed."""
        self.environ(HTTP_KEY="certs/client_key.pem")
        self.assertIn("HTTP_KEY: ", self.refusal("--check"))
        self.assertEqual("", self.out.getvalue())


class DemoOptionsTests(MakeServiceTestCase):
    """``--demo`` beside other options."""

    def test_meaningless(self) -> None:
        """Options that mean nothing with ``--demo`` are errors, not ignored."""
        for arguments in (["--check"], ["--connect"], ["--env-file", "x"], ["--role", "gateway"]):
            self.assertIn(f"{arguments[0]}: means nothing with --demo", self.refusal("--demo", *arguments))

    def test_queue_file(self) -> None:
        """The demo serves the queue file that ``QUEUES_CONF`` names; ``--queues`` wins. It was not looked at."""
        self.environ(QUEUES_CONF="named.yaml")
        self.assertIn("named.yaml: cannot be read as a queue file", self.refusal("--demo"))
        self.assertIn("given.yaml: cannot be read as a queue file", self.refusal("--demo", "--queues", "given.yaml"))
